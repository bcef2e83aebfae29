"""The migration page from end to end: a real Dogtag with two CAs and users, taken over, beside it, compared, cut over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.client.answers import ask_for
from tests.commands import run_vouchd
from tests.directory.site import until
from tests.dogtag.beside import Beside
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab
from tests.dogtag.passing import Client, Front, front
from tests.pki import CA, DAY, HOUR, new_key

pytestmark = pytest.mark.dogtag

DIRECTORY = f"ldap://{plan.HOST}:{plan.OCSP.ldap_port}/{plan.OCSP.suffix}"
AUDIT_LOG = Lab.at_home().enclosure.root / f"var/log/pki/{plan.OCSP.tomcat}/ocsp/signedAudit/ocsp_cert-ocsp_audit"
KEYS = ("--config", "CS.cfg", "--pkcs12", "ocsp.p12", "--password-file", "password")
IMPORT = (
    *("import", "dogtag", *KEYS, "--directory", DIRECTORY, "--directory-password-file", "password"),
    *("--health-port", 0, "--workers", 1, "--json"),
)
THEIRS = f"http://{plan.HOST}:{plan.OCSP.http_port}/ocsp/ee/ocsp"


@pytest.fixture(scope="module")
def second(lab: Lab) -> Iterator[CA]:
    """A second CA behind the OCSP manager's signer, which has not issued it."""
    ca = CA.create("Second CA of Dogtag", key=new_key("RSA"))
    now = int(time.time())
    crl = x509.load_der_x509_crl(ca.crl({0x51: None}, this_update=now - HOUR, next_update=now + DAY))
    text = crl.public_bytes(Encoding.PEM).decode().replace("X509 CRL", "CERTIFICATE REVOCATION LIST")
    agent = f"https://{plan.HOST}:{plan.OCSP.https_port}/ocsp/agent/ocsp"
    lab.curl(f"{agent}/addCA", "--data-urlencode", f"cert={ca.pem.decode()}", "-d", "xml=true")
    assert "status=0" in lab.curl(f"{agent}/addCRL", "--data-urlencode", f"crl={text}", "-d", "noui=true")
    yield ca
    lab.curl(f"{agent}/removeCA", "-d", "caID=CN=Second CA of Dogtag", "-d", "xml=true")


@pytest.fixture
def files(lab: Lab, tmp_path: Path) -> Path:
    """What the operator brings: CS.cfg, keys and passwords."""
    for name, data in {
        "CS.cfg": (lab.enclosure.root / f"etc/pki/{plan.OCSP.tomcat}/ocsp/CS.cfg").read_bytes(),
        "ocsp.p12": lab.file("ocsp.p12").read_bytes(),
        "password": plan.PASSWORD.encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def run(folder: Path, *words: object) -> tuple[int, str, str]:
    """A command, and how it ended."""
    done = run_vouchd(*words, cwd=folder)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def place(lab: Lab, beside: Beside, files: Path) -> Iterator[Beside]:
    """Where the CA publishes to beside its OCSP manager, free for the instance that is to take that one's place."""
    beside.run("stop")
    successor = Beside(lab, files)
    yield successor
    if (successor.instance / "run/vouchd.pid").exists():
        successor.run("stop")
    beside.run("start")


def test_second_ca_needs_a_word_of_the_operator(lab, second, files):
    """A rehearsal makes nothing, and names what stands in the way with the option that lifts it."""
    code, out, _ = run(files, *IMPORT, "--instance", "v", "--dry-run")
    assert code == 78
    assert [one["hint"] for one in json.loads(out)["not_possible"] if "Second CA" in one["what"]] == [
        "where its clients are set to trust that signer all the same: --trusted-responder 'CN=Second CA of Dogtag'"
    ]
    assert not (files / "v").exists()


def test_migration_page_is_walked_and_no_request_is_lost(lab, second, place):
    """Taken over, beside, compared, cut over and back, while clients ask: each is answered, before and after each change."""
    serials = [lab.issue(f"migrating{number}.example.test").certificate.serial_number for number in range(3)]
    lab.revoke(serials[0])
    lab.publish()
    root = CA(lab.ca, None)
    questions = [ask_for(root, serial, digest="SHA-1").request_der for serial in serials]
    questions.append(ask_for(second, 0x51, digest="SHA-1").request_der)
    with front((plan.HOST, plan.OCSP.http_port)) as name:
        clients = [Client(name.port, questions) for _ in range(2)]
        for client in clients:
            client.start()
        _take_over(place)
        assert "<crlPublished>Success</crlPublished>" in lab.publish()
        _compare(place, questions)
        _change(lab, name, clients, (plan.HOST, plan.BESIDE_HTTP_PORT), serials[1])  # cut over
        _change(lab, name, clients, (plan.HOST, plan.OCSP.http_port), serials[2])  # and back
        for client in clients:
            client.end()
    assert [one.lost for one in clients] == [[], []]
    assert name.passed.keys() == {(plan.HOST, plan.OCSP.http_port), (plan.HOST, plan.BESIDE_HTTP_PORT)}
    assert (0x51, "REVOKED") in clients[0].statuses
    assert (0x51, "GOOD") not in clients[0].statuses
    _carry_over_audit_log(place)


def _take_over(place: Beside) -> None:
    """Keys, CAs, users, settings and audit log of the OCSP manager, and a certificate of its CA for the agent port."""
    ports = ["--port", plan.BESIDE_HTTP_PORT, "--agent-port", plan.BESIDE_HTTPS_PORT]
    words = [*IMPORT, *ports, "--listen", plan.ADDRESS, "--hostname", plan.HOST]
    words += ["--trusted-responder", "CN=Second CA of Dogtag", "--audit-log", AUDIT_LOG]
    report = json.loads(place.run(*words))
    taken = {one["what"]: one["why"] for one in report["taken_over"]}
    assert taken["CA CN=Second CA of Dogtag"] == "1 CRL verified and taken"
    assert {"user ocspadmin", f"audit log {AUDIT_LOG.name}"} <= taken.keys()
    assert not [one for one in report["not_possible"] if "nothing here knows" in one["why"]]
    place.take_in("sslserver", "caAgentServerCert", f"CN={plan.HOST}", "--name", f"DNS:{plan.HOST}")
    place.run("start")


def _compare(place: Beside, questions: list[bytes]) -> None:
    """In shadow, by what clients ask: nothing is left unexplained."""
    recorded = place.folder / "recorded"
    recorded.mkdir()
    for number, request_der in enumerate(questions):
        (recorded / f"{number}.der").write_bytes(request_der)
    report = place.json("compare", "--with", THEIRS, "--shadow", recorded, "--report", place.folder / "shadow.json")
    assert (report["questions"], report["unexplained"]) == (len(questions), 0)
    assert place.json("compare", "--check", place.folder / "shadow.json")["questions"] == len(questions)


def _change(lab: Lab, name: Front, clients: list[Client], behind: tuple[str, int], serial: int) -> None:
    """Point the name elsewhere; clients hear of the next revocation there, as does Dogtag's own client."""
    before = name.passed[behind]
    name.behind = behind
    assert until(lambda: name.passed[behind] > before)
    assert all(client.says(serial, "GOOD") for client in clients)
    lab.revoke(serial)
    assert "<crlPublished>Success</crlPublished>" in lab.publish()
    assert until(lambda: all(client.says(serial, "REVOKED") for client in clients))
    assert "CertStatus=Revoked" in lab.ocsp_client(f"http://{behind[0]}:{behind[1]}/ocsp/ee/ocsp", serial)


def _carry_over_audit_log(place: Beside) -> None:
    """What was written there since comes with a second import; the chain bears out that it is what came."""
    place.run("stop")
    (again,) = place.json("import", "audit", AUDIT_LOG)
    assert again["new"]
    assert place.json("audit", "former", "--event", "OCSP_GENERATION", "--outcome", "success", "--limit", 1)
    assert place.json("audit", "verify")["intact"] is True
