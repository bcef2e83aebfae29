"""Planted differences between a real Dogtag and vouchd: `vouchd compare` finds and names each in one run, and no other."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest
from tests.client.answers import ask_for
from tests.commands import PIPE, run_vouchd, start_vouchd
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab
from tests.dogtag.planted import CAS, FORMS, HABITS, PlantedCA, alike, as_sent
from tests.pki import CA, new_key
from tests.ports import free_port

from vouchd.client.transport import Method
from vouchd.cloning.expectations import WORDS

pytestmark = pytest.mark.dogtag

THEIRS = f"http://{plan.HOST}:{plan.OCSP.http_port}/ocsp/ee/ocsp"
QUESTIONS = int(os.environ.get("VOUCHD_QUESTIONS", "500"))
TIMES = 3  # each difference is asked about so often
PLAIN = PlantedCA("Alike", "")


@pytest.fixture
def cas(lab: Lab) -> Iterator[dict[PlantedCA, CA]]:
    """The CAs; those that Dogtag knows are taken away there afterwards."""
    cas = {one: CA.create(f"Planted {one.name}", key=new_key("EC")) for one in (*CAS, PLAIN)}
    yield cas
    for one in cas:
        if one.theirs is not None:
            lab.remove_ca(plan.OCSP, f"CN=Planted {one.name}")


def run(folder: Path, *words: object, code: int = 0) -> str:
    """What a command prints."""
    done = run_vouchd(*words, cwd=folder, env={**os.environ, "VOUCHD_INSTANCE": str(folder / "v")})
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


def test_each_planted_difference_is_found_and_explained_and_no_other(lab, cas, tmp_path):
    """Among many questions in every form each difference is told by its CA and its name, as often as it was asked about."""
    now = int(time.time())
    _create(lab, cas, now, tmp_path)
    for one, ca in cas.items():
        if one.theirs is not None:
            lab.add_ca(plan.OCSP, ca.certificate)
            for each in one.theirs:
                for crl in each.crls(ca, now):
                    lab.add_crl(plan.OCSP, crl)
    planted = [(ask_for(ca, one.serial).request_der, Method.POST) for one, ca in cas.items() if one is not PLAIN]
    planted += [(form.request(cas[PLAIN]), form.method) for form in FORMS]
    requests = planted * TIMES
    requests += islice(cycle(alike(cas[PLAIN])), QUESTIONS - len(requests))
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded/clients").write_bytes(b"".join(as_sent(*one) for one in requests))
    run(tmp_path, "start")
    try:
        report = compared(tmp_path)
    finally:
        run(tmp_path, "stop")
    assert report["questions"] == len(requests)
    assert report["unanswered"] == {"ours": 0, "theirs": 0}
    expected, unexplained = differences(report)
    of_cas = [(one.said, "" if one.ours is None else f"CN=Planted {one.name}") for one in CAS]
    of_forms = [(one.said, f"CN=Planted {PLAIN.name}" if one.names_the_ca else "") for one in FORMS]
    wanted = Counter({one: count * TIMES for one, count in Counter(of_cas + of_forms).items()})
    assert expected == {one: count for one, count in wanted.items() if one[0] in WORDS}
    assert unexplained == {one: count for one, count in wanted.items() if one[0] not in WORDS}
    assert len(of_cas + of_forms) >= 25


def compared(folder: Path) -> dict:
    """The report of what was recorded, however long that takes."""
    words = ["--with", THEIRS, "--shadow", "recorded", "--rate", 10_000, "--settle", 0, "--json"]
    with start_vouchd("compare", "--instance", "v", *words, cwd=folder, stdout=PIPE, stderr=PIPE) as running:
        said, complaint = running.communicate()
    assert running.returncode == 4, complaint
    return json.loads(said)


def differences(report: dict) -> tuple[Counter, Counter]:
    """How often a report has an expectation of a CA, but for habits, and a field that nothing explains."""
    expected: Counter[tuple[str, str]] = Counter()
    for one in report["expectations"]:
        if one["name"] not in HABITS:
            expected.update({(one["name"], label): count for label, count in one["authorities"].items()})
    unexplained: Counter[tuple[str, str]] = Counter()
    for example in report["examples"]:
        field = next(one["field"] for one in example["differences"] if not one["expectation"])
        unexplained[field, example["authority"]] += example["count"]
    return expected, unexplained


def _create(lab: Lab, cas: dict[PlantedCA, CA], now: int, folder: Path) -> None:
    """The instance with the OCSP manager's signer and habits, and what it has of the CAs."""
    for name, data in {"keys.p12": lab.file("ocsp.p12").read_bytes(), "pw": plan.PASSWORD.encode()}.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    keys = ["--pkcs12", "keys.p12", "--password-file", "pw", "--nickname", "ocsp_signing"]
    ports = ["--listen", "127.0.0.1", "--port", free_port(), "--agent-port", free_port(), "--health-port", 0]
    run(folder, "create", *keys, *ports, "--workers", 1)
    run(folder, "config", "set", "ocsp.store.defStore.byName=true", "ocsp.store.defStore.includeNextUpdate=false")
    ours = {one: ca for one, ca in cas.items() if one.ours is not None}
    (folder / "cas").mkdir()
    (folder / "crls").mkdir()
    for number, (one, ca) in enumerate(ours.items()):
        (folder / f"cas/{number}.pem").write_bytes(ca.pem)
        for part, crl in enumerate(crl for each in one.ours for crl in each.crls(ca, now)):
            (folder / f"crls/{number}-{part}").write_bytes(crl)
    run(folder, "authority", "add", "--from", "cas", "--trusted-responder")
    for one in ours:
        if one.policy:
            verb = one.policy if one.policy[0] == "compromised" else ("set", *one.policy)
            run(folder, "authority", verb[0], f"CN=Planted {one.name}", *verb[1:])
    run(folder, "crl", "add", "crls")
