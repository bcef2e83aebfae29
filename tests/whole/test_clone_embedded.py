"""A clone that keeps its facts in a file: made by one command, the same answers, taken away, made the master."""

from __future__ import annotations

import json
import queue
import shutil
import signal
import ssl
import subprocess
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from tests.commands import start_vouchd
from tests.processes.running import eventually
from tests.whole.clones import CloneSet, clone_set

from vouchd.instance.configuration import write_values
from vouchd.instance.pidfile import running_pid
from vouchd.settings.reading import active_settings

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A running master and its clone, which tests only look at."""
    with clone_set(tmp_path_factory.mktemp("pair")) as made:
        made.make_prepared(running=True)
        made.run(*made.create("c"))
        yield made


@pytest.fixture
def site(tmp_path):
    """A running master that is ready to be pair."""
    with clone_set(tmp_path) as made:
        made.make_prepared()
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


def test_clone_whose_refresh_was_changed_by_hand_becomes_one_again(pair):
    """Another refreshInSec would mark it a master, which the registry knows better: it mends its own CS.cfg."""
    write_values(pair.layout("c"), {"ocsp.store.defStore.refreshInSec": "300"})
    pair.run("restart", "--instance", "c")
    eventually(lambda: active_settings(pair.layout("c")).refresh_seconds == 21600, "it runs as a clone again")
    assert pair.setting("c", "ocsp.store.defStore.refreshInSec") == "21600"
    assert pair.members("c") == {pair.id_of("m"): False, pair.id_of("c"): True}


def test_status_shows_the_set_as_the_clone_sees_it(pair):
    """Its role, the master in reach, the same CRL there, and nothing wrong."""

    def in_order():
        done = pair.done("clone", "status", "--instance", "c", "--json", code=None)
        return json.loads(done.stdout) if done.returncode == 0 else None

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
    """The clone tells nextUpdate, as the master does, or leaves it out; both compare themselves every second."""
    often = {"vouchd.clone.verifyInSec": "1"}
    for member, changed in (("m", often), ("c", often | {NEXT_UPDATE: str(present).lower()})):
        if write_values(pair.layout(member), changed):
            pair.run("restart", "--instance", member)


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


def administrator_s_keys(made: CloneSet) -> Path:
    """Key and certificate of the master's administrator in one file that needs no password."""
    keys, layout = made.folder / "admin.pem", made.layout("m")
    away = ["openssl", "pkcs12", "-in", str(layout.admin_pkcs12), "-passin", f"file:{layout.admin_password}", "-nodes"]
    subprocess.run([*away, "-out", str(keys)], check=True, capture_output=True)
    return keys


def test_verify_is_asked_for_over_the_port(pair):
    """An administrator away from the folders has a member compare itself with the others, and sees how that went."""
    keys = administrator_s_keys(pair)
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


def test_certificate_request_stops_and_goes_on(site):
    """Without a CA at hand the command stops with the request, and goes on once the certificate is there."""
    words = site.create("c")
    without_ca = [word for word in words if word not in {"--ca", "lab"}]
    said = site.refused(*without_ca)
    assert "vouchd certs install sslserver" in said
    request = next(site.layout("c").alias.glob("sslserver*.csr"))
    site.run("ca", "issue", "--ca", "lab", "--csr", str(request), "--profile", "server", "--out", "tls.crt")
    site.run("certs", "install", "sslserver", "tls.crt", "--instance", "c", "--no-restart")
    site.run(*without_ca)
    assert site.said("c", "bad") == site.said("m", "bad")


def test_destroy_leaves_the_master_and_the_place(site):
    """After destroy the registry knows the master alone, the folder is gone, and the place may be taken again."""
    site.run(*site.create("c"))
    site.run("clone", "destroy", "--instance", "c", "--remove")
    assert site.members("m") == {site.id_of("m"): False}
    assert not site.layout("c").root.exists()
    assert site.says("m", "bad") == "revoked"
    site.prepare()
    site.run(*site.create("c"))
    assert site.said("c", "bad") == site.said("m", "bad")


def test_running_clone_is_destroyed_over_its_port(site):
    """It leaves the set, answers who has ordered it, and stops; its folder stays."""
    site.run(*site.create("c"))
    keys, layout = administrator_s_keys(site), site.layout("c")
    place = ["--url", f"https://{site.id_of('c')}", "--cert", str(keys), "--trust", "lab/ca.crt"]
    assert "--remove takes a folder" in site.refused("clone", "destroy", "--remove", *place)
    assert site.json("clone", "destroy", *place) == {"left": site.id_of("c"), "removed": None}
    eventually(lambda: running_pid(layout.pid_file) is None, "the clone stops")
    assert site.members("m") == {site.id_of("m"): False}
    assert layout.cs_cfg.exists()


def until_clone(site, name: str) -> None:
    """The member takes itself for a clone, in its CS.cfg and in its registry."""
    refresh = "ocsp.store.defStore.refreshInSec"
    eventually(lambda: site.setting(name, refresh) == "21600", f"{name} marks itself a clone")
    eventually(lambda: site.members(name).get(site.id_of(name)), f"{name} knows that it is a clone")


def test_promote_moves_the_role(site):
    """The clone becomes the master and the master a clone; refreshInSec says so on both, and CRLs flow the other way.

    Not by the clone's own word: it takes an administrator's certificate. A CRL is taken as soon as the command ends.
    """
    site.run(*site.create("c"))
    assert "administrator's own certificate" in site.refused("clone", "promote", "--instance", "c", "--force")
    assert site.members("m") == site.members("c") == {site.id_of("m"): False, site.id_of("c"): True}
    site.run("clone", "promote", "--instance", "c", *site.as_administrator())
    for member in ("c", "m"):
        site.publish(member)
    until_clone(site, "m")
    wanted = {site.id_of("m"): True, site.id_of("c"): False}
    assert site.members("m") == site.members("c") == wanted
    assert site.setting("c", "ocsp.store.defStore.refreshInSec") == "600"
    site.revoke("good")
    site.publish("c")
    site.until_says("m", "good", "revoked")
    assert site.said("c", "good") == site.said("m", "good")


def test_master_hands_its_role_over_and_the_clone_takes_it_by_itself(site):
    """On the master its own key is enough; nothing is done on the clone, which rises when it sees that it is appointed."""
    site.run(*site.create("c"))
    site.run("clone", "promote", site.id_of("c"), "--instance", "m")
    until_clone(site, "m")
    refresh = "ocsp.store.defStore.refreshInSec"
    eventually(lambda: site.setting("c", refresh) == "600", "c marks itself the master")
    eventually(lambda: site.members("c") == {site.id_of("m"): True, site.id_of("c"): False}, "c knows its role")
    site.revoke("good")
    site.publish("m")
    site.until_says("c", "good", "revoked")


def test_master_that_comes_back_takes_itself_for_a_clone(site):
    """The role of a dead master moves only by force; back again it follows the new one, with the CRLs it has missed."""
    site.run(*site.create("c"))
    site.kill("m")
    assert "--force" in site.refused("clone", "promote", "--instance", "c", *site.as_administrator())
    assert site.members("c")[site.id_of("c")]
    site.run("clone", "promote", "--instance", "c", "--force", *site.as_administrator())
    assert not site.members("c")[site.id_of("c")]
    site.revoke("good")
    site.publish("c")
    site.run("start", "--instance", "m")
    until_clone(site, "m")
    site.until_says("m", "good", "revoked")
    assert site.members("m") == site.members("c")


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


def test_clone_restored_from_an_old_backup_answers_when_it_has_caught_up(site):
    """What it brings back says good; it is not said while the master, who knows better, has not been asked."""
    site.run(*site.create("c"))
    site.until_says("c", "good", "good")
    files = ("--password-file", "keys.password")
    site.run("backup", "--all", "--out", "old.backup", "--instance", "c", *files)
    site.revoke("good")
    site.publish("m")
    site.until_says("c", "good", "revoked")
    for name in ("c", "m"):
        site.run("stop", "--instance", name)
    shutil.rmtree(site.layout("c").root)
    site.run("restore", "old.backup", "--instance", "c", *files)
    site.run("start", "--instance", "c")
    assert site.says("c", "good") == "try_later"
    site.run("restart", "--instance", "c")
    assert site.says("c", "good") == "try_later", "a restart makes nothing newer"
    site.run("start", "--instance", "m")
    answers = set()
    eventually(lambda: answers.add(site.says("c", "good")) or "revoked" in answers, "it has caught up")
    assert answers <= {"try_later", "revoked"}
    eventually(lambda: not site.layout("c").restored.exists(), "nothing is doubted any more")
