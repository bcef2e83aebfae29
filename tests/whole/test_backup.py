"""A whole backup: restored on an empty host it answers byte for byte; changed or without its password it is refused."""

from __future__ import annotations

import io
import json
import shutil
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.commands import run_python
from tests.pki import serial_octets
from tests.processes.running import DEADLINE_SECONDS
from tests.whole.test_selftests import Running, instance_made

from vouchd.client.inquiry import question
from vouchd.clock import SystemClock
from vouchd.instance.archive import extract, open_archive
from vouchd.instance.backups import read_backup_record
from vouchd.instance.lifecycle import status
from vouchd.settings.layout import Layout
from vouchd.stores.beliefs import Believed

pytestmark = pytest.mark.process
PASSWORD = "correct horse battery"
RECORDED, PIPELINED = 10_000, 50
# A look of the instance at its own backups, at a time of a test's choice: in a process whose commands are forked.
LOOK = """
import sys
from pathlib import Path
from types import SimpleNamespace
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring.upkeep import own_backups
layout, at = Layout(Path(sys.argv[1])), int(sys.argv[2])
(work,) = own_backups(layout, read_settings(layout), SimpleNamespace(now=lambda: at))
work.work()
"""


@contextmanager
def instance_of_fifty(folder: Path) -> Iterator[Running]:
    """An instance with a CRL of fifty certificates, not started, and a password file."""
    with instance_made(folder, range(1000, 1050)) as running:
        write_password(folder, PASSWORD)
        yield running


@pytest.fixture
def made(tmp_path):
    """One of the test's own."""
    with instance_of_fifty(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def backup(tmp_path_factory):
    """One that runs, and its backup: tests only look at them."""
    folder = tmp_path_factory.mktemp("running")
    with instance_of_fifty(folder) as instance:
        yield instance, backed_up(instance, folder)


@pytest.fixture
def running(backup) -> Running:
    """That instance."""
    return backup[0]


@pytest.fixture
def file(backup, tmp_path) -> Path:
    """That backup, with its password beside it."""
    write_password(tmp_path, PASSWORD)
    return Path(shutil.copy(backup[1], tmp_path))


def write_password(folder: Path, password: str) -> None:
    """The file that commands read it from."""
    path = folder / "password"
    path.touch(0o600)
    path.write_text(password)


def backed_up(made, tmp_path) -> Path:
    """A backup of the instance, made while it runs."""
    assert made.vouchd("start").returncode == 0
    out = tmp_path / "ocsp.backup"
    done = made.vouchd("backup", "--all", "--out", out, "--password-file", tmp_path / "password")
    assert done.returncode == 0, done.stderr
    return out


def restored(made, tmp_path, file: Path, *options: str, instance: str = "again"):
    """`vouchd restore` of the file, and where."""
    folder = tmp_path / instance
    password = tmp_path / "password"
    return made.vouchd("restore", file, *options, "--password-file", password, "--instance", folder), folder


def rewritten(file: Path, out: Path, change) -> Path:
    """The archive with what `change` makes of each member: its name and bytes, or nothing."""
    with tarfile.open(file) as archive, tarfile.open(out, "w") as changed:
        for member in archive:
            for name, data in change(member.name, archive.extractfile(member).read()):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                changed.addfile(entry, io.BytesIO(data))
    return out


def test_restored_instance_is_the_one_that_was_backed_up(made, tmp_path):
    """Keys, settings and facts are the same, private files are private, and the answers byte for byte.

    What it has believed of a directory server is kept, but where it is to stand without one.
    """
    beliefs = Believed(made.layout.believed)
    beliefs.begin("user", {"alice": [{"seal": {"number": 7}}]})
    file = backed_up(made, tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    done, folder = restored(made, tmp_path, file)
    assert done.returncode == 0, done.stderr
    before, after = made.layout, Layout(folder)
    for name in ("CS.cfg", "password.conf"):
        assert (after.root / name).read_bytes() == (before.root / name).read_bytes()
    keys = sorted(path.relative_to(before.root) for path in before.alias.iterdir())
    assert [path.relative_to(after.root) for path in sorted(after.alias.iterdir())] == keys
    assert all((after.root / key).read_bytes() == (before.root / key).read_bytes() for key in keys)
    modes = {path.stat().st_mode & 0o077 for path in after.root.rglob("*") if path.is_file()}
    assert modes == {0}
    log = after.audit_log.read_text()
    head = json.loads(made.layout.audit_log.read_text().splitlines()[-1])
    assert Believed(after.believed).exported() == beliefs.exported() != {}
    done, alone = restored(made, tmp_path, file, "--embedded", instance="alone")
    assert done.returncode == 0, done.stderr
    assert not Layout(alone).believed.exists()
    assert "INSTANCE_RESTORED" in log
    assert head["event"] == "PRIVATE_KEY_EXPORT"


def answers_of(instance: Layout, requests: list[bytes]) -> list[bytes]:
    """The bodies of the answers to these POSTs, many of which are on their way at once."""
    address, bodies = status(instance).report.ee, []
    with socket.create_connection(address, timeout=DEADLINE_SECONDS) as connection, connection.makefile("rb") as stream:
        for begin in range(0, len(requests), PIPELINED):
            some = requests[begin : begin + PIPELINED]
            head = "POST / HTTP/1.1\r\nHost: ocsp.test\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(b"".join((head % len(der)).encode() + der for der in some))
            for _ in some:
                lines = iter(stream.readline, b"\r\n")
                length = next(int(line.split()[1]) for line in [*lines] if line.lower().startswith(b"content-length"))
                bodies.append(stream.read(length))
    return bodies


def test_restored_instance_answers_ten_thousand_recorded_requests_byte_for_byte(made, tmp_path):
    """On an empty host: good and revoked serials, each in a request of its own, as they were answered before."""
    issuer = made.site.ca.der
    serials = [serial_octets(number) for number in range(500, 500 + RECORDED)]
    requests = [question(issuer, [serial], digest="SHA-1").request_der for serial in serials]
    file = backed_up(made, tmp_path)
    recorded = answers_of(made.layout, requests)
    assert len(set(recorded)) == RECORDED
    done, folder = restored(made, tmp_path, file)
    assert done.returncode == 0, done.stderr
    assert made.vouchd("stop").returncode == 0
    try:
        assert made.vouchd("start", "--instance", folder).returncode == 0
        assert answers_of(Layout(folder), requests) == recorded
    finally:
        made.vouchd("stop", "--instance", folder)


def test_backup_that_is_verified_gives_every_recorded_answer(running, file, tmp_path):
    """All kinds of certificates were asked about, and the copy, which stands alone, answers each the same."""
    password = tmp_path / "password"
    done = running.vouchd("restore", file, "--verify", "--password-file", password, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["same"] == shown["answers"] > 40
    assert (shown["different"], shown["ended"]) == (0, 0)
    assert running.query().returncode == 1, "the instance itself goes on"


def test_backup_of_other_facts_than_answered_is_seen(running, file, tmp_path):
    """Answers that the facts of the backup do not give are told by kind and CA, with exit code 76."""

    def other_answers(name: str, data: bytes):
        if name == "backup.json":
            about = json.loads(data)
            about["answers"][0]["sha256"] = "00" * 32
            data = json.dumps(about).encode()
        yield name, data

    changed = rewritten(file, tmp_path / "changed.backup", other_answers)
    done = running.vouchd("restore", changed, "--verify", "--password-file", tmp_path / "password")
    assert done.returncode == 76
    assert "1 answers are others" in done.stderr


@pytest.mark.parametrize("fault", ["exchanged", "left out", "added", "cut off", "not a backup"])
def test_backup_that_was_changed_is_refused_and_leaves_nothing(running, file, tmp_path, fault):
    """Whatever was done to the file, nothing is made of it, and the error says what is wrong."""
    changed = tmp_path / "changed.backup"

    def change(name: str, data: bytes):
        if name == "CS.cfg" and fault == "exchanged":
            data += b"vouchd.ee.port=1\n"
        if not (name == "CS.cfg" and fault == "left out"):
            yield name, data
        if name == "CS.cfg" and fault == "added":
            yield "alias/planted.key", b"x"

    rewritten(file, changed, change)
    if fault == "cut off":
        changed.write_bytes(changed.read_bytes()[: changed.stat().st_size // 2])
    if fault == "not a backup":
        changed.write_bytes(b"x" * 2000)
    done, folder = restored(running, tmp_path, changed)
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    assert not folder.exists()
    assert not list(tmp_path.glob(".again.*"))


def test_backup_with_another_password_is_refused(running, file, tmp_path):
    """Nothing is made without the password, and the file holds no key, password or administrator's file in clear."""
    data = file.read_bytes()
    for secret in (running.layout.password_conf, *running.layout.alias.glob("*.key")):
        assert secret.read_bytes()[:200] not in data
    write_password(tmp_path, "another one")
    done, folder = restored(running, tmp_path, file)
    assert done.returncode == 70
    assert "the password is another one" in done.stderr
    assert not folder.exists()


def test_backup_name_that_leads_out_of_the_folder_is_refused(file, tmp_path):
    """A sealed table with such a name, from somebody who knows the password, writes nothing outside."""
    opened = open_archive(file, PASSWORD)
    target = Layout(tmp_path / "target")
    opened.secret["../planted"] = b"x"
    with pytest.raises(Exception, match="leads out of the instance's folder"):
        extract(file, opened, target)
    assert not (tmp_path / "planted").exists()


def test_restore_over_an_instance_is_refused(running, file, tmp_path):
    """What is there stays."""
    done = running.vouchd("restore", file, "--password-file", tmp_path / "password")
    assert done.returncode == 73
    assert status(running.layout).ready


def test_restored_instance_starts_where_the_first_one_ended(made, tmp_path):
    """With the first host gone the restored instance starts, answers the revoked certificate, and its log is whole."""
    file = backed_up(made, tmp_path)
    assert made.vouchd("stop").returncode == 0
    done, folder = restored(made, tmp_path, file)
    assert done.returncode == 0
    shutil.rmtree(made.layout.root)
    folder.rename(made.layout.root)
    assert made.vouchd("start").returncode == 0
    assert made.query().returncode == 1
    assert made.vouchd("audit", "verify").returncode == 0


def look(layout: Layout, at: int) -> None:
    """What the instance does once a minute, at that time."""
    done = run_python(LOOK, layout.root, at)
    assert done.returncode == 0, done.stderr


def test_instance_backs_itself_up_proves_it_and_keeps_the_newest(made):
    """One an interval, proved, under the password of password.conf; the oldest goes, and a failure is noted."""
    layout = made.layout
    with layout.cs_cfg.open("a") as settings:
        settings.write("vouchd.backup.intervalInSec=3600\nvouchd.backup.keep=1\n")
    look(layout, SystemClock().now())
    failed = read_backup_record(layout.backups)
    assert "no password that backups are sealed with" in failed.error
    assert (failed.made_at, failed.proved_at) == (None, None)
    with layout.password_conf.open("a") as passwords:
        passwords.write(f"backup={PASSWORD}\n")
    assert made.vouchd("start").returncode == 0
    look(layout, failed.tried_at + 3599)
    assert read_backup_record(layout.backups) == failed
    files = []
    for _ in range(2):
        look(layout, read_backup_record(layout.backups).tried_at + 3600)
        record = read_backup_record(layout.backups)
        assert record.error == ""
        assert record.proved_at >= record.made_at == record.tried_at
        files.append(Path(record.file))
    assert list((layout.root / "backups").iterdir()) == files[-1:]
    assert open_archive(files[-1], PASSWORD).about["answers"]
