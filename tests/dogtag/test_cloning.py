"""Clones of the real Dogtag's OCSP manager: made, followed, compared, kept apart from it, taken away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.commands import run_vouchd
from tests.directory.site import until
from tests.dogtag.beside import Beside
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab
from tests.ds389 import PASSWORD, ROOT_DN, Directory, directories
from tests.pki import CA, DAY, HOUR, new_key
from tests.ports import free_port

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory.connection import Connection, Credentials

pytestmark = pytest.mark.dogtag

MASTER = f"ldap://{plan.HOST}:{plan.OCSP.ldap_port}/{plan.OCSP.suffix}"


@dataclass
class Clone:
    """A clone of the OCSP manager, with a directory server of its own."""

    lab: Lab
    folder: Path
    directory: Directory
    port: int

    def file(self, name: str, text: str | bytes) -> Path:
        """A file that nobody else may read."""
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return path

    def run(self, *words: object, code: int = 0) -> str:
        """What a command prints, or with another code what it says."""
        done = run_vouchd(*words, cwd=self.folder)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    def words(self, *more: object) -> list[object]:
        """The command that makes it."""
        configuration = (self.lab.enclosure.root / f"etc/pki/{plan.OCSP.tomcat}/ocsp/CS.cfg").read_bytes()
        keys = self.file("keys.p12", self.lab.file("ocsp.p12").read_bytes())
        theirs = ["--master", MASTER, "--config", self.file("CS.cfg", configuration), "--pkcs12", keys]
        secrets = [
            "--password-file",
            self.file("lab", plan.PASSWORD),
            "--master-password-file",
            self.file("lab", plan.PASSWORD),
        ]
        ours = [
            "--directory",
            f"{self.directory.url}/{plan.OCSP.suffix}",
            "--directory-password-file",
            self.file("own", PASSWORD),
        ]
        ports = ["--port", self.port, "--agent-port", free_port(), "--health-port", 0, "--workers", 1]
        place = ["--instance", self.folder / "clone", "--host", self.directory.host, "--listen", "127.0.0.1"]
        return ["clone", "create", *theirs, *secrets, *ours, *ports, *place, *more]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, serial: int, status: str) -> bool:
        """Whether our client is told that of a serial of the lab's CA."""
        question = ["query", "--url", self.url, "--issuer", self.lab.ca_file, "--serial", f"{serial:x}", "--json"]
        answers = json.loads(run_vouchd(*question, cwd=self.folder).stdout or "{}").get("answers", [])
        return bool(answers) and answers[0]["status"] == status


def master_directory() -> Connection:
    """Dogtag's directory server, as its manager."""
    server = DirectoryServer(plan.HOST, plan.OCSP.ldap_port, Transport.PLAIN, plan.OCSP.suffix)
    return Connection(server, Credentials(ROOT_DN, plan.PASSWORD))


def state_of_master() -> dict[str, object]:
    """What a tool of ours could have changed there: accounts, agreements, replica, entries and access rules."""
    connection = master_directory()
    try:
        config = connection.search("cn=config", scope="sub", query="(|(objectClass=nsDS5Replica)(objectClass=person))")
        suffix = connection.search(plan.OCSP.suffix, scope="sub", attributes=["*", "aci"])
        volatile = ("nsstate", "nsds5replicachangecount", "nsds50ruv", "nsds5replicareapactive")
        kept = {one.dn: {k: v for k, v in one.attributes.items() if k not in volatile} for one in config}
        return {**kept, **{one.dn: dict(one.attributes) for one in suffix}}
    finally:
        connection.close()


@pytest.fixture(scope="module")
def clones(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clone, Clone]]:
    """Two clones of the one master, running."""
    hosts = ("ds1.vouchd.test", "ds2.vouchd.test")
    with directories(*hosts, tls=False, suffix=plan.OCSP.suffix) as servers:
        made = [Clone(lab, tmp_path_factory.mktemp(f"clone{n}"), one, free_port()) for n, one in enumerate(servers)]
        for clone in made:
            clone.run(*clone.words())
        yield made[0], made[1]
        for clone in made:
            clone.run(
                "clone",
                "destroy",
                "--instance",
                clone.folder / "clone",
                "--remove",
                "--master-password-file",
                clone.folder / "lab",
            )
        connection = master_directory()
        names = connection.search("cn=mapping tree,cn=config", scope="sub", query="(cn=vouchd *)")
        rules = connection.read(plan.OCSP.suffix, ["aci"])
        connection.close()
        assert names == ()
        assert not [rule for rule in rules.all("aci") if b"vouchd" in rule]


def test_suffix_of_dogtag_is_refused_before_anything_is_changed_there(lab, tmp_path):
    """Facts of ours below Dogtag's suffix would take it down: no command puts them there, and no password changes."""
    lab.publish()
    password = tmp_path / "password"
    password.write_text(plan.PASSWORD)
    password.chmod(0o600)
    before = state_of_master()
    for words in (
        ["create", "--instance", tmp_path / "v", "--directory", MASTER, "--directory-password-file", password],
        ["directory", "setup", "--url", MASTER, "--password-file", password, "--out", tmp_path / "accounts"],
    ):
        done = run_vouchd(*words, cwd=tmp_path)
        assert done.returncode == 78, done.stderr
        assert "is a Certificate System's" in done.stderr
    assert state_of_master() == before


def test_every_change_of_the_ca_is_followed_by_both_clones(lab, clones):
    """Revoked, held, released: each shows at the clones with the publication, and Dogtag's own client reads it."""
    for clone in clones:
        assert "identical" in clone.run("clone", "verify", "--instance", clone.folder / "clone", "--sample", 3)
    revoked, on_hold = (lab.issue(f"{name}.example.test").certificate.serial_number for name in ("revoked", "held"))
    lab.revoke(revoked)
    lab.revoke(on_hold, "Certificate_Hold")
    assert "<crlPublished>Success</crlPublished>" in lab.publish()
    for clone in clones:
        assert until(lambda clone=clone: clone.says(revoked, "revoked") and clone.says(on_hold, "revoked"))
        assert "CertStatus=Revoked" in lab.ocsp_client(f"{clone.url}/ocsp/ee/ocsp", revoked)
    lab.release(on_hold)
    lab.publish()
    for clone in clones:
        assert until(lambda clone=clone: clone.says(on_hold, "good"))
        assert clone.says(revoked, "revoked")


def test_facts_of_ours_in_a_suffix_of_their_own_leave_dogtag_as_it_is(lab, tmp_path):
    """On Dogtag's own directory server, but below `o=vouchd`: an instance works there, and Dogtag lists and answers."""
    (tmp_path / "pw").write_text(plan.PASSWORD)
    (tmp_path / "pw").chmod(0o600)
    before = {dn: one for dn, one in state_of_master().items() if dn.endswith(plan.OCSP.suffix)}
    url = f"ldap://{plan.HOST}:{plan.OCSP.ldap_port}/o=vouchd"
    place = ["--instance", tmp_path / "v", "--directory", url, "--directory-password-file", "pw"]
    keys = ["--pkcs12", tmp_path / "keys.p12", "--password-file", "pw", "--nickname", "ocsp_signing"]
    (tmp_path / "keys.p12").write_bytes(lab.file("ocsp.p12").read_bytes())
    (tmp_path / "keys.p12").chmod(0o600)
    try:
        done = run_vouchd("create", *place, *keys, "--ca-cert", lab.ca_file, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (tmp_path / "crl").write_bytes(lab.crl())
        done = run_vouchd("crl", "add", tmp_path / "crl", "--instance", tmp_path / "v", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        serial = lab.issue("suffix.example.test").certificate.serial_number
        lab.revoke(serial)
        assert "<crlPublished>Success</crlPublished>" in lab.publish()
        url = f"http://{plan.HOST}:{plan.OCSP.http_port}/ocsp/ee/ocsp"
        assert "CertStatus=Revoked" in lab.ocsp_client(url, serial)
        after = state_of_master()
        assert before.keys() <= after.keys()
    finally:
        remove_suffix("o=vouchd")


def remove_suffix(suffix: str) -> None:
    """Take a database of Dogtag's directory server away, and the accounts that came with it."""
    connection = master_directory()
    trees = connection.search("cn=mapping tree,cn=config", scope="one", attributes=["cn", "nsslapd-backend"])
    for tree in [one for one in trees if suffix in {value.decode() for value in one.all("cn")}]:
        backend = f"cn={tree.text('nsslapd-backend')},cn=ldbm database,cn=plugins,cn=config"
        for top in (tree.dn, backend):
            below = sorted((one.dn for one in connection.search(top, scope="sub", attributes=["1.1"])), key=len)
            for dn in reversed(below):
                connection.delete(dn)
    for account in ("cn=vouchd", "cn=Replication Manager"):
        if connection.read(f"{account},ou=csusers,cn=config") is not None:
            connection.delete(f"{account},ou=csusers,cn=config")
    connection.close()


def test_every_clone_enters_the_domain_of_the_certificate_system(lab, clones):
    """Each member of ours has a place of its own there, as a clone, and takes itself alone out again."""
    ca = ["--at", f"https://{plan.HOST}:{plan.CA.https_port}", "--trust", lab.ca_file]
    user = ["--user", "caadmin", "--password-file", clones[0].folder / "lab"]
    settings = lab.enclosure.root / f"etc/pki/{plan.CA.tomcat}/ca/CS.cfg"
    before, kept = hosts(clones[0], ca), settings.read_text(encoding="utf-8")
    places = [["--instance", clone.folder / "clone", "--host", clone.directory.host] for clone in clones]
    try:
        for clone, place in zip(clones, places, strict=True):
            clone.run("domain", "register", *ca, *user, *place)
        entered = hosts(clones[0], ca) - before
        assert sorted(host.partition(":")[0] for host, _ in entered) == [one.directory.host for one in clones]
        assert all(is_clone for _, is_clone in entered)
        clones[0].run("domain", "unregister", *ca, *user, *places[0])
        assert {host.partition(":")[0] for host, _ in hosts(clones[0], ca) - before} == {clones[1].directory.host}
    finally:
        for clone, place in zip(clones, places, strict=True):
            run_vouchd("domain", "unregister", *ca, *user, *place, cwd=clone.folder)
        settings.write_text(kept, encoding="utf-8")
    assert hosts(clones[0], ca) == before


def hosts(clone: Clone, ca: list[object]) -> set[tuple[str, bool]]:
    """The OCSP managers of the domain, and whether each is a clone."""
    rows = json.loads(clone.run("domain", "others", *ca, "--json"))
    return {(row["host"], row["clone"]) for row in rows if row["kind"] == "OCSP"}


def test_ca_that_is_taken_away_at_the_master_stays_until_an_operator_takes_it_away(lab, clones):
    """A revocation is not forgotten because a database is filled anew: the difference is told, and ended by a named act."""
    clone = clones[0]
    place = ["--instance", clone.folder / "clone"]
    ca = CA.create("Passing CA", key=new_key("RSA"))
    now = int(time.time())
    clone.run("authority", "add", clone.file("passing.pem", ca.pem), "--trusted-responder", *place)
    lab.add_ca(plan.OCSP, ca.certificate)
    lab.add_crl(plan.OCSP, ca.crl({0x51: None}, this_update=now - HOUR, next_update=now + DAY))
    question = ["query", "--url", clone.url, "--issuer", clone.folder / "passing.pem", "--serial", "51", "--json"]
    trust = ["--trust", clone.folder / "clone/alias/ocsp_signing.pem"]

    def says_revoked() -> bool:
        answers = json.loads(run_vouchd(*question, *trust, cwd=clone.folder).stdout or "{}").get("answers", [])
        return bool(answers) and answers[0]["status"] == "revoked"

    try:
        assert until(says_revoked)
        assert "identical" in clone.run("clone", "verify", *place, "--sample", 3)
    finally:
        lab.remove_ca(plan.OCSP, "CN=Passing CA")
    assert says_revoked()
    output = clone.run("clone", "verify", *place, "--sample", 3, code=4)
    assert "CA CN=Passing CA: listed is yes here, no there" in output
    clone.run("authority", "remove", "CN=Passing CA", *place)
    assert until(lambda: not says_revoked())
    assert "identical" in clone.run("clone", "verify", *place, "--sample", 3)


def test_clone_answers_while_its_master_is_away(lab, clones):
    """The OCSP manager is stopped: the clones go on with what they have, and follow again when it is back."""
    serial = lab.issue("away.example.test").certificate.serial_number
    lab.enclosure.run("systemctl", "stop", f"pki-tomcatd@{plan.OCSP.tomcat}")
    try:
        assert all(clone.says(serial, "good") for clone in clones)
    finally:
        lab.start()
    lab.revoke(serial)
    lab.publish()
    assert all(until(lambda clone=clone: clone.says(serial, "revoked")) for clone in clones)


def test_clone_whose_master_is_gone_for_good_becomes_a_master(lab, clones):
    """Promoted, it follows nobody; it answers what it had, and takes CRLs that are brought to it."""
    clone = clones[1]
    place = ["--instance", clone.folder / "clone"]
    assert "follow" in clone.run("clone", "promote", *place, code=78)
    configuration = clone.folder / "clone/CS.cfg"
    kept = configuration.read_text()
    try:
        clone.run("clone", "promote", "--force", *place)
        clone.run("restart", *place)  # so that nothing of it follows any more
        assert "certificate-system" not in clone.run("status", *place)
        serial = lab.issue("promoted.example.test").certificate.serial_number
        lab.revoke(serial)
        lab.publish()
        assert clone.says(serial, "good")
        clone.run("crl", "add", clone.file("crl", lab.crl()), *place)
        assert until(lambda: clone.says(serial, "revoked"))
    finally:
        configuration.write_text(kept)  # for the other tests it is a clone again
        clone.run("restart", *place)


def test_preflight_names_the_trap_and_writes_nothing(lab, tmp_path):
    """The master's own server, another suffix, a clone's CS.cfg: refused by name, and nothing is made or changed."""
    lab.publish()
    with directories("ds3.vouchd.test", tls=False, suffix=plan.OCSP.suffix) as (directory,):
        clone = Clone(lab, tmp_path, directory, free_port())
        words = clone.words()
        before = state_of_master()

        def said(option: str, value: object) -> str:
            changed = list(words)
            changed[changed.index(option) + 1] = value
            return clone.run(*changed, code=78)

        assert "is the master's own directory server" in said("--directory", MASTER)
        other = f"ldap://{directory.host}:{directory.port}/o=other"
        assert "is not the master's" in said("--directory", other)
        of_clone = lab.enclosure.root / f"etc/pki/{plan.CLONE.tomcat}/ocsp/CS.cfg"
        assert "is a clone's" in said("--config", clone.file("clone.cfg", of_clone.read_bytes()))
        assert "localhost" in said("--directory", f"ldap://localhost:{directory.port}/{plan.OCSP.suffix}")
        assert state_of_master() == before
        assert not (tmp_path / "clone").exists()


def test_instance_beside_is_compared_without_anything_unexplained(lab, beside: Beside):
    """An instance to which the CA publishes too answers as Dogtag does, but for habits that have a name."""
    lab.publish()
    url = f"http://{plan.HOST}:{plan.OCSP.http_port}/ocsp/ee/ocsp"
    shown = beside.json("compare", "--with", url, "--count", 100, "--rate", 1000)
    assert (shown["questions"], shown["unexplained"]) == (100, 0)
    assert {"producedAt", "errors"} <= {one["name"] for one in shown["expectations"]}
