"""`vouchd import dogtag`: an instance made of what an OCSP manager has in files and in a real directory server."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.directory.site import prepare
from tests.ds389 import PASSWORD, directories
from tests.pki import CA, DAY, HOUR, Issued, new_key

from vouchd.cli.main import main
from vouchd.core.facts import Transport
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.signing.pkcs12 import KeyBag, write_key_file
from vouchd.wiring.instance import check_instance
from vouchd.wiring.services import services

pytestmark = pytest.mark.directory


@dataclass
class Manager:
    """An OCSP manager's files and directory: two CAs, of which the first has issued the signer."""

    folder: Path
    url: str
    ca: CA
    second: CA
    signer: Issued
    agent: Issued

    def words(self, *more: str, instance: Path | None = None) -> list[str]:
        """The command; the instance is made beside the files, or where it is said."""
        files = ["--config", self.folder / "CS.cfg", "--pkcs12", self.folder / "keys.p12"]
        secrets = ["--password-file", self.folder / "pw", "--directory-password-file", self.folder / "pw"]
        where = ["--directory", self.url, "--instance", instance or self.folder / "vouchd"]
        return ["import", "dogtag", *map(str, (*files, *secrets, *where)), *more]


def _crl(ca: CA, revoked: dict[int, x509.ReasonFlags | None]) -> bytes:
    now = int(time.time())
    return ca.crl(revoked, this_update=now - HOUR, next_update=now + DAY)


@pytest.fixture(scope="module")
def directory():
    """A directory server with the entries that an OCSP manager has."""
    with directories("ds1.vouchd.test", tls=False) as (server,):
        yield prepare(server, Transport.PLAIN, None, clone=False)


@pytest.fixture(scope="module")
def manager(directory, tmp_path_factory) -> Manager:
    """The manager, its files written and its entries added."""
    folder = tmp_path_factory.mktemp("manager")
    now = int(time.time())
    ca, second = CA.create("Site CA"), CA.create("Second CA", key=new_key("P-384"))
    signer = ca.issue_signer("Their signer", kind="RSA", not_before=now - DAY, not_after=now + 30 * DAY)
    client = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    subsystem = ca.issue("Subsystem", key=new_key("RSA"), not_before=now - DAY, extensions=(client,))
    others = [subsystem, ca.issue("Audit", key=new_key("RSA"), not_before=now - DAY)]
    agent = ca.issue("Agent", not_before=now - DAY, not_after=now + DAY)
    bags = [
        KeyBag(one.key, one.certificate, (ca.certificate,), name)
        for one, name in zip(
            (signer, *others), ("ocspSigningCert cert-x", "subsystem", "ocsp_audit_signing"), strict=True
        )
    ]
    (folder / "pw").write_text(PASSWORD)
    (folder / "pw").chmod(0o600)
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    lines = {
        "cs.type": "OCSP",
        "cms.product.version": "10.10.2",
        "machineName": "ocsp.example.test",
        "internaldb.basedn": "o=theirs",
        "internaldb.ldapauth.bindDN": "cn=Directory Manager",
        "ocsp.signing.certnickname": "ocspSigningCert cert-x",
        "ocsp.signing.cert": base64.b64encode(signer.der).decode(),
        "ocsp.signing.defaultSigningAlgorithm": "SHA512withRSA",
        "ocsp.cert.subsystem.nickname": "subsystem",
        "ocsp.cert.audit_signing.nickname": "ocsp_audit_signing",
        "ocsp.cert.sslserver.nickname": "sslserver",
        "ocsp.store.defStore.includeNextUpdate": "false",
        "service.unsecurePort": "28080",
        "service.securePort": "28443",
        "autoShutdown.allowed": "true",
        "CrossCertPair.ldap": "internaldb",
    }
    (folder / "CS.cfg").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    _fill(directory, ca, second, agent)
    url = f"{directory.directory.url}/{directory.server.suffix}"
    return Manager(folder, url, ca, second, signer, agent)


def _fill(directory, ca: CA, second: CA, agent: Issued) -> None:
    suffix, admin = directory.server.suffix, directory.admin()
    for name, authority in (("CN-Site CA", ca), ("CN-Second CA", second)):
        admin.add(
            f"cn={name},{suffix}",
            {
                "objectClass": ["top", "crlIssuingPointRecord"],
                "cn": [name],
                "cACertificate": [authority.der],
                "certificateRevocationList": [_crl(authority, {0x51: None})],
            },
        )
    person = ["top", "person", "organizationalPerson", "inetOrgPerson", "extensibleObject"]
    for uid, more in {
        "agent": {"userCertificate": [agent.der], "userstate": ["1"]},
        "gone": {"userCertificate": [ca.issue("Gone").der], "userstate": ["0"]},
        "typist": {"userPassword": ["secret-word"], "userstate": ["1"]},
        "pkidbuser": {"userstate": ["1"]},
    }.items():
        entry = {"objectClass": person, "uid": [uid], "cn": [uid], "sn": [uid], **more}
        admin.add(f"uid={uid},ou=people,{suffix}", entry)
    admin.add(f"ou=groups,{suffix}", {"objectClass": ["top", "organizationalUnit"], "ou": ["groups"]})
    for group in ("Online Certificate Status Manager Agents", "Enterprise OCSP Administrators"):
        members = {"uniqueMember": [f"uid=agent,ou=People,{suffix}", f"uid=gone,ou=people,{suffix}"]}
        entry = {"objectClass": ["top", "groupOfUniqueNames"], "cn": [group], **members}
        admin.add(f"cn={group},ou=groups,{suffix}", entry)
    rule = 'certServer.ocsp.ca:add:allow (add) group="Administrators":Administrators'
    admin.add(
        f"cn=aclResources,{suffix}",
        {
            "objectClass": ["top", "extensibleObject", "applicationProcess"],
            "cn": ["aclResources"],
            "resourceACLS": [rule],
        },
    )
    admin.close()


@pytest.fixture
def run(capsys):
    """Runs a command line and gives its exit code, its JSON and what it says."""

    def call(words: list[str]):
        code = main(words)
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return call


def what(done: dict, verdict: str) -> dict[str, str]:
    """Reason by what it is of, in one of the lists."""
    return {one["what"]: one["why"] for one in done[verdict]}


def test_rehearsal_tells_all_and_leaves_nothing(run, manager):
    """A dry run judges every CA and user as the real one would, and makes no folder."""
    code, done, err = run(manager.words("--dry-run", "--json"))
    assert code == 78, err  # the second CA has not issued the signer
    assert not (manager.folder / "vouchd").exists()
    taken, refused = what(done, "taken_over"), what(done, "not_possible")
    assert taken["CA CN=Site CA"] == "1 CRL verified and taken"
    assert "user agent" in taken
    (offered,) = [one for one in done["not_possible"] if "CN-Second CA" in one["what"]]
    assert "--trusted-responder 'CN=Second CA'" in offered["hint"]
    assert {"user typist", "autoShutdown.allowed=true", "key sslserver"} <= refused.keys()
    assert [row["resource"] for row in done["access_rules"]] == ["certServer.ocsp.ca"]
    assert "ca.publish.publisher.instance.OCSPPublisher-ocsp-example-test-28443.port=28443" in done["publisher"]


def test_import_makes_an_instance_that_would_start(run, manager):
    """Keys, CAs behind one signer, CRLs, users and settings are there, the directory is not ours, and a start would go well."""
    words = ["--trusted-responder", "CN=Second CA", "--port", "0", "--agent-port", "0", "--json"]
    code, done, err = run(manager.words(*words))
    assert code == 0, err
    layout = Layout(manager.folder / "vouchd")
    check_instance(layout, warn=lambda _: None, whole=True)
    settings = read_settings(layout)
    assert settings.directory is None
    assert (settings.responder.by_name, settings.responder.include_next_update) == (True, False)
    assert [(one.nickname, one.algorithm) for one in settings.signers] == [("ocspSigningCert cert-x", "SHA512withRSA")]
    with services(layout) as opened:
        assert {one.label for one in opened.store.authorities()} == {"CN=Site CA", "CN=Second CA"}
        assert [epoch.entry_count for epoch in opened.store.epochs()] == [1, 1]
        users = {user.id: user for user in opened.store.users()}
    assert users.keys() == {"agent", "gone"}
    assert users["agent"].certificates == (manager.agent.der,)
    assert users["agent"].groups == {"Online Certificate Status Manager Agents"}
    assert not users["gone"].enabled
    assert "without rights" not in json.dumps(done["taken_over"])


def test_key_that_signs_there_no_longer_is_refused(run, manager, tmp_path):
    """A PKCS #12 file from before the signer's renewal would answer with a key that is out of use."""
    other = manager.ca.issue_signer("Renewed", key=new_key("RSA"))
    text = (manager.folder / "CS.cfg").read_text()
    renewed = base64.b64encode(other.der).decode()
    (tmp_path / "CS.cfg").write_text(text.replace(base64.b64encode(manager.signer.der).decode(), renewed))
    words = manager.words("--dry-run", instance=tmp_path / "vouchd")
    words[words.index("--config") + 1] = str(tmp_path / "CS.cfg")
    code, _, err = run(words)
    assert code == 70
    assert "is not the one that signs there now" in err


@pytest.mark.parametrize("name", ["alias", "alias/key4.db", "other.db"])
def test_nss_database_is_named_with_what_exports_it(run, manager, tmp_path, name):
    """Who gives the folder of keys instead of a PKCS #12 file is told what writes one."""
    (tmp_path / "alias").mkdir()
    (tmp_path / "alias/key4.db").write_bytes(b"SQLite format 3\0")
    (tmp_path / "other.db").write_bytes(bytes.fromhex("0006156100000002"))
    words = manager.words("--dry-run", instance=tmp_path / "vouchd")
    words[words.index("--pkcs12") + 1] = str(tmp_path / name)
    code, _, err = run(words)
    assert code == 70
    assert "NSS database" in err
    assert "PKCS12Export -d" in err
