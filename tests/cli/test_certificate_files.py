"""Every command that takes a CA certificate takes it in every form that CAs and tools hand it out in."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from tests.cli.test_certs import certified
from tests.pki import CA, shared_key
from tests.sites import Site

from vouchd.errors import ConfigError
from vouchd.pkix import certs
from vouchd.signing.certificates import plain_roots, trusting


def trusted(pem: bytes, form: str = "PEM") -> bytes:
    """What `openssl x509 -trustout` writes of a certificate."""
    command = ["openssl", "x509", "-trustout", "-addtrust", "clientAuth"]
    text = subprocess.run(command, input=pem, capture_output=True, check=True).stdout
    return text if form == "PEM" else base64.b64decode(b"".join(text.splitlines()[1:-1]))


ONE = {
    "PEM": lambda ca: ca.pem,
    "DER": lambda ca: ca.der,
    "trusted PEM": lambda ca: trusted(ca.pem),
    "trusted DER": lambda ca: trusted(ca.pem, "DER"),
    "p7b in PEM": lambda ca: serialize_certificates([ca.certificate], Encoding.PEM),
    "p7b in DER": lambda ca: serialize_certificates([ca.certificate], Encoding.DER),
}
BUNDLES = {
    "PEM": lambda *cas: b"".join(ca.pem for ca in cas),
    "trusted PEM": lambda *cas: b"".join(trusted(ca.pem) for ca in cas),
    "p7b in PEM": lambda *cas: serialize_certificates([ca.certificate for ca in cas], Encoding.PEM),
    "p7b in DER": lambda *cas: serialize_certificates([ca.certificate for ca in cas], Encoding.DER),
}
every_form = pytest.mark.parametrize("form", ONE)
every_bundle = pytest.mark.parametrize("form", BUNDLES)


def labels(run) -> list[str]:
    code, out, _ = run("authority", "list", "--json")
    assert code == 0
    return sorted(one["label"] for one in json.loads(out))


def write(site: Site, data: bytes) -> str:
    (site.folder / "given").write_bytes(data)
    return site.file("given")


@every_form
def test_create_takes_the_ca_in_each_form(site, run, capsys, form):
    """`create --ca-cert` registers the CA whatever it is wrapped in."""
    (site.folder / "ca.pem").write_bytes(ONE[form](site.ca))
    assert site.create() == 0
    capsys.readouterr()
    assert labels(run) == ["CN=Site CA"]


@every_form
def test_add_takes_a_ca_in_each_form_and_says_what_was_left_out(instance, run, form):
    """`authority add` registers the CA; trust settings beside it are said to be left out."""
    run("authority", "remove", "CN=Site CA")
    code, _, err = run("authority", "add", write(instance, ONE[form](instance.ca)))
    assert code == 0, err
    assert labels(run) == ["CN=Site CA"]
    assert ("the trust settings beside CN=Site CA were left out" in err) is ("trusted" in form)


@every_bundle
def test_add_takes_each_ca_of_a_bundle(instance, run, monkeypatch, form):
    """Every CA of a bundle is answered for afterwards; what is no CA is left out with a word."""
    monkeypatch.setattr(certs, "check_signer", lambda *_: certs.SignerFitness(own_key=True, warnings=()))
    other, third = CA.create("Other CA", key=shared_key("EC", 31)), CA.create("Third CA", key=shared_key("EC", 32))
    leaf = third.issue("www.example.test")
    code, _, err = run("authority", "add", write(instance, BUNDLES[form](leaf, other, third)))
    assert code == 0, err
    assert labels(run) == ["CN=Other CA", "CN=Site CA", "CN=Third CA"]
    assert "'CN=www.example.test' is no CA and was left out" in err


def test_add_of_a_bundle_without_a_ca_is_refused(instance, run):
    """A bundle of end entities alone is refused in words, and nothing is added."""
    leaves = [instance.ca.issue(name) for name in ("one", "two")]
    code, _, err = run("authority", "add", write(instance, BUNDLES["PEM"](*leaves)))
    assert code == 78
    assert "2 certificates, and none of a certification authority" in err
    assert labels(run) == ["CN=Site CA"]


def test_add_of_a_bundle_with_one_label_is_refused(instance, run):
    """One label is for one CA."""
    other = CA.create("Other CA", key=shared_key("EC", 31))
    code, _, err = run("authority", "add", write(instance, BUNDLES["PEM"](instance.ca, other)), "--label", "both")
    assert code == 78
    assert "one label for several CAs" in err


@every_form
def test_set_takes_crl_issuers_in_each_form(instance, run, form):
    """`authority set --crl-issuer` keeps the certificate itself."""
    issuer = CA.create("CRL issuer", key=shared_key("EC", 33))
    code, _, err = run("authority", "set", "CN=Site CA", "--crl-issuer", write(instance, ONE[form](issuer)))
    assert code == 0, err
    (kept,) = json.loads(run("authority", "set", "CN=Site CA", "--json")[1])["policy"]["crl_issuers"]
    assert kept == "".join(issuer.pem.decode().splitlines()[1:-1])


@every_form
def test_explain_takes_the_issuer_in_each_form(instance, run, form):
    """`explain --issuer` finds the CA by it."""
    code, out, err = run("explain", "--issuer", write(instance, ONE[form](instance.ca)), "--serial", "1f", "--json")
    assert code == 0, err
    assert json.loads(out)["authority"]["label"] == "CN=Site CA"


@every_bundle
def test_explain_takes_the_issuer_out_of_a_bundle(instance, run, form):
    """Of several CAs the one is meant that issued the certificate; with a serial alone nobody can tell."""
    other = CA.create("Other CA", key=shared_key("EC", 31))
    bundle = write(instance, BUNDLES[form](other, instance.ca))
    code, out, err = run("explain", instance.issue("www", 0x1F), "--issuer", bundle, "--json")
    assert code == 0, err
    assert json.loads(out)["authority"]["label"] == "CN=Site CA"
    code, _, err = run("explain", "--serial", "1f", "--issuer", bundle)
    assert code == 78
    assert "2 CAs where one is meant" in err


@every_form
def test_certs_install_takes_the_chain_in_each_form(instance, run, form):
    """`certs install --chain` finds the CA above the certificate in it."""
    root = CA.create("TLS root", key=shared_key("EC", 34))
    leaf = certified(instance, "sslserver.csr", ca=root)
    assert run("certs", "install", "sslserver", leaf)[0] != 0
    code, _, err = run("certs", "install", "sslserver", leaf, "--chain", write(instance, ONE[form](root)))
    assert code == 0, err


@every_form
def test_tls_trusts_roots_in_each_form(instance, form):
    """What `--tls-ca`, `--trust` and the trust of sources name may come in any form."""
    context = trusting(instance.folder / write(instance, ONE[form](instance.ca)))
    (root,) = context.get_ca_certs(binary_form=True)
    assert root == instance.ca.der


@every_form
def test_roots_of_an_ldap_server_are_plain_pem(instance, form):
    """The LDAP library reads the file itself and knows plain PEM alone: anything else is refused with the mend."""
    path = instance.folder / write(instance, ONE[form](instance.ca))
    if form == "PEM":
        assert plain_roots(path) == str(path)
    else:
        with pytest.raises(ConfigError, match="plain PEM") as refusal:
            plain_roots(path)
        assert "openssl pkcs7 -print_certs" in refusal.value.hint
