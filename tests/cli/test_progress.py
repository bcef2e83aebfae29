"""What takes long says so: a line that turns on a terminal, lines elsewhere, nothing for programs."""

from __future__ import annotations

import io
import json
import threading
from contextlib import redirect_stderr

import pytest
from tests.agent.agent_port import crl
from tests.pki import CA, shared_key
from tests.processes.running import eventually

from vouchd.cli import progress
from vouchd.cli.main import main
from vouchd.cli.progress import SWITCH, working


class Terminal(io.StringIO):
    """A terminal that remembers what was written."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """The first line without a pause, and more right after it."""
    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.setattr(progress, "AFTER_SECONDS", 0)
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.001)


def test_work_says_that_it_goes_on_in_lines():
    """One line after a while and more of them later, each with what is done and for how long."""
    with redirect_stderr(io.StringIO()) as written, working("take a CRL in"):
        eventually(lambda: written.getvalue().count("\n") >= 3, "three lines")
    assert {line.rpartition(":")[0] for line in written.getvalue().splitlines()} == {"vouchd: take a CRL in"}


def test_work_that_is_done_soon_says_nothing(monkeypatch):
    """Most commands are over before anybody wonders."""
    monkeypatch.setattr(progress, "AFTER_SECONDS", 600)
    with redirect_stderr(io.StringIO()) as written, working("take a CRL in"):
        pass
    assert written.getvalue() == ""


def test_line_turns_on_a_terminal_and_is_gone_afterwards(monkeypatch):
    """What was written there is taken away again, so that the result stands alone."""
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stderr(Terminal()) as terminal, working("take [a] CRL in"):
        eventually(lambda: "take [a] CRL in: " in terminal.getvalue(), "the line")
    assert terminal.getvalue().endswith("\x1b[2K")
    assert "vouchd:" not in terminal.getvalue()


@pytest.mark.parametrize("switch", ["0", "1"])
def test_programs_are_told_nothing(monkeypatch, switch):
    """Neither with --json nor where it is switched off: nobody is there who would write."""
    monkeypatch.setenv(SWITCH, switch)
    before = threading.active_count()
    with redirect_stderr(io.StringIO()) as written, working("take a CRL in", shown=switch == "0"):
        assert threading.active_count() <= before
    assert written.getvalue() == ""


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_command_on_a_file_says_what_it_is_at(tmp_path, capsys, form):
    """A comparison of two files, with the first line at once: on stderr, and not with --json."""
    site = CA.create("Lists", key=shared_key("EC", 62))
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(crl(site))
    assert main(["crl", "diff", str(tmp_path / "a"), str(tmp_path / "b"), *form]) == 0
    shown = capsys.readouterr()
    assert not form or json.loads(shown.out)["came"] == 0
    assert ("compare them" in shown.err) <= (not form)
