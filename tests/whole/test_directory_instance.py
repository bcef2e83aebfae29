"""A running instance whose facts are in a real 389 Directory Server, which dies and comes back."""

from __future__ import annotations

import json
import shutil

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.agent.test_certsystem_publishing import form
from tests.ds389 import HOSTS, PASSWORD, Directory, directories
from tests.processes.running import eventually
from tests.whole.clones import CloneSet, clone_set
from tests.whole.directory_sets import reached

from vouchd.client.publishing import FORM, PATH
from vouchd.core.facts import Transport
from vouchd.instance.pidfile import running_pid

pytestmark = pytest.mark.process

HOST = "ds1.vouchd.test"


class Site:
    """An instance `m` on the directory server `directory`; its CA has issued `good` and `bad`."""

    def __init__(self, made: CloneSet, directory: Directory) -> None:
        self.made = made
        self.directory = directory

    @property
    def pid(self) -> int | None:
        return running_pid(self.made.layout("m").pid_file)

    def crl(self) -> bytes:
        """DER of a new CRL of the CA, given to nobody."""
        self.made.run("ca", "crl", "--ca", "lab", "--out", "new.crl")
        octets = (self.made.folder / "new.crl").read_bytes()
        return x509.load_pem_x509_crl(octets).public_bytes(Encoding.DER) if octets.startswith(b"-----") else octets

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = FORM) -> tuple[int, str]:
        """Status and body of what the administrator is answered at the agent port."""
        return self.made.ask("m", method, path, body, kind)

    def push(self, crl: bytes) -> tuple[int, str]:
        """A CRL handed over as a CA of the Certificate System does it."""
        return self.ask("POST", PATH, form(crl))

    def health(self, path: str) -> tuple[int, str]:
        """Status and body at the health port."""
        return self.made.health("m", path)

    def until_store(self, *, up: bool) -> None:
        """Wait until the instance has noticed."""
        eventually(lambda: f"vouchd_store_up {int(up)}" in self.health("/metrics")[1], f"vouchd_store_up {int(up)}")


@pytest.fixture
def site(tmp_path):
    """It was made with its directory server, which it reaches by StartTLS; it runs, and its CRL revokes nothing."""
    with directories(HOST) as [directory], clone_set(tmp_path) as made:
        made.hosts = {"m": (HOST, HOSTS[HOST])}
        made.write("manager.password", PASSWORD)
        where = ("--directory", *reached(directory, Transport.STARTTLS, "directory-"))
        made.make_master("m", *where, "--directory-password-file", "manager.password")
        yield Site(made, directory)


def test_directory_killed_and_back_answers_go_on_and_nothing_is_lost(site):
    """Without its directory an instance answers, refuses CRLs for now and says so; with it back all goes on by itself."""
    pid = site.pid
    site.made.revoke("bad")
    crl = site.crl()
    site.directory.kill()
    site.until_store(up=False)

    assert [site.made.says("m", name) for name in ("good", "bad")] == ["good", "good"]
    status, body = site.health("/readyz")
    [store] = [check for check in json.loads(body)["checks"] if check["name"] == "store"]
    assert (status, store["ok"], store["required"]) == (200, False, False)
    shown = eventually(lambda: said_of_store(site), "the status tells that the store is away")
    assert HOST in shown

    status, body = site.push(crl)
    assert (status, body.splitlines()[0]) == (503, "status=1")
    assert body.splitlines()[1].startswith("error=Temporarily unable to take CRLs, publish it again later")
    status, body = site.ask("POST", "/api/v1/crls", crl, "application/pkix-crl")
    problem = json.loads(body)
    assert (status, problem["error"]) == (503, "StoreUnavailable")
    assert "directory server" in problem["hint"]
    assert site.made.done("crl", "add", "new.crl", "--instance", "m", code=None).returncode == 75

    site.directory.start()
    site.until_store(up=True)
    assert site.made.says("m", "bad") == "good"
    assert site.push(crl) == (200, "status=0\n")
    assert [site.made.says("m", name) for name in ("good", "bad")] == ["good", "revoked"]
    assert site.pid == pid


def said_of_store(site: Site) -> str:
    """What `vouchd status` says of the store, empty while it is in reach."""
    said = site.made.json("status", "--instance", "m")["store"]
    return "" if said == "in reach" else said


def test_instance_starts_and_restarts_with_its_directory_away(site):
    """What it answered before it answers again, though the facts cannot be read; when they can, it takes CRLs."""
    site.made.revoke("bad")
    site.made.publish("m")
    site.made.until_says("m", "bad", "revoked")
    site.made.revoke("good")
    site.directory.kill()

    site.made.run("restart", "--instance", "m")
    assert [site.made.says("m", name) for name in ("good", "bad")] == ["good", "revoked"]
    site.made.run("stop", "--instance", "m")
    site.made.run("start", "--instance", "m")
    assert [site.made.says("m", name) for name in ("good", "bad")] == ["good", "revoked"]
    site.until_store(up=False)
    assert site.health("/readyz")[0] == 200

    pid = site.pid
    site.directory.start()
    site.until_store(up=True)
    crl = site.crl()
    assert eventually(lambda: accepted(site, crl), "the CRL is taken")
    assert site.made.says("m", "good") == "revoked"
    assert site.pid == pid


def accepted(site: Site, crl: bytes) -> bool:
    """Whether a push is taken, or was before."""
    status, body = site.push(crl)
    return status == 200 and (body == "status=0\n" or "older than the current" in body)


def test_whole_backup_holds_the_facts_of_the_directory(site):
    """With instance and directory gone it stands alone on the facts of the backup, and answers as it did."""
    site.made.revoke("bad")
    site.made.publish("m")
    site.made.until_says("m", "bad", "revoked")
    site.made.write("backup.password", "correct horse battery")
    password = ("--password-file", "backup.password")
    site.made.run("backup", "--all", "--out", "m.backup", *password, "--instance", "m")
    before = site.made.said("m", "bad")
    site.made.kill("m")
    site.directory.kill()
    shutil.rmtree(site.made.layout("m").root)
    proof = json.loads(site.made.run("restore", "m.backup", "--verify", *password, "--json"))
    assert (proof["facts_in"], proof["different"], proof["same"]) == ("directory", 0, proof["answers"])
    site.made.run("restore", "m.backup", "--embedded", *password, "--instance", "m")
    site.made.run("start", "--instance", "m")
    assert site.made.said("m", "bad") == before
    assert site.made.says("m", "good") == "good"
