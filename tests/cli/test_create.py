"""`vouchd create`: from each kind of signer to a folder that starts; a refusal leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.pki import CA, DAY

from vouchd.cli.main import main
from vouchd.instance.certificates.signers import load_signers
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring import instance
from vouchd.wiring import services as wiring


def signer_of(site):
    settings = read_settings(Layout(site.instance))
    return load_signers(settings)[settings.default_signer]


def labels(site):
    with wiring.services(Layout(site.instance)) as services:
        return [authority.label for authority in services.store.authorities()]


def test_create_from_files_is_ready_to_start(site, capsys):
    """With key, certificate and CA certificate the instance needs nothing more."""
    assert site.create("--port", "2560", "--health-port", "0", "--workers", "1", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["instance"], shown["signer"]) == (str(site.instance), "ocspSigningCert")
    assert (shown["algorithm"], shown["cas"]) == ("SHA256withEC", "CN=Site CA")
    settings = instance.check_instance(Layout(site.instance), warn=pytest.fail)
    assert (settings.ee.port, settings.health.port, settings.ee.workers) == (2560, 0, 1)
    assert signer_of(site).certificate_der == site.signer.der
    assert labels(site) == ["CN=Site CA"]


def test_create_answers_for_the_ca_of_the_chain_that_has_issued_the_signer(tmp_path, capsys):
    """The chain brings the CA along; one above it is named with the way to answer for it, since clients refuse it so."""
    now = int(time.time())
    root = CA.create("Root of the chain", not_before=now - DAY)
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    extensions = ((x509.BasicConstraints(ca=True, path_length=None), True), (usage, True))
    below = root.issue("CA of the chain", not_before=now - DAY, extensions=extensions)
    ca = CA(below.certificate, below.key)
    signer = ca.issue_signer(not_before=now - DAY, not_after=now + DAY)
    key = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, data in {"key": key, "signer.pem": signer.pem, "chain.pem": ca.pem + root.pem}.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    files = {"--signer-key": "key", "--signer-cert": "signer.pem", "--chain": "chain.pem", "--instance": "v"}
    words = [word for option, name in files.items() for word in (option, str(tmp_path / name))]
    assert main(["create", *words]) == 0
    assert "CN=Root of the chain is in the chain and not answered for" in capsys.readouterr().err
    with wiring.services(Layout(tmp_path / "v")) as services:
        assert [one.label for one in services.store.authorities()] == ["CN=CA of the chain"]


def test_create_files_are_the_owner_s_alone(site):
    """Folder 0700, settings, passwords and keys 0600, the key encrypted."""
    site.create()
    layout = Layout(site.instance)
    secret = [layout.cs_cfg, layout.password_conf, layout.alias / "ocspSigningCert.key"]
    assert [path.stat().st_mode & 0o777 for path in secret] == [0o600] * 3
    assert [folder.stat().st_mode & 0o777 for folder in (layout.root, *layout.folders)] == [0o700] * 6
    assert b"ENCRYPTED" in secret[2].read_bytes()


@pytest.mark.parametrize("password", ["a secret", "päßword"])
def test_create_from_pkcs12_takes_signer_and_ca(site, capsys, password):
    """A PKCS #12 file holds all that is needed; its password comes from a file."""
    encryption = BestAvailableEncryption(password.encode())
    bag = pkcs12.serialize_key_and_certificates(
        b"x", site.signer.key, site.signer.certificate, [site.ca.certificate], encryption
    )
    for name, data in (("s.p12", bag), ("pw", password.encode() + b"\n")):
        (site.folder / name).write_bytes(data)
        (site.folder / name).chmod(0o600)
    assert main(["create", "--pkcs12", site.file("s.p12"), "--password-file", site.file("pw")]) == 0
    assert signer_of(site).certificate_der == site.signer.der
    assert labels(site) == ["CN=Site CA"]
    assert read_settings(Layout(site.instance)).responder.reasons is True


def test_create_from_a_certificate_system_s_keys_tells_no_reasons(site, capsys):
    """Whose clients came with its keys, its OCSPClient among them, is answered what they can read; it is said."""
    name, encryption = b"ocspSigningCert cert-pki-ocsp", BestAvailableEncryption(b"a secret")
    bag = pkcs12.serialize_key_and_certificates(
        name, site.signer.key, site.signer.certificate, [site.ca.certificate], encryption
    )
    for file, data in (("s.p12", bag), ("pw", b"a secret\n")):
        (site.folder / file).write_bytes(data)
        (site.folder / file).chmod(0o600)
    assert main(["create", "--pkcs12", site.file("s.p12"), "--password-file", site.file("pw")]) == 0
    assert read_settings(Layout(site.instance)).responder.reasons is False
    assert "vouchd.response.reasons=false" in capsys.readouterr().err


def test_create_encrypted_key_without_password_asks_for_a_file(site, capsys):
    """Without a terminal the way to give a password is told."""
    key = site.folder / "signer.key"
    encryption = BestAvailableEncryption(b"a secret")
    key.write_bytes(site.signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    assert site.create() == 78
    assert "--password-file" in capsys.readouterr().err
    assert not site.instance.exists()


def test_create_without_signer_leaves_a_request(site, capsys):
    """With nothing given a key is made and the CSR is printed: OCSP signing, nocheck, our subject."""
    assert main(["create", "--subject", "CN=ocsp.example,O=Site"]) == 0
    captured = capsys.readouterr()
    pem = captured.out[captured.out.index("-----BEGIN") :]
    request = x509.load_pem_x509_csr(pem.encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=ocsp.example,O=Site"
    usage = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert request.extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert "vouchd certs install ocspSigningCert FILE" in captured.err


def test_create_request_is_completed_by_the_certificate(site, capsys):
    """With the certificate in its place and the CA added the instance is ready; before, the next step is told."""
    main(["create"])
    layout = Layout(site.instance)
    capsys.readouterr()
    assert main(["start"]) == 70
    assert str(layout.alias / "ocspSigningCert.csr") in capsys.readouterr().err
    request = x509.load_pem_x509_csr((layout.alias / "ocspSigningCert.csr").read_bytes())
    extensions = tuple((extension.value, extension.critical) for extension in request.extensions)
    now = int(time.time())
    key = load_key(layout)
    issued = site.ca.issue("OCSP", key=key, not_before=now - DAY, not_after=now + DAY, extensions=extensions)
    (layout.alias / "ocspSigningCert.pem").write_bytes(issued.pem)
    assert main(["ca", "add", site.file("ca.pem")]) == 0
    instance.check_instance(layout, warn=pytest.fail)


def load_key(layout):
    """The instance's own key, read the way it reads it."""
    from vouchd.settings.passwords import read_passwords
    from vouchd.signing.keys import read_key

    return read_key(layout.alias / "ocspSigningCert.key", read_passwords(layout.password_conf)["internal"])


@pytest.mark.parametrize("algorithm", ["SHA256withRSA/PSS", "SHA384withEC", "Ed25519", "ML-DSA-44"])
def test_create_new_key_is_for_the_algorithm(site, algorithm):
    """`--algorithm` decides the kind of key and what it signs with."""
    assert main(["create", "--algorithm", algorithm]) == 0
    assert read_settings(Layout(site.instance)).signers[0].algorithm == algorithm


def test_create_with_our_ca_gets_its_certificate(site):
    """With `--ca` our own certificate manager certifies the new key and is answered for."""
    folder = site.file("lab")
    assert main(["ca", "create", "--ca", folder, "--subject", "CN=Lab CA"]) == 0
    assert main(["create", "--ca", folder]) == 0
    instance.check_instance(Layout(site.instance), warn=pytest.fail)
    assert labels(site) == ["CN=Lab CA"]


def test_create_with_our_ca_beside_an_existing_folder_issues_nothing(site, capsys):
    """No certificate is issued for an instance that cannot be made."""
    folder = site.file("lab")
    main(["ca", "create", "--ca", folder, "--subject", "CN=Lab CA"])
    site.create()
    assert main(["create", "--ca", folder]) == 73
    capsys.readouterr()
    assert main(["ca", "certs", "--ca", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_create_existing_folder_is_left_alone(site, capsys):
    """A folder with something in it is not touched."""
    site.instance.mkdir()
    (site.instance / "precious").write_bytes(b"x")
    assert site.create() == 73
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in site.instance.iterdir()] == ["precious"]


def test_create_empty_folder_is_used(site):
    """An empty folder, as a volume is mounted, is fine."""
    site.instance.mkdir()
    assert site.create() == 0


@pytest.mark.parametrize(
    "certificate, words",
    [
        (
            lambda site, now: site.ca.issue("x", key=site.signer.key, not_before=now - DAY, not_after=now + DAY),
            "OCSP signing",
        ),
        (lambda site, now: site.ca.issue_signer(not_before=now - 9 * DAY, not_after=now - DAY), "not valid now"),
        (lambda _, now: CA.create("Other").issue_signer(not_before=now - DAY, not_after=now + DAY), "not issued by"),
        (lambda site, now: site.ca.issue_signer(key=site.ca.key, not_after=now + DAY), "does not belong"),
    ],
    ids=["usage", "expired", "other CA", "other key"],
)
def test_create_unfit_signer_is_refused_and_leaves_nothing(site, capsys, certificate, words):
    """A signer that clients would refuse is refused at once; neither folder nor draft is left."""
    (site.folder / "signer.pem").write_bytes(certificate(site, int(time.time())).pem)
    assert site.create() == 70
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in site.folder.iterdir()) == ["ca.pem", "signer.key", "signer.pem"]


def test_create_signer_without_nocheck_is_warned_about(site, capsys):
    """Without ocsp-nocheck clients would have to check the signer: allowed, with a warning."""
    now = int(time.time())
    signer = site.ca.issue_signer(nocheck=False, not_before=now - DAY, not_after=now + DAY)
    (site.folder / "signer.pem").write_bytes(signer.pem)
    assert site.create() == 0
    assert "vouchd: warning: signer ocspSigningCert:" in capsys.readouterr().err


def test_create_with_the_ca_s_own_key_is_accepted(site):
    """A small site may sign with the CA's own key."""
    (site.folder / "signer.pem").write_bytes(site.ca.pem)
    key = site.folder / "signer.key"
    subprocess.run(["chmod", "600", key], check=True)
    from cryptography.hazmat.primitives.serialization import NoEncryption

    key.write_bytes(site.ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert site.create() == 0


def test_create_key_that_others_may_read_is_refused_with_the_remedy(site, capsys):
    """Key material that others may read is not taken over."""
    (site.folder / "signer.key").chmod(0o644)
    assert site.create() == 70
    assert f"vouchd: hint: chmod 600 {site.file('signer.key')}" in capsys.readouterr().err
    assert not site.instance.exists()


@pytest.mark.parametrize("arguments", [["--ca", "x", "--pkcs12", "y"], ["--signer-key", "k"], ["--signer-cert", "c"]])
def test_create_contradicting_options_are_refused(site, capsys, arguments):
    """One kind of signer, and all of it."""
    assert main(["create", *arguments]) == 78
    assert not site.instance.exists()


def test_create_by_a_post_quantum_ca_leaves_tls_to_a_classical_one(tmp_path, capsys, monkeypatch):
    """A CA whose keys TLS libraries do not know certifies the signer; what speaks TLS is requested from another CA."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vouchd.instance.certificates.tls._KNOWS_ML_DSA", (99,))  # whichever library runs the test
    assert main(["ca", "create", "--ca", "pq", "--subject", "CN=PQ CA", "--key", "ML-DSA-65"]) == 0
    assert main(["ca", "create", "--ca", "classic", "--subject", "CN=Classic CA"]) == 0
    capsys.readouterr()
    create = ["create", "--instance", "i", "--ca", "pq", "--algorithm", "ML-DSA-65", "--listen", "127.0.0.1"]
    assert main([*create, "--port", "0"]) == 0
    assert "off until a CA has certified sslserver.csr" in capsys.readouterr().err
    layout = Layout(tmp_path / "i")
    settings = instance.check_instance(layout, warn=pytest.fail)
    assert load_signers(settings)[settings.default_signer].algorithms[0] == "ML-DSA-65"
    assert main(["certs", "renew", "sslserver", "--ca", "pq", "--instance", "i"]) != 0
    assert "does not know ML-DSA" in capsys.readouterr().err
    assert main(["certs", "renew", "--ca", "classic", "--instance", "i"]) == 0
    assert all(files.installed for files in (read_settings(layout).agent.tls, read_settings(layout).admin))


def test_create_with_a_ca_and_no_certificate_yet_waits_for_it(site, capsys):
    """The CA that is answered for is known from the start; its signer's certificate comes later."""
    assert main(["create", "--ca-cert", str(site.folder / "ca.pem")]) == 0
    assert "vouchd certs install" in capsys.readouterr().err
    assert labels(site) == ["CN=Site CA"]
