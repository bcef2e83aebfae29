"""Logging: one place sets it up, no access log, no flood."""

from __future__ import annotations

import logging
import stat

import pytest

from vouchd.processes.logs import Repetition, set_up_logs


@pytest.fixture(autouse=True)
def restored():
    """The root logger as it was, after the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def record(created: float, line: int = 1) -> logging.LogRecord:
    entry = logging.LogRecord("x", logging.ERROR, "x.py", line, "it failed: %s", ("why",), None)
    entry.created = created
    return entry


def test_log_file_is_private_and_appended_to(tmp_path):
    """A log file is readable by its owner only and keeps what stood in it."""
    path = tmp_path / "vouchd.log"
    for word in ("first", "second"):
        set_up_logs(path)
        logging.getLogger("vouchd.test").error(word)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [line.rsplit(" ", 1)[1] for line in path.read_text().splitlines()] == ["first", "second"]


def test_access_log_stays_off(tmp_path):
    """No request is logged, whatever a library would like to."""
    path = tmp_path / "vouchd.log"
    set_up_logs(path, level=logging.DEBUG)
    logging.getLogger("aiohttp.access").error("GET /metrics from 192.0.2.1")
    assert path.read_text() == ""


def test_repeated_error_is_cut_off_until_the_next_minute():
    """An error at line rate is logged a few times a minute, the last time with a word that it goes on."""
    repetition = Repetition(limit=3)
    logged = [entry for entry in (record(60.0 + n / 100) for n in range(100)) if repetition.filter(entry)]
    assert [entry.getMessage() for entry in logged] == ["it failed: why"] * 2 + [
        "it failed: why (no more of these in this minute)"
    ]
    assert repetition.filter(record(121.0))


def test_other_errors_are_not_cut_off_with_it():
    """One noisy line of code does not silence another."""
    repetition = Repetition(limit=1)
    assert repetition.filter(record(60.0))
    assert not repetition.filter(record(61.0))
    assert repetition.filter(record(61.0, line=2))
