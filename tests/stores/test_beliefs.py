"""What a member has believed: a file that several processes read the directory against, each at its own moment."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vouchd.errors import ConfigError, StoreUnavailable
from vouchd.stores.beliefs import Believed


def record(number: int, text: str = "x") -> dict:
    return {"text": text, "seal": {"number": number}}


def test_what_is_believed_is_kept_for_the_next_process(tmp_path):
    """Records, numbers, what is gone, and that seals are demanded outlive the process; the file is private."""
    one = Believed(tmp_path / "believed.sqlite")
    assert (one.enforced, one.begun("user"), one.rows("user"), one.version) == (False, False, {}, 0)
    one.enforce()
    one.begin("user", {"a": [record(5)], "b": [record(6)]})
    one.remember("user", {"a": (7, [record(7)])}, one.rows("user"))
    one.forget("user", {"b": 6}, one.rows("user"))
    other = Believed(tmp_path / "believed.sqlite")
    assert (other.enforced, other.begun("user"), other.begun("CA")) == (True, True, False)
    assert other.rows("user") == one.rows("user")
    assert [(row.number, row.records) for row in other.rows("user").values()] == [(7, (record(7),)), (6, ())]
    assert stat.S_IMODE((tmp_path / "believed.sqlite").stat().st_mode) == 0o600


def test_who_knew_less_writes_nothing(tmp_path):
    """A process that read the directory before another one does not undo what that one has seen since."""
    one, other = (Believed(tmp_path / "believed.sqlite") for _ in range(2))
    one.begin("user", {"a": [record(1)]})
    before = other.rows("user")
    one.remember("user", {"a": (2, [record(2)])}, one.rows("user"))
    other.forget("user", {"a": 1}, before)
    other.remember("user", {"a": (1, [record(1, "old")])}, before)
    other.begin("user", {"a": [record(1, "old")], "b": [record(1)]})
    assert {name: row.number for name, row in one.rows("user").items()} == {"a": 2, "b": 1}
    assert one.row("user", "a").records == (record(2),)


def test_first_writers_at_one_time_make_one_file(tmp_path):
    """Whoever comes first makes it, whole: nobody sees it without its tables, and nothing that was written is lost."""
    files = [Believed(tmp_path / "believed.sqlite") for _ in range(8)]
    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(lambda pair: pair[1].begin(str(pair[0]), {"a": [record(pair[0])]}), enumerate(files)))
    for file in files:
        assert [file.row(str(number), "a").number for number in range(len(files))] == list(range(len(files)))
    assert [path.name for path in tmp_path.iterdir()] == ["believed.sqlite"]


def test_beliefs_of_another_member_are_taken_over_where_there_are_none(tmp_path):
    """Who joins has them from a member over TLS, gone ones too; what is remembered already stays."""
    one, other = Believed(tmp_path / "one.sqlite"), Believed(tmp_path / "other.sqlite")
    one.enforce()
    one.begin("user", {"a": [record(5)], "b": [record(6)]})
    one.forget("user", {"b": 7}, one.rows("user"))
    one.begin("CA", {"c": [record(1)]})
    other.begin("CA", {"d": [record(1)]})
    other.take_over(json.loads(json.dumps(one.exported())))
    assert other.enforced
    assert {name: (row.number, row.records) for name, row in other.rows("user").items()} == {
        "a": (5, (record(5),)),
        "b": (7, ()),
    }
    assert [row.digests for row in other.rows("user").values()] == [row.digests for row in one.rows("user").values()]
    assert set(other.rows("CA")) == {"d"}
    for damaged in ({"user": 7}, {"user": {"a": [1]}}, {"user": {"a": ["x", []]}}, {"user": {"a": [1, [7]]}}):
        with pytest.raises(ConfigError):
            Believed(tmp_path / "third.sqlite").take_over(damaged)


def test_copy_is_what_is_remembered(tmp_path):
    """A backup has it as it is, private."""
    one = Believed(tmp_path / "one.sqlite")
    one.enforce()
    one.begin("user", {"a": [record(5)]})
    one.copy(tmp_path / "copy.sqlite")
    assert Believed(tmp_path / "copy.sqlite").exported() == one.exported()
    assert stat.S_IMODE((tmp_path / "copy.sqlite").stat().st_mode) == 0o600


def test_file_that_nobody_writes_is_not_opened_again(tmp_path, monkeypatch):
    """Each look at the directory asks for it several times; only what another process writes is read again."""
    path = tmp_path / "believed.sqlite"
    one, other = Believed(path), Believed(path)
    one.begin("user", {"a": [record(1)]})
    settled(path)
    before = one.rows("user")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", no_connection)
        assert one.rows("user") == before
    other.remember("user", {"a": (2, [record(2)])}, other.rows("user"))
    assert one.rows("user")["a"].number == 2
    assert one.version == other.version


def test_file_that_was_away_for_a_while_is_read_again(tmp_path):
    """One that was moved away and back has what it had, the demand of seals as well."""
    path = tmp_path / "believed.sqlite"
    one = Believed(path)
    one.begin("user", {"a": [record(1)]})
    one.enforce()
    settled(path)
    assert one.enforced
    path.rename(tmp_path / "away")
    assert not one.enforced
    (tmp_path / "away").rename(path)
    assert one.enforced
    assert one.rows("user")["a"].number == 1


def test_file_that_was_just_written_is_opened_again(tmp_path):
    """Whatever is written at the same moment of the file system's clock is not overlooked."""
    path = tmp_path / "believed.sqlite"
    one, other = Believed(path), Believed(path)
    one.begin("user", {"a": [record(1)]})
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    assert one.rows("user")["a"].number == 1
    other.remember("user", {"a": (2, [record(2)])}, other.rows("user"))
    os.utime(path, ns=(now, now))
    assert one.rows("user")["a"].number == 2


def settled(path) -> None:
    """Have it written a minute ago."""
    before = time.time_ns() - 60 * 10**9
    os.utime(path, ns=(before, before))


def no_connection(*_, **__):
    raise AssertionError("it is opened")


def test_damaged_file_is_said(tmp_path):
    """A memory that cannot be read is not taken for an empty one: everything would be believed again."""
    (tmp_path / "believed.sqlite").write_bytes(b"nothing of ours" * 100)
    with pytest.raises(StoreUnavailable, match=r"believed\.sqlite"):
        Believed(tmp_path / "believed.sqlite").rows("user")
