"""A start with more CAs than are proved at once: each is answered for when it is proved, and none before."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.commands import PIPE, run_vouchd, start_python, start_vouchd
from tests.nursery import MAIN
from tests.pki import CA, DAY, HOUR
from tests.processes.running import eventually, gone
from tests.sites import Site

from vouchd.client.inquiry import question
from vouchd.client.parsing import parse_response
from vouchd.client.response_acceptance import status_name, verify_response
from vouchd.client.transport import Connection
from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.instance.pidfile import running_pid
from vouchd.instance.report import InstanceReport, read_report
from vouchd.pkix import certs
from vouchd.service.permission import local_caller
from vouchd.settings.layout import Layout
from vouchd.wiring.services import services

pytestmark = pytest.mark.process

REVOKED = 5
LABELS = ("A", "B", "C", "D", "E")  # in the order of their proofs
PORTS = ("--port", "0", "--health-port", "0", "--agent-port", "0", "--workers", "2", "--listen", "127.0.0.1")
# Each CA's check waits until the test has written the word of that CA, which it fails for where there is one.
HELD = f"""
import pathlib, time
from vouchd.errors import SigningError
from vouchd.instance.selftests.canary import Canary
sing = Canary.sing

def held(canary, at):
    check = sing(canary, at)

    def checked(serving):
        word = pathlib.Path("words", serving.authority.label)
        while not word.exists():
            time.sleep(0.02)
        if word.read_text():
            raise SigningError(word.read_text())
        return check(serving)

    return checked

Canary.sing = held
{MAIN}
"""


class Many:
    """An instance with a CA for each of LABELS, of which `beforeAnswering` is one."""

    def __init__(self, folder: Path) -> None:
        self.site = Site.make(folder)
        self.layout = Layout(self.site.instance)
        self.folder, self.words = folder, folder / "words"
        self.words.mkdir()
        assert self.site.create(*PORTS) == 0
        self.cas: dict[str, CA] = {}
        now, lines = int(time.time()), ["selftests.plugin.OCSPCanary.beforeAnswering=1"]
        made = [CA.create(f"Many {number}") for number in range(len(LABELS))]
        # They are proved in the order of their ids.
        for label, ca in zip(LABELS, sorted(made, key=lambda one: certs.authority_id(one.certificate)), strict=True):
            self.cas[label] = ca
            signer = ca.issue_signer(not_before=now - DAY, not_after=now + DAY)
            key, certificate = folder / f"{label}.key", folder / f"{label}.pem"
            key.write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            key.chmod(0o600)
            certificate.write_bytes(signer.pem)
            lines += [f"vouchd.signer.{label}.key={key}", f"vouchd.signer.{label}.certificate={certificate}"]
        with self.layout.cs_cfg.open("a") as file:
            file.write("\n".join(lines) + "\n")
        with services(self.layout) as opened:
            for registered in opened.store.authorities():
                opened.store.remove_authority(registered.id)
            for label, ca in self.cas.items():
                opened.store.put_authority(
                    Authority(certs.authority_id(ca.certificate), ca.der, label, AuthorityPolicy(signer=label))
                )
                crl = ca.crl({REVOKED: None}, this_update=now - HOUR, next_update=now + DAY)
                opened.ingesting.accept_crl(crl, "test", local_caller("test"), now)
        self.process = None

    def say(self, label: str, word: str = "") -> None:
        """Have that CA pass its proof, or fail it for `word`."""
        draft = self.folder / "word"
        draft.write_text(word)
        draft.rename(self.words / label)

    def run(self) -> None:
        """Start it in the foreground, with proofs that wait for their words."""
        self.process = start_python(HELD, "run", cwd=self.folder, stderr=PIPE)

    def report(self) -> InstanceReport | None:
        """What it shows of itself, once its workers answer."""
        report = read_report(self.layout.serving)
        ours = report is not None and report.pid == running_pid(self.layout.pid_file) and report.acknowledged
        return report if ours else None

    def proved(self, count: int) -> None:
        """Wait until so many CAs have passed or failed."""
        eventually(lambda: (report := self.report()) and report.proved == count, f"{count} proved CAs")

    def answers(self) -> dict[str, str]:
        """What each CA's revoked serial is answered: the verified status, or the error status."""
        return {label: self._answer(ca) for label, ca in self.cas.items()}

    def _answer(self, ca: CA) -> str:
        inquiry = question(ca.der, [bytes([REVOKED])])
        with Connection(read_report(self.layout.serving).ee_url, timeout_seconds=30) as connection:
            response = parse_response(connection.exchange(inquiry.request_der).body)
        if response.basic is None:
            return status_name(response.status)
        verified = verify_response(response, ca.certificate, inquiry.cert_ids, nonce=None, at=int(time.time()))
        return str(verified.singles[0].status)

    def issuer(self, label: str) -> str:
        """The file of that CA's certificate."""
        file = self.folder / f"{label}-ca.pem"
        file.write_bytes(self.cas[label].pem)
        return str(file)

    def health(self, path: str) -> str:
        host, port = read_report(self.layout.serving).health
        with urllib.request.urlopen(f"http://{host}:{port}{path}") as answer:
            return answer.read().decode()

    def helpers(self) -> set[int]:
        """The children of the manager process that are no workers."""
        pid, report = self.process.pid, self.report()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children} - {worker.pid for worker in report.workers}

    def end(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            self.process.communicate()
        if running_pid(self.layout.pid_file):
            run_vouchd("stop")


@pytest.fixture
def many(tmp_path, monkeypatch) -> Iterator[Many]:
    """The instance, not started."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    made = Many(tmp_path)
    try:
        yield made
    finally:
        for label in LABELS:
            made.say(label)
        made.end()


def expected(**others: str) -> dict[str, str]:
    return dict.fromkeys(LABELS, "revoked") | others


def test_unproved_ca_is_answered_try_later_and_a_proved_one_is_answered(many):
    """The first CAs are proved before the first answer; each other one is told tryLater until it is, and it shows."""
    many.run()
    assert many.report() is None
    many.say("A")
    many.proved(1)
    unproved = dict.fromkeys("BCDE", "tryLater")
    assert many.answers() == expected(**unproved)
    check = {one["name"]: one for one in json.loads(many.health("/readyz"))["checks"]}["proved"]
    assert (check["ok"], check["detail"]) == (False, "starting: 1 of 5 CAs proved")
    metrics = many.health("/metrics")
    assert "vouchd_unproved 4.0" in metrics
    assert 'vouchd_error_answers_total{cause="unproved"} 4.0' in metrics
    assert 'vouchd_hindrance{cause="starting",name=""} 1.0' in metrics
    shown = run_vouchd("status").stdout
    assert "1 of 5 CAs proved" in shown
    explaining = run_vouchd("explain", "--issuer", many.issuer("B"), "--serial", str(REVOKED))
    assert "until this one is, it is answered tryLater" in explaining.stderr
    many.say("B")
    many.say("C")
    many.proved(3)
    assert many.answers() == expected(D="tryLater", E="tryLater")
    many.say("D")
    many.say("E")
    many.proved(5)
    eventually(lambda: many.answers() == expected(), "answers for all")
    assert "vouchd_unproved 0.0" in many.health("/metrics")
    eventually(lambda: not many.helpers(), "the end of those that prove")


def test_ca_that_fails_its_proof_stays_withheld_and_others_go_on(many):
    """It is answered tryLater and named, the others are answered for; a run of the self test that passes ends that."""
    for label in "ACE":
        many.say(label)
    many.run()
    many.proved(2)  # one process waits for the word of B, the other one for that of D
    many.say("B", "an answer that clients refuse")
    many.proved(4)
    assert many.answers() == expected(B="tryLater", D="tryLater")
    many.say("D")
    many.proved(5)
    eventually(lambda: many.answers() == expected(B="tryLater"), "answers for all but one")
    (part,) = many.report().failing
    assert (part.ca, "an answer that clients refuse" in part.cause) == ("B", True)
    assert not many.report().halted
    explaining = run_vouchd("explain", "--issuer", many.issuer("B"), "--serial", str(REVOKED))
    assert "answered tryLater: not proved since the start: an answer that clients refuse" in explaining.stderr
    (canary,) = [one for one in many.report().selftests if one.name == "OCSPCanary"]
    assert (canary.ok, canary.critical, canary.detail.startswith("B: an answer that")) == (False, False, True)
    assert run_vouchd("selftest", "run", "OCSPCanary").returncode == 0
    eventually(lambda: many.answers() == expected(), "answers for all")
    assert not many.report().failing


def test_later_ca_whose_signer_may_not_answer_for_it_is_told_of_at_the_start(many):
    """It is found out with its proof; who starts the instance hears of it as of one of the first."""
    ca = many.cas["E"]
    with services(many.layout) as opened:
        policy = AuthorityPolicy(signer="A")
        opened.store.put_authority(Authority(certs.authority_id(ca.certificate), ca.der, "E", policy))
    started = run_vouchd("start")
    assert started.returncode == 0
    assert "CA E: answered tryLater" in started.stderr
    assert "was not issued by" in started.stderr
    assert many.answers() == expected(E="tryLater")
    (part,) = many.report().failing
    assert (part.ca, "was not issued by" in part.cause) == ("E", True)


def test_manager_that_is_killed_amid_the_proof_leaves_nothing_and_starts_anew(many):
    """Those that prove end with it; the next start trusts no proof of before."""
    many.say("A")
    many.run()
    many.proved(1)
    helpers = eventually(many.helpers, "those that prove")
    many.process.send_signal(signal.SIGKILL)
    many.process.wait()
    eventually(lambda: all(map(gone, helpers)), "the end of those that prove")
    many.process.communicate()
    many.words.joinpath("A").unlink()
    many.run()
    eventually(lambda: running_pid(many.layout.pid_file) == many.process.pid, "a manager process")
    assert many.report() is None
    for label in "AB":
        many.say(label)
    many.proved(2)
    assert many.answers() == expected(C="tryLater", D="tryLater", E="tryLater")


def test_restart_amid_the_proof_proves_all_before_its_workers_answer(many):
    """The workers of before go on with what was proved; those of after answer for all from their first answer on."""
    for label in "AB":
        many.say(label)
    many.run()
    many.proved(2)
    for label in "CDE":
        many.say(label)
    former = {worker.pid for worker in many.report().workers}
    many.process.send_signal(signal.SIGHUP)
    eventually(
        lambda: (report := many.report()) and not former & {worker.pid for worker in report.workers}, "other workers"
    )
    assert (many.report().proved, many.report().to_prove) == (5, 5)
    assert many.answers() == expected()


def test_start_of_fewer_cas_than_are_proved_at_once_leaves_none(many):
    """With few CAs nothing is answered before all are proved, and one that fails keeps the instance from starting."""
    text = many.layout.cs_cfg.read_text().replace("beforeAnswering=1", f"beforeAnswering={len(LABELS)}")
    many.layout.cs_cfg.write_text(text)
    for label in LABELS:
        many.say(label)
    many.say("D", "an answer that clients refuse")
    many.run()
    _, said = many.process.communicate()
    assert many.process.returncode == 1
    assert "self test OCSPCanary failed: D: an answer that clients refuse" in said
    many.process = None
    process = start_vouchd("start")
    assert process.wait() == 0
    assert (many.report().proved, many.answers()) == (5, expected())


def test_crl_that_comes_amid_the_proof_takes_no_file_from_it(many):
    """What is proved is what was published at the start: its files stay until all is proved, and go then."""
    many.say("A")
    many.run()
    many.proved(1)
    published, now = set(many.layout.index.glob("*.idx")), int(time.time())
    for label in "BCDE":
        crl = many.folder / f"{label}.crl"
        crl.write_bytes(many.cas[label].crl({REVOKED: None}, this_update=now - 60, next_update=now + DAY, number=9))
        assert run_vouchd("crl", "add", str(crl)).returncode == 0
    assert run_vouchd("selftest", "run", "DiskSpace").returncode == 0  # the manager has looked at its store meanwhile
    assert published <= set(many.layout.index.glob("*.idx"))
    for label in "BCDE":
        many.say(label)
    many.proved(len(LABELS))
    eventually(lambda: many.answers() == expected(), "answers for all")
    eventually(lambda: len(set(many.layout.index.glob("*.idx")) & published) == 1, "the end of replaced files")
    (canary,) = [one for one in many.report().selftests if one.name == "OCSPCanary"]
    assert (canary.ok, canary.detail) == (True, "good, 4 more while answering; A: good, revoked")
