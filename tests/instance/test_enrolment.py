"""A command of the site's certifies a request: without a shell, and bounded in time and bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.processes.running import eventually

from vouchd.errors import ClientError, ConfigError
from vouchd.instance.certificates.enrolment import run
from vouchd.pkix.pem import MAX_BUNDLE_BYTES

ENOUGH = 60


def python(script: str, *arguments: str) -> str:
    """A command line that runs Python `script`."""
    return " ".join([sys.executable, "-c", f'"{script}"', *arguments])


def test_command_gets_the_request_and_gives_the_certificate(tmp_path):
    """What comes out is what the program made of its input, however much that is."""
    data = b"request\n" * 40_000
    script = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d[::-1])"
    assert run(python(script), data, ENOUGH, tmp_path) == data[::-1]


def test_command_that_does_not_read_its_input_is_no_failure(tmp_path):
    """A program that prints a certificate which it had before needs no request."""
    assert run(python("print('done')"), b"x" * 1_000_000, ENOUGH, tmp_path) == b"done\n"


def test_command_is_run_without_a_shell(tmp_path):
    """What a shell would take for its own are arguments like any other."""
    script = "import sys; print(sys.argv[1:])"
    said = run(python(script, "$HOME", "';'", "'a b'", "|"), b"", ENOUGH, tmp_path).decode()
    assert said == "['$HOME', ';', 'a b', '|']\n"


def test_command_has_nothing_of_ours_in_its_environment(tmp_path, monkeypatch):
    """Variables of the instance are nobody else's business."""
    monkeypatch.setenv("VOUCHD_SECRET", "x")
    said = run(python("import os; print(sorted(os.environ), os.getcwd())"), b"", ENOUGH, tmp_path).decode()
    assert "VOUCHD" not in said
    assert str(tmp_path) in said


def test_command_that_fails_is_told_with_its_words(tmp_path):
    """Exit code and the beginning of what it complained about reach the administrator."""
    with pytest.raises(ClientError, match="ended with 3: no such profile"):
        run(python("import sys; print('no such profile', file=sys.stderr); sys.exit(3)"), b"", ENOUGH, tmp_path)


def test_command_that_prints_without_end_is_stopped(tmp_path):
    """At most as much is taken as a bundle of certificates may have, of output and of complaints."""
    for stream in ("stdout", "stderr"):
        script = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
        with pytest.raises(ClientError, match=f"more than {MAX_BUNDLE_BYTES} bytes"):
            run(python(script), b"", ENOUGH, tmp_path)


def test_command_that_does_not_end_is_stopped_with_what_it_started(tmp_path):
    """After its time the program is killed, and its children are."""
    mark = tmp_path / "child"
    script = (
        "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(9999)']);"
        f" open('{mark}', 'w').write(str(c.pid)); time.sleep(9999)"
    )
    with pytest.raises(ClientError, match="did not end within"):
        run(python(script), b"", 2, tmp_path)
    if mark.exists():
        pid = int(mark.read_text())
        eventually(lambda: not _lives(pid), "the child is gone")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("command", ["", "'unclosed"])
def test_command_that_is_none_is_refused(tmp_path, command):
    """A setting that is no command says so, not the system."""
    with pytest.raises(ConfigError):
        run(command, b"", ENOUGH, tmp_path)


def test_command_that_is_not_there_is_told(tmp_path):
    """The name of the missing program is in the message."""
    with pytest.raises(ClientError, match="/no/such"):
        run("/no/such", b"", ENOUGH, tmp_path)
