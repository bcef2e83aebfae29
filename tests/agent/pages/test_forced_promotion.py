"""A master that is gone for good: its place is taken on a page and over REST, by who signs it with a key of his own."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.agent.agent_port import Reply
from tests.agent.domain_site import HOST, Master, a_clone, a_master, own_key
from tests.agent.pages.pages_port import words
from tests.ports import free_port

from vouchd.agent.pages import menu
from vouchd.cli.main import main
from vouchd.cloning.appointment import administrators, believed, signer_of
from vouchd.cloning.proof import MemberKey
from vouchd.cloning.registry import master_of
from vouchd.core.facts import Member
from vouchd.signing.software import SoftwareSigner

PAGE = menu.FORCED_PROMOTION
OWN = f"{HOST}:8443"
API = "/api/v1/members/forced-promotion"


@dataclass
class Site:
    """A clone whose master was `former`."""

    port: Master
    former: Member
    folder: Path

    def show(self, path: str = PAGE, user: str = "administrator") -> Reply:
        return self.port.ask("GET", path, user)

    def send(self, form: dict[str, str], user: str = "administrator") -> Reply:
        token = re.search(r'name="token" value="([0-9a-f]{64})"', self.show(menu.CLONES, user).text)[1]
        reply = self.port.ask("POST", PAGE, user, body={**form, "token": token})
        return self.show(reply.headers["Location"], user) if reply.status == 303 else reply

    def signed(self, user: str = "administrator") -> str:
        """The statement signed by the command that the page shows, base64."""
        key = self.port.users[user].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "admin.key").write_bytes(key)
        (self.folder / "statement.bin").write_bytes(self.show(f"{PAGE}/statement").body)
        command = re.search(r"openssl dgst [^<]+", self.show().text)[0].split()
        subprocess.run(command, cwd=self.folder, check=True, timeout=60)
        return base64.b64encode((self.folder / "statement.sig").read_bytes()).decode()

    @property
    def master(self) -> Member:
        return master_of(self.port.services.store.members())


def ask(port: Master, method: str, path: str, user: str, body: object = None) -> dict[str, object]:
    """The JSON value of an answer."""
    data = None if body is None else json.dumps(body).encode()
    return json.loads(port.ask(method, path, user, body=data, headers={"Content-Type": "application/json"}).body)


@contextmanager
def a_site(folder: Path, **former: object) -> Iterator[Site]:
    """Its registry says that another member is the master, in term 4."""
    with a_master(folder / "instance") as port:
        store = port.services.store
        (me,) = store.members()
        other = replace(a_clone(2, host="localhost", secure_port=free_port()), clone=False, term=4)
        other = replace(other, **{"tls_sha256": own_key("ocsp2.example.org").sha256} | former)
        store.put_member(replace(me, clone=True), me)
        store.put_member(other, None)
        yield Site(port, other, folder)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with a_site(tmp_path) as opened:
        yield opened


def test_place_is_taken_by_the_order_of_an_administrator(site):
    """What is lost and fenced off is said first; the signature of the page's own command is one that members believe."""
    said = words(site.show())
    for part in (
        f"Becomes the master {OWN}, this instance, within seconds, with term 5",
        f"Is passed over {site.former.id}, not seen since this instance was started",
        f"join tokens that {site.former.id} gave",
        "it takes itself for a clone: the term here is higher",
        f"Type {site.former.id} to say that it is gone for good",
    ):
        assert part in said
    done = site.send({"typed": site.former.id, "term": "5", "signature-text": site.signed()})
    assert f"{OWN} is the master, and takes the role within seconds." in words(done)
    assert (site.master.id, site.master.term) == (OWN, 5)
    services = site.port.services
    assert signer_of(site.master) == site.port.users["administrator"].der
    elsewhere = [site.former, replace(site.master, clone=True, term=0, appointment="")]
    assert believed([site.master], elsewhere, administrators(services.store.users())).id == OWN
    assert "Not now: this instance is the master" in words(site.show())
    assert site.send({"typed": site.former.id, "term": "6", "signature-text": "AAAA"}).status == 400


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"typed": OWN}, "if that is right, type: localhost:"),
        ({"typed": ""}, "if that is right, type: localhost:"),
        ({"signature-text": ""}, "nothing was given"),
        ({"signature-text": "AAAA"}, "not signed by the key that it names"),
        ({"term": "7"}, "term 5 would begin by now, not 7"),
        ({"term": "x"}, "the term is missing"),
    ],
)
def test_order_that_is_not_whole_moves_nothing(site, form, complaint):
    """Without the name of who is passed over, or a right signature, the role stays where it is."""
    good = {"typed": site.former.id, "term": "5", "signature-text": site.signed()}
    refused = site.send({**good, **form})
    assert refused.status >= 400
    assert complaint in words(refused)
    assert site.master == site.former


def test_signature_of_another_administrator_s_key_is_refused(site):
    """The order is of who came: the key has to be that of his certificate."""
    signature = site.signed("domain")
    refused = site.send({"typed": site.former.id, "term": "5", "signature-text": signature})
    assert "not signed by the key that it names" in words(refused)
    assert site.master == site.former


def test_page_is_for_those_who_may_move_the_role(site):
    """Staff reads what would be lost, and orders nothing."""
    page = site.show(user="auditor")
    assert page.status == 200
    assert "<form" not in page.text.partition("<main")[2]
    assert site.port.ask("POST", PAGE, "auditor", body={}).status == 403
    assert "take its place" in words(site.show(f"{menu.CLONES}/{OWN}"))


def test_master_that_answers_is_not_passed_over(tmp_path):
    """It hands its role over by itself, and nothing is lost: only another server in its place counts as away."""
    with a_site(tmp_path) as site:
        store = site.port.services.store
        answering = replace(site.former, secure_port=site.port.port, tls_sha256=site.port.fingerprint)
        store.remove_member(site.former.id)
        store.put_member(answering, None)
        site.former = answering
        refused = site.send({"typed": answering.id, "term": "5", "signature-text": site.signed()})
        assert "answers: it hands its role over by itself" in words(refused)
        assert f"vouchd clone promote {OWN}" in words(refused)
        assert site.master == answering


def test_place_is_taken_over_rest_with_a_certificate_that_may_appoint(site):
    """The signature and its certificate are sent, never a key; a certificate of nobody who may appoint is refused."""
    shown = ask(site.port, "GET", API, "administrator")
    assert (shown["former"], shown["term"], shown["refusal"]) == (site.former.id, 5, "")

    def order(user: str) -> dict[str, object]:
        issued = site.port.users[user]
        own = MemberKey(SoftwareSigner("order", issued.key, issued.der))
        signature = base64.b64encode(own.sign(base64.b64decode(shown["statement"]))).decode()
        return {"term": 5, "certificate": issued.pem.decode(), "signature": signature}

    problem = ask(site.port, "POST", API, "administrator", order("agent"))
    assert (problem["status"], problem["error"]) == (403, "PermissionDenied")
    assert site.master == site.former
    assert ask(site.port, "POST", API, "agent", order("administrator"))["status"] == 403
    moved = ask(site.port, "POST", API, "administrator", order("domain"))
    assert moved == {"master": OWN, "term": 5, "changes": ["the role was taken"]}


def test_command_orders_it_from_another_host_with_a_key_that_stays_there(site, capsys, monkeypatch):
    """Who comes to the port and who signs may be two; what may be lost is said."""
    trust, files = site.folder / "trust.pem", {}
    trust.write_bytes(site.port.ca.pem)
    for user in ("administrator", "domain"):
        issued, files[user] = site.port.users[user], site.folder / f"{user}.pem"
        key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[user].write_bytes(key + issued.pem)
        files[user].chmod(0o600)
    monkeypatch.setenv("VOUCHD_TRUST", str(trust))
    url = ["--url", f"https://localhost:{site.port.port}", "--client-cert", str(files["administrator"])]
    signer = ["--cert", str(files["domain"]), "--key", str(files["domain"])]
    assert main(["clone", "promote", *url, *signer, "--force", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"master": OWN, "term": 5, "was": True}
    assert f"may be lost: join tokens that {site.former.id} gave" in said.err
    assert signer_of(site.master) == site.port.users["domain"].der
