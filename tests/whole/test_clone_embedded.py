"""A clone that keeps its facts in a file: made by one command, the same answers, compared."""

from __future__ import annotations

import json
import queue
import signal
import ssl
import subprocess
import threading
import urllib.request
from contextlib import contextmanager

import pytest
from cryptography import x509
from tests.commands import start_vouchd
from tests.processes.running import eventually
from tests.whole.clones import clone_set

from vouchd.instance.configuration import write_values
from vouchd.settings.reading import active_settings

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A running master and its clone, which tests only look at."""
    with clone_set(tmp_path_factory.mktemp("pair")) as made:
        made.make_prepared(running=True)
        made.run(*made.create("c"))
        yield made


def test_clone_lists_and_answers_what_the_master_does(pair):
    """The documented test: the lists of CAs are the same, and so are the answers to the last byte."""
    assert pair.lists("c") == pair.lists("m")
    assert [pair.says("c", name) for name in ("good", "bad")] == ["good", "revoked"]
    for name in ("good", "bad"):
        assert pair.said("c", name) == pair.said("m", name)


def openssl_answers(pair, name: str, certificate: str) -> bytes:
    """The answer of a member to `openssl ocsp`, as it writes it to a file."""
    path, url = pair.folder / f"{name}.der", f"http://{pair.host(name)[1]}:{pair.ports[name][0]}/"
    options = ["-issuer", "lab/ca.crt", "-cert", f"{certificate}.crt", "-no_nonce", "-respout", str(path)]
    done = subprocess.run(
        ["openssl", "ocsp", "-url", url, *options, "-CAfile", "lab/ca.crt"],
        cwd=pair.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Response verify OK" in done.stderr
    return path.read_bytes()


def test_another_client_gets_the_same_bytes_of_both(pair):
    """`openssl ocsp` verifies the answers of master and clone, and its files of them are the same."""
    for name in ("good", "bad"):
        assert openssl_answers(pair, "m", name) == openssl_answers(pair, "c", name)


def start_anew(pair, member: str, **changed: str) -> None:
    """That member, with these lines of CS.cfg: a restart costs more."""
    pair.run("stop", "--instance", member)
    write_values(pair.layout(member), changed)
    pair.run("start", "--instance", member)


def test_clone_whose_refresh_was_changed_by_hand_becomes_one_again(pair):
    """Another refreshInSec would mark it a master, which the registry knows better: it mends its own CS.cfg."""
    start_anew(pair, "c", **{"ocsp.store.defStore.refreshInSec": "300"})
    eventually(lambda: active_settings(pair.layout("c")).refresh_seconds == 21600, "it runs as a clone again")
    assert pair.setting("c", "ocsp.store.defStore.refreshInSec") == "21600"
    assert pair.members("c") == {pair.id_of("m"): False, pair.id_of("c"): True}


def test_status_shows_the_set_as_the_clone_sees_it(pair):
    """Its role, the master in reach, the same CRL there, and nothing wrong."""

    def in_order():
        done = pair.done("clone", "status", "--instance", "c", "--json", code=None)
        shown = json.loads(done.stdout) if done.returncode == 0 else None
        return shown if shown and shown["members"] else None

    status = eventually(in_order, "the clone has seen the master")
    assert (status["role"], status["master"], status["this_instance"]) == ("clone", pair.id_of("m"), pair.id_of("c"))
    assert [(one["member"], one["reachable"]) for one in status["members"]] == [(pair.id_of("m"), True)]
    assert [(one["ca"], one["differs"]) for one in status["issuing_points"]] == [("CN=Lab CA", {})]


def verified(pair, *more: str, code: int = 0):
    """What `clone verify` on the master tells of the clone."""
    (member,) = json.loads(pair.done("clone", "verify", "--instance", "m", "--json", *more, code=code).stdout)
    return member


NEXT_UPDATE = "ocsp.store.defStore.includeNextUpdate"


@contextmanager
def watching(pair):
    """`clone verify --watch` on the master: its words, one line at a time."""
    command = ["clone", "verify", "--instance", "m", "--watch", "0.5", "--settle", "0"]
    lines: queue.Queue[str] = queue.Queue()
    with start_vouchd(*command, cwd=pair.folder, stdout=subprocess.PIPE) as process:
        reading = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout], daemon=True)
        reading.start()
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130


def until_told(lines, state: str) -> None:
    """The watch comes to tell of that state."""
    while f"  {state}  " not in lines.get(timeout=60):
        pass


def tell_next_update(pair, *, present: bool) -> None:
    """The clone tells nextUpdate, as the master does, or leaves it out."""
    start_anew(pair, "c", **{NEXT_UPDATE: str(present).lower()})


def until_found(pair, state: str) -> None:
    """The running clone has found that state of the master by itself."""
    eventually(lambda: pair.json("status", "--instance", "c")["members"][0]["compared"] == state, f"it is {state}")


def metric(pair, name: str) -> float:
    """The value of a metric of the clone."""
    lines = pair.health("c", "/metrics")[1].splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_verify_tells_what_is_different_and_when_it_ends(pair):
    """Exit 0 for an equal set; 4 with CA, serial, field and level for another answer, and for a member that is away."""
    serial = x509.load_pem_x509_certificate((pair.folder / "good.crt").read_bytes()).serial_number
    for name in ("m", "c"):  # a setting that they share, as its difference would be told
        start_anew(pair, name, **{"vouchd.clone.verifyInSec": "1"})
    member = verified(pair)
    assert (member["member"], member["state"], member["told"]) == (pair.id_of("c"), "identical", [])
    assert member["asked"] == member["status"] == member["ResponseData"]
    with watching(pair) as lines:
        until_told(lines, "identical")
        tell_next_update(pair, present=False)
        until_told(lines, "different")
        member = verified(pair, "--settle", "0", "--serial", f"{serial:x}", code=4)
        settings = [one["field"] for one in member["told"] if one["what"] == "shared settings"]
        answers = [one for one in member["told"] if one["level"] == "ResponseData"]
        assert settings == [NEXT_UPDATE]
        assert {one["what"] for one in answers} >= {f"chosen {serial:#x} of CN=Lab CA"}
        assert {one["way"] for one in answers} >= {"GET", "POST", "POST with a nonce"}
        assert {(one["field"].split()[0], one["there"]) for one in answers} == {("nextUpdate", "absent")}
        assert member["status"] == member["asked"] > member["ResponseData"]
        assert member["differences"] == member["asked"] - member["ResponseData"] + len(settings)
        until_found(pair, "different")
        assert metric(pair, "vouchd_clone_verification_identical{") == 0
        tell_next_update(pair, present=True)
        until_told(lines, "identical")
        until_found(pair, "identical")
        assert metric(pair, "vouchd_clone_verification_identical{") == 1
        pair.run("stop", "--instance", "c")
        until_told(lines, "no answer")
        assert "cannot ask" in verified(pair, "--settle", "0", code=4)["error"]
        pair.run("start", "--instance", "c")
        until_told(lines, "identical")


def test_verify_is_asked_for_over_the_port(pair):
    """An administrator away from the folders has a member compare itself with the others, and sees how that went."""
    keys = pair.administrator_s_keys()
    place = ["--url", f"https://{pair.id_of('m')}", "--cert", str(keys), "--trust", "lab/ca.crt"]
    (member,) = pair.json("clone", "verify", "--sample", "1", *place)
    assert (member["member"], member["state"]) == (pair.id_of("c"), "identical")
    (shown,) = pair.json("status", *place)["members"]
    assert (shown["member"], shown["compared"]) == (pair.id_of("c"), "identical")
    context = ssl.create_default_context(cafile=str(pair.folder / "lab" / "ca.crt"))
    context.load_cert_chain(keys)
    with urllib.request.urlopen(f"https://{pair.id_of('m')}/agent/clones", timeout=30, context=context) as response:
        page = response.read().decode()
    assert "Identical" in page
    assert page.count(": number 2") == 2


def test_clone_is_marked_by_its_refresh(pair):
    """refreshInSec is 21600 on the clone and another number, not 0, on the master."""
    assert pair.setting("c", "ocsp.store.defStore.refreshInSec") == "21600"
    assert pair.setting("m", "ocsp.store.defStore.refreshInSec") == "600"


def test_both_members_know_each_other(pair):
    """The registry is the same on both: one master, one clone."""
    wanted = {pair.id_of("m"): False, pair.id_of("c"): True}
    assert pair.members("m") == pair.members("c") == wanted


def test_keys_and_journal_are_the_owners_alone(pair):
    """Whatever `clone create` writes of keys, passwords and progress is readable by its owner alone."""
    layout = pair.layout("c")
    secret = [layout.password_conf, layout.cs_cfg, layout.root / "clone.json", *layout.alias.glob("*.key")]
    assert len(secret) > 5
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    token = (pair.folder / "token").read_text().strip()
    assert not [path for path in layout.root.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


def test_create_again_changes_nothing(pair):
    """The same command once more finds everything done."""
    before = pair.layout("c").cs_cfg.read_bytes(), pair.members("m")
    pair.run(*pair.create("c"))
    assert (pair.layout("c").cs_cfg.read_bytes(), pair.members("m")) == before


def test_second_clone_is_prepared_by_the_master(pair):
    """A clone without a directory sends the administrator to the master; the clone made there answers the same."""
    assert pair.id_of("m") in pair.refused(
        *("clone", "prepare", "--instance", "c", "--out", "k.p12", "--password-file", "keys.password")
    )
    assert not (pair.folder / "k.p12").exists()
    pair.prepare()
    pair.run(*pair.create("d"))
    assert pair.said("d", "bad") == pair.said("m", "bad")
    assert pair.members("m") == {pair.id_of("m"): False, pair.id_of("c"): True, pair.id_of("d"): True}
