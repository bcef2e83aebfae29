"""`vouchd certs`: from a request over any CA, or over our own, to a certificate in use; a refusal changes nothing."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.images import image_of
from tests.pki import CA, DAY, shared_key
from tests.sites import Site

from vouchd.cli.main import main
from vouchd.core.facts import Group
from vouchd.errors import ConfigError
from vouchd.instance.certificates.signers import load_signers
from vouchd.instance.certificates.tls import server_context
from vouchd.instance.configuration import write_values
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.pkcs12 import read_key_file
from vouchd.wiring import services as wiring
from vouchd.wiring.instance import check_instance

NAMES = ["ocspSigningCert", "sslserver", "subsystem", "audit_signing", "admin"]


def layout_of(site: Site) -> Layout:
    return Layout(site.instance)


def shown(capsys, *arguments: str):
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def snapshot(site: Site) -> dict[str, bytes]:
    """Every file of keys, certificates and settings."""
    layout = layout_of(site)
    files = [layout.cs_cfg, *layout.alias.iterdir(), layout.admin_pkcs12, layout.admin_password]
    return {path.name: path.read_bytes() for path in files if path.exists()}


def certified(site: Site, request: str, *, ca: CA | None = None, days: int = 60, **more) -> str:
    """Have the site's CA certify a request as it asks; the certificate's file."""
    csr = x509.load_pem_x509_csr((layout_of(site).alias / request).read_bytes())
    now = int(time.time())
    extensions = tuple((one.value, one.critical) for one in csr.extensions)
    issued = (ca or site.ca).issue(
        more.pop("subject", "certified"),
        key=more.pop("key", None) or _Public(csr.public_key()),
        not_before=more.pop("not_before", now - DAY),
        not_after=now + days * DAY,
        extensions=more.pop("extensions", extensions),
    )
    path = site.folder / f"{request}.pem"
    path.write_bytes(issued.pem)
    return str(path)


class _Public:
    """What `CA.issue` wants of a key, when only the public one is known."""

    def __init__(self, key) -> None:
        self._key = key

    def public_key(self):
        return self._key


OURS = (("by", "ca"), ("ca", "lab"))


@pytest.fixture
def lab(site) -> Site:
    """A site whose instance has all its certificates from our own CA in `lab`."""
    image_of(make_lab).put(site.folder)
    return site


def make_lab(folder: Path) -> None:
    lab = str(folder / "lab")
    assert main(["ca", "create", "--ca", lab, "--subject", "CN=Lab CA"]) == 0
    names = ("--hostname", "ocsp.example", "--hostname", "192.0.2.7")
    assert main(["create", "--ca", lab, *names, "--instance", str(folder / "vouchd")]) == 0


def test_create_with_our_ca_has_every_certificate(lab, capsys):
    """All five are there, valid, and nothing is asked for any more."""
    rows = shown(capsys, "certs", "list")
    assert [row["name"] for row in rows] == NAMES
    assert {(row["state"], row["requests"]) for row in rows} == {("valid", None)}


def test_list_says_which_certificates_renew_themselves_and_when(lab, capsys):
    """Each by its own name, at its own moment within its life; the administrator's is a person's to renew."""
    values = {f"vouchd.renewal.{name}.{key}": value for name in ("sslserver", "audit_signing") for key, value in OURS}
    write_values(layout_of(lab), values)
    rows = {row["name"]: row for row in shown(capsys, "certs", "list")}
    assert {name for name, row in rows.items() if row["renews"]} == {"sslserver", "audit_signing"}
    moment, _, way = rows["sslserver"]["renews"].partition(" ")
    assert datetime.now(UTC).isoformat() < moment < rows["sslserver"]["not_after"]
    assert way == "(ca)"
    write_values(layout_of(lab), {"vouchd.renewal.admin.by": "exec", "vouchd.renewal.admin.command": "true"})
    with pytest.raises(ConfigError, match="a person's"):
        read_settings(layout_of(lab))


def test_create_with_our_ca_makes_a_server_that_tls_takes(lab):
    """The agent port's context loads with the new key; its names are those given."""
    settings = read_settings(layout_of(lab))
    password = read_passwords(layout_of(lab).password_conf)[INTERNAL]
    server_context(settings.agent, password, [])
    certificate = x509.load_pem_x509_certificate(settings.agent.tls.certificate_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ocsp.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_create_with_our_ca_registers_its_administrator(lab):
    """The certificate in the PKCS #12 file is that of the user admin, in three groups; both files are the owner's."""
    layout = layout_of(lab)
    assert [path.stat().st_mode & 0o777 for path in (layout.admin_pkcs12, layout.admin_password)] == [0o600] * 2
    bag = read_key_file(layout.admin_pkcs12, layout.admin_password.read_text().rstrip("\n")).only()
    with wiring.services(layout) as services:
        (user,) = services.users.users(services.caller)
    assert (user.id, user.certificates) == ("admin", (bag.certificate.public_bytes(Encoding.DER),))
    assert user.groups == {Group.ADMINISTRATORS, Group.AGENTS, Group.AUDITORS}


@pytest.mark.parametrize("name", ["höst", "a b\x00"])
def test_create_with_a_hostname_that_is_none_is_refused(site, capsys, name):
    """A name that no certificate can hold is told, and nothing is left."""
    assert site.create("--hostname", name) == 78
    assert "--hostname" in capsys.readouterr().err
    assert not site.instance.exists()


def test_create_puts_the_agent_port_into_the_settings(site):
    """`--agent-port` and `--listen` reach the agent port."""
    assert site.create("--agent-port", "9443", "--listen", "127.0.0.1") == 0
    agent = read_settings(layout_of(site)).agent
    assert (agent.host, agent.port, agent.tls.installed) == ("127.0.0.1", 9443, False)


def test_create_from_files_leaves_requests(instance, capsys):
    """Without our CA the other keys wait for any CA; their files and the way on are told."""
    rows = {row["name"]: row for row in shown(capsys, "certs", "list")}
    assert [name for name in NAMES if rows[name]["state"] == "not come yet"] == NAMES[1:]
    assert [rows[name]["requests"] for name in NAMES[1:]] == [f"{name}.csr" for name in NAMES[1:]]
    assert not layout_of(instance).admin_pkcs12.exists()


@pytest.mark.parametrize("name", NAMES[1:])
def test_install_what_the_site_s_ca_certified_is_in_use(instance, capsys, name):
    """A request that any CA certified completes the instance."""
    certificate = certified(instance, f"{name}.csr")
    (row,) = shown(capsys, "certs", "install", name, certificate, "--chain", instance.file("ca.pem"))
    assert row["state"] == "installed"
    now = {one["name"]: one["state"] for one in shown(capsys, "certs", "list")}
    assert now[name] == "valid"


def test_install_admin_registers_the_user(instance, capsys):
    """With its certificate the administrator exists and has a file for the browser."""
    assert main(["certs", "install", "admin", certified(instance, "admin.csr")]) == 0
    assert [user["id"] for user in shown(capsys, "user", "list")] == ["admin"]
    assert layout_of(instance).admin_pkcs12.exists()


def test_install_of_a_chain_alone_is_done_and_a_chain_that_stops_short_is_told(instance, capsys):
    """The same certificate with the CA between it and the root is new: TLS clients are sent it from now on."""
    now, root = int(time.time()), CA.create("TLS root")
    constraints = ((x509.BasicConstraints(ca=True, path_length=None), True),)
    between = root.issue(
        "TLS between", key=shared_key("EC", 5), not_before=now - DAY, not_after=now + DAY, extensions=constraints
    )
    issuing = CA(between.certificate, between.key)
    leaf = certified(instance, "sslserver.csr", ca=issuing)
    (instance.folder / "chain.pem").write_bytes(between.pem + root.pem)
    assert main(["certs", "install", "sslserver", leaf, "--chain", instance.file("chain.pem")]) == 0
    place = layout_of(instance).alias / "sslserver.pem"
    assert len(x509.load_pem_x509_certificates(place.read_bytes())) == 2
    place.write_bytes(Path(leaf).read_bytes())
    capsys.readouterr()
    assert main(["certs", "install", "sslserver", leaf, "--chain", instance.file("chain.pem")]) == 0
    assert len(x509.load_pem_x509_certificates(place.read_bytes())) == 2
    (instance.folder / "between.pem").write_bytes(between.pem)
    with layout_of(instance).cs_cfg.open("a") as file:
        file.write(f"vouchd.agent.trust={instance.file('between.pem')}\n")
    assert main(["certs", "install", "sslserver", leaf]) == 0
    assert "stops short of a root, at 'CN=TLS between'" in capsys.readouterr().err


def test_install_takes_pkcs7_with_the_chain(instance):
    """A PKCS #7 file with leaf and CA, as many CAs send, needs nothing more."""
    other = CA.create("TLS CA")
    pem = certified(instance, "sslserver.csr", ca=other)
    leaf = x509.load_pem_x509_certificate(Path(pem).read_bytes())
    (instance.folder / "chain.p7b").write_bytes(serialize_certificates([other.certificate, leaf], Encoding.DER))
    assert main(["certs", "install", "sslserver", instance.file("chain.p7b")]) == 0


def test_install_of_a_renewed_signer_switches_key_and_settings(instance, capsys):
    """The new signer's key and certificate are those that CS.cfg names; the old files stay as they were."""
    before = snapshot(instance)
    row = shown(capsys, "certs", "request", "ocspSigningCert")
    assert row["request"].endswith("alias/ocspSigningCert-2.csr")
    assert main(["certs", "install", "ocspSigningCert", certified(instance, "ocspSigningCert-2.csr")]) == 0
    settings = read_settings(layout_of(instance))
    assert settings.signers[0].key_file.name == "ocspSigningCert-2.key"
    signer = load_signers(settings)["ocspSigningCert"]
    assert signer.certificate_der != instance.signer.der
    after = snapshot(instance)
    assert {name: after[name] for name in before if name != "CS.cfg"} == {
        name: data for name, data in before.items() if name != "CS.cfg"
    }


def test_install_of_the_former_certificate_goes_back(instance):
    """What was in use before can be installed again."""
    main(["certs", "request", "ocspSigningCert"])
    main(["certs", "install", "ocspSigningCert", certified(instance, "ocspSigningCert-2.csr")])
    assert main(["certs", "install", "ocspSigningCert", instance.file("signer.pem")]) == 0
    settings = read_settings(layout_of(instance))
    assert settings.signers[0].key_file.name == "ocspSigningCert.key"
    assert load_signers(settings)["ocspSigningCert"].certificate_der == instance.signer.der


def test_install_twice_changes_nothing_more(instance, capsys):
    """The same certificate again is no error and no change."""
    certificate = certified(instance, "sslserver.csr")
    main(["certs", "install", "sslserver", certificate])
    before = snapshot(instance)
    assert main(["certs", "install", "sslserver", certificate]) == 0
    assert snapshot(instance) == before


def test_install_same_key_renewed_certificate_gets_a_file_of_its_own(instance):
    """A certificate anew for the present key leaves key and former certificate in place."""
    main(["certs", "request", "ocspSigningCert", "--same-key"])
    assert main(["certs", "install", "ocspSigningCert", certified(instance, "ocspSigningCert-2.csr")]) == 0
    signer = read_settings(layout_of(instance)).signers[0]
    assert (signer.key_file.name, signer.certificate_file.name) == ("ocspSigningCert.key", "ocspSigningCert-2.pem")
    assert (layout_of(instance).alias / "ocspSigningCert.pem").read_bytes() == instance.signer.pem


def test_install_signer_of_another_key_type_changes_its_algorithm(instance):
    """An RSA signer after an EC one signs with RSA; everything loads."""
    main(["certs", "request", "ocspSigningCert", "--algorithm", "SHA256withRSA"])
    assert main(["certs", "install", "ocspSigningCert", certified(instance, "ocspSigningCert-2.csr")]) == 0
    settings = check_instance(layout_of(instance), warn=lambda _: None)
    assert load_signers(settings)["ocspSigningCert"].algorithms[0] == "SHA256withRSA"


UNFIT = {
    "usage": (
        {"extensions": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),)},
        "extendedKeyUsage",
    ),
    "expired": ({"not_before": int(time.time()) - 30 * DAY, "days": -1}, "not valid now"),
    "other key": ({"key": shared_key("EC", 7)}, "for a key of"),
    "other CA": ({"ca": CA.create("Stranger")}, "is not known"),
}


# An audit signer needs no extendedKeyUsage, so none is wrong.
CASES = [(name, unfit) for name in NAMES for unfit in UNFIT if (name, unfit) != ("audit_signing", "usage")]


@pytest.mark.parametrize(("name", "unfit"), CASES)
def test_install_of_an_unfit_certificate_changes_nothing(instance, capsys, name, unfit):
    """Usage, validity, key and chain are checked before anything is written, and what is wrong is told."""
    main(["certs", "request", name])
    changes, words = UNFIT[unfit]
    certificate = certified(instance, f"{name}-2.csr", **changes)
    before = snapshot(instance)
    assert main(["certs", "install", name, certificate]) == 65
    assert words in capsys.readouterr().err
    assert snapshot(instance) == before


def test_install_of_a_signer_by_another_ca_is_refused(instance, capsys):
    """Even with its whole chain: a delegated signer has to come from the CA that it answers for."""
    stranger = CA.create("Stranger")
    (instance.folder / "stranger.pem").write_bytes(stranger.pem)
    main(["certs", "request", "ocspSigningCert"])
    certificate = certified(instance, "ocspSigningCert-2.csr", ca=stranger)
    before = snapshot(instance)
    assert main(["certs", "install", "ocspSigningCert", certificate, "--chain", instance.file("stranger.pem")]) == 65
    assert "was not issued by" in capsys.readouterr().err
    assert snapshot(instance) == before


def test_install_that_is_refused_is_in_the_audit_log(instance):
    """A certificate that was turned down leaves a record with the reason."""
    main(["certs", "install", "sslserver", certified(instance, "sslserver.csr", ca=CA.create("Stranger"))])
    lines = [json.loads(line) for line in layout_of(instance).audit_log.read_text().splitlines()]
    events = [line for line in lines if line["event"] == "CIMC_CERT_VERIFICATION"]
    assert [(line["outcome"], line["detail"]["certificate"]) for line in events] == [("failure", "sslserver")]


def test_install_dry_run_tries_and_changes_nothing(instance, capsys):
    """A certificate can be tried out ahead of its time."""
    certificate = certified(instance, "sslserver.csr")
    before = snapshot(instance)
    (row,) = shown(capsys, "certs", "install", "sslserver", certificate, "--dry-run")
    assert row["state"] == "tried out"
    assert snapshot(instance) == before


def test_install_rubbish_or_for_nobody_is_refused(instance, capsys):
    """A file without a certificate and a name that does not exist are errors with a hint."""
    (instance.folder / "rubbish").write_bytes(b"rubbish")
    assert main(["certs", "install", "sslserver", instance.file("rubbish")]) == 78
    assert main(["certs", "install", "nobody", instance.file("ca.pem")]) == 66
    assert "one of ocspSigningCert, sslserver" in capsys.readouterr().err


def test_request_takes_over_subject_and_names(lab, capsys):
    """A request for renewal asks for what the present certificate has, unless told otherwise."""
    again = x509.load_pem_x509_csr(Path(shown(capsys, "certs", "request", "sslserver")["request"]).read_bytes())
    assert again.subject.rfc4514_string() == "CN=ocsp.example"
    names = again.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ocsp.example"]
    other = shown(capsys, "certs", "request", "sslserver", "--subject", "CN=b", "--name", "DNS:b.example")["request"]
    request = x509.load_pem_x509_csr(Path(other).read_bytes())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (request.subject.rfc4514_string(), names.get_values_for_type(x509.DNSName)) == ("CN=b", ["b.example"])


def test_request_before_the_first_certificate_asks_for_what_the_one_before_did(site, capsys):
    """A CA that takes RSA alone gets the same names for another key; the way to it is told with the first request."""
    assert site.create("--hostname", "ocsp.example.test") == 0
    capsys.readouterr()
    assert main(["certs", "request", "sslserver"]) == 0
    assert "--algorithm SHA256withRSA" in capsys.readouterr().err
    made = shown(capsys, "certs", "request", "sslserver", "--algorithm", "SHA256withRSA")["request"]
    request = x509.load_pem_x509_csr(Path(made).read_bytes())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert request.subject.rfc4514_string() == "CN=ocsp.example.test"
    assert names.get_values_for_type(x509.DNSName) == ["ocsp.example.test"]
    assert isinstance(request.public_key(), rsa.RSAPublicKey)


def test_renew_without_names_renews_what_expires_soon(lab, capsys):
    """A certificate for two days is due at once where a day is left, the others are not."""
    assert shown(capsys, "certs", "renew", "--ca", lab.file("lab")) == []
    (lab.instance / "alias" / "subsystem.pem").unlink()
    assert [row["name"] for row in shown(capsys, "certs", "renew", "--ca", lab.file("lab"))] == ["subsystem"]


def test_certificate_that_ends_soon_is_told_at_start_and_in_the_list(instance, capsys):
    """Ten days before the end of sixty the list, the start and `certs renew` speak of it."""
    soon = certified(instance, "subsystem.csr", not_before=int(time.time()) - 50 * DAY, days=10)
    assert main(["certs", "install", "subsystem", soon]) == 0
    states = {row["name"]: row["state"] for row in shown(capsys, "certs", "list")}
    assert re.fullmatch("expires in (9|10) days", states.pop("subsystem"))
    assert not any("expires" in state for state in states.values())
    warnings: list[str] = []
    check_instance(layout_of(instance), warn=warnings.append)
    assert [line.partition(" expires")[0] for line in warnings] == ["the certificate subsystem"]


def test_renew_by_name_replaces_key_and_certificate(lab, capsys):
    """Each named certificate is new, for the days asked, and the instance would start with it."""
    before = {row["name"]: row["serial"] for row in shown(capsys, "certs", "list")}
    rows = shown(capsys, "certs", "renew", *NAMES, "--ca", lab.file("lab"), "--days", "40")
    assert [row["name"] for row in rows] == NAMES
    after = {row["name"]: row["serial"] for row in shown(capsys, "certs", "list")}
    assert not set(before.values()) & set(after.values())
    check_instance(layout_of(lab), warn=pytest.fail)


def test_renew_admin_lets_both_certificates_in(lab, capsys):
    """The former certificate of the administrator stays registered until it is taken away."""
    main(["certs", "renew", "admin", "--ca", lab.file("lab")])
    with wiring.services(layout_of(lab)) as services:
        (user,) = services.users.users(services.caller)
    assert len(user.certificates) == 2
