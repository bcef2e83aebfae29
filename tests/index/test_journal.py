"""The journal under the manifest: a difference is there or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouchd import files
from vouchd.errors import IndexFileError, StoreUnavailable
from vouchd.index import journal
from vouchd.index.journal import JournalReader, JournalWriter

LINES = st.lists(st.binary(max_size=80).map(lambda line: line.replace(b"\n", b"")), max_size=12)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.log"


def everything(path) -> tuple[bytes, tuple[bytes, ...]]:
    """What somebody reads who has read nothing yet."""
    reading = JournalReader(path).read(0)
    return reading.whole, reading.differences


@given(LINES, LINES)
def test_what_was_added_is_read_in_its_order(tmp_path_factory, first, then):
    """All of it by who begins, and what is new by who has read before."""
    path = tmp_path_factory.mktemp("journal") / "manifest.log"
    writer, reader = JournalWriter(path), JournalReader(path)
    writer.begin(1, [b"whole"])
    for line in first:
        writer.add(line)
    reading = reader.read(0)
    reader.keep(reading)
    assert (reading.version, reading.whole, list(reading.differences)) == (1, b"whole", first)
    for line in then:
        writer.add(line)
    again = reader.read(1)
    assert (again.whole, list(again.differences)) == (None, then)
    assert everything(path) == (b"whole", (*first, *then))


@given(LINES.filter(bool), st.data())
def test_line_that_is_cut_short_or_did_not_reach_the_disk_is_passed_over(tmp_path_factory, lines, data):
    """Who was told of a line has it; the last one, of which nobody was told yet, may be half there and counts not."""
    path = tmp_path_factory.mktemp("journal") / "manifest.log"
    writer = JournalWriter(path)
    writer.begin(1, [b"whole"], lines[:-1])
    before = path.stat().st_size
    writer.add(lines[-1])
    octets = path.read_bytes()
    cut = data.draw(st.integers(before, len(octets) - 1))
    path.write_bytes(octets[:cut])
    assert everything(path) == (b"whole", tuple(lines[:-1]))
    hole = data.draw(st.integers(before, len(octets) - 2).filter(lambda at: octets[at] ^ 0x80 != ord("\n")))
    path.write_bytes(octets[:hole] + bytes((octets[hole] ^ 0x80,)) + octets[hole + 1 :])
    assert everything(path) == (b"whole", tuple(lines[:-1]))


def test_damage_before_the_last_line_is_refused(path):
    """What was told of is not taken back in silence: nothing goes back behind what was served."""
    JournalWriter(path).begin(1, [b"the whole"], [b"first", b"second", b"third"])
    octets = path.read_bytes()
    for place in range(octets.index(b"third") - 9):
        path.write_bytes(octets[:place] + bytes((octets[place] ^ 0x80,)) + octets[place + 1 :])
        with suppress(IndexFileError):
            assert everything(path)[0] == b"the whole"
            assert b'"id"' in octets[:place]  # the file's own id says nothing


def test_file_that_is_too_large_is_refused_unread(path, monkeypatch):
    """What somebody let grow without end is damaged, and takes no memory."""
    JournalWriter(path).begin(1, [b"whole"], [])
    monkeypatch.setattr(journal, "MAX_MANIFEST_BYTES", path.stat().st_size - 1)
    with pytest.raises(IndexFileError, match="is larger than"):
        JournalReader(path).read(1)


def test_reader_that_has_the_version_of_a_new_whole_reads_only_what_follows(path):
    """A file that is begun anew costs who is up to date nothing, and who is not the whole."""
    writer, upright, late = JournalWriter(path), JournalReader(path), JournalReader(path)
    writer.begin(1, [b"one"])
    for reader in (upright, late):
        reader.keep(reader.read(0))
    writer.add(b"two")
    upright.keep(upright.read(1))
    JournalWriter(path).begin(2, [b"one and two"], [b"three"])
    assert (upright.read(2).whole, upright.read(2).differences) == (None, (b"three",))
    assert (late.read(1).whole, late.read(1).differences) == (b"one and two", (b"three",))


def test_file_is_to_be_begun_anew_when_its_lines_are_as_long_as_its_whole(path, monkeypatch):
    """So a change costs what it is, twice at most, however long the process lives."""
    monkeypatch.setattr(journal, "_LEAST_OCTETS", 100)
    writer = JournalWriter(path)
    assert not writer.may_grow
    writer.begin(1, [bytes(200)])
    added = 0
    while writer.may_grow:
        writer.add(b"x" * 40)
        added += 1
    assert added == 5


def test_failed_addition_leaves_what_was_there(path, monkeypatch):
    """A disk that is full, or cannot be written to, leaves the lines of before; the file is begun anew then."""
    writer = JournalWriter(path)
    writer.begin(1, [b"whole"], [b"first"])

    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fdatasync", fails)
        with pytest.raises(StoreUnavailable):
            writer.add(b"second")
    assert everything(path) == (b"whole", (b"first",))
    assert not writer.may_grow
    writer.begin(1, [b"whole"], [b"third"])
    assert everything(path) == (b"whole", (b"third",))


def test_file_that_somebody_else_wrote_is_not_added_to(path):
    """A line is a difference from what this process wrote, and from nothing else."""
    writer = JournalWriter(path)
    writer.begin(1, [b"whole"])
    os.truncate(path, 10)
    with pytest.raises(StoreUnavailable):
        writer.add(b"second")
    JournalWriter(path).begin(1, [b"other"])
    with pytest.raises(StoreUnavailable):
        writer.add(b"second")
    assert everything(path) == (b"other", ())


def test_reader_of_a_line_that_is_gone_reads_the_whole(path):
    """A line that could not be brought to disk may have been read: its version does not come again."""
    writer, reader = JournalWriter(path), JournalReader(path)
    writer.begin(1, [b"one"])
    writer.add(b"two, which did not reach the disk")
    reader.keep(reader.read(0))
    JournalWriter(path).begin(1, [b"one"], [b"three"])
    reading = reader.read(2)
    assert (reading.version, reading.whole, reading.differences) == (1, b"one", (b"three",))


def test_whole_comes_in_pieces(path):
    """What is read is one whole, whatever the pieces in which it was written."""
    JournalWriter(path).begin(1, [b"the", b"", b" whole"], [b"first"])
    assert everything(path) == (b"the whole", (b"first",))
