"""A CRL that two processes read gives the index file that one gives, or is refused as one refuses it."""

from __future__ import annotations

import errno
import signal
import sys

import pytest
from tests.pkix.crls import INDIRECT, certificate_issuer, crl, entry, invalidity, reason

from vouchd import files
from vouchd.errors import CRLRejected, StoreUnavailable
from vouchd.files import Spool, spool_file
from vouchd.index import halves, sorting, writing
from vouchd.index.format import intact
from vouchd.index.halves import middle
from vouchd.index.writing import write_crl_index
from vouchd.pkix.crl import read_header
from vouchd.pkix.der import tlv

USUAL = [entry(number.to_bytes(3, "big"), *([reason(1)] if number % 3 else [])) for number in range(1000, 3000)]
SECOND_HALF = 1500  # an entry there is of that
ODD = {
    "usual entries": USUAL,
    "some that are listed twice": USUAL + USUAL[::7],
    "a wider key in the second half": [*USUAL[:SECOND_HALF], entry(b"\x01" * 20), *USUAL[SECOND_HALF:]],
    "the first date in the second half": [
        *USUAL[:SECOND_HALF],
        entry(b"\x7f", invalidity(b"20250101000000Z")),
        *USUAL[SECOND_HALF:],
    ],
    # Wherever a row of entries seems to begin in it, it is the value of an extension that is passed over.
    "an extension that looks like entries": [
        *USUAL[:1000],
        entry(b"\x7e", tlv(0x30, b"\x06\x03\x55\x1d\x63", tlv(0x04, b"".join(USUAL[:400])))),
        *USUAL[1000:],
    ],
}


@pytest.fixture(autouse=True)
def parted(monkeypatch):
    """All CRLs are large ones, on a machine of two processors; few entries make several ranges."""
    monkeypatch.setattr(sorting, "RANGE_RECORDS", 256)
    monkeypatch.setattr(halves, "LARGE_BYTES", 0)
    monkeypatch.setattr(halves, "_processors", lambda: 2)
    monkeypatch.setattr(files, "MAX_BYTES", 0)


def spooled(der: bytes) -> memoryview:
    spool = Spool()
    spool.write(der)
    return spool.view()


def written(path, der: bytes | memoryview) -> bytes:
    write_crl_index(path, der, read_header(der))
    assert intact(path) is not None
    return path.read_bytes()


@pytest.mark.parametrize("entries", ODD.values(), ids=ODD)
def test_index_of_two_processes_is_that_of_one(tmp_path, entries):
    """Whatever stands in either half, the file is the same to the octet."""
    der = crl(*entries)
    assert middle(spooled(der), read_header(der)) is not None
    assert written(tmp_path / "x.idx", spooled(der)) == written(tmp_path / "x.idx", der)


def test_half_of_the_work_is_the_other_process_s(tmp_path, monkeypatch):
    """Of a usual CRL this process reads no more than the first half, and merges no more than the lower keys."""
    view, spans, ranges = spooled(crl(*USUAL)), [], []
    packed_entries, blobs = halves.packed_entries, sorting.Sorter.blobs

    def noted(der, header, layout):
        spans.append(header.entries)
        return packed_entries(der, header, layout)

    def noted_range(sorter, begin=None, end=None):
        ranges.append((begin, end))
        return blobs(sorter, begin, end)

    monkeypatch.setattr(halves, "packed_entries", noted)
    monkeypatch.setattr(sorting.Sorter, "blobs", noted_range)
    monkeypatch.setattr(writing, "packed_entries", None)
    assert write_crl_index(tmp_path / "x.idx", view, read_header(view)) == len(USUAL)
    assert {span.end for span in spans} == {middle(view, read_header(view))}
    ((begin, end),) = ranges
    assert begin is None
    assert 1200 < int.from_bytes(end, "big") < 2800


def test_few_ranges_are_merged_by_one_process(tmp_path, monkeypatch):
    """Where there is no key to part them at."""
    monkeypatch.setattr(sorting, "RANGE_RECORDS", 1 << 15)
    der = crl(*USUAL)
    assert written(tmp_path / "x.idx", spooled(der)) == written(tmp_path / "x.idx", der)


@pytest.mark.parametrize("place", [3, 1000, 1999])
def test_malformed_entry_refuses_the_crl_as_one_process_does(tmp_path, place):
    """The refusal names the entry, in whichever half it is, and leaves nothing behind."""
    der = crl(*USUAL[:place], entry(time=tlv(0x17, b"251301123456Z")), *USUAL[place:])
    with pytest.raises(CRLRejected) as alone:
        write_crl_index(tmp_path / "x.idx", der, read_header(der))
    with pytest.raises(CRLRejected) as together:
        write_crl_index(tmp_path / "x.idx", spooled(der), read_header(der))
    assert str(together.value) == str(alone.value)
    assert not list(tmp_path.iterdir())


PROGRAMS = {
    "fails": "raise SystemExit(1)",
    "tells nothing": "",
    "tells what is none": "print('[0.5]')",
    "tells of more than it wrote": "print('[1000]')",
    "fails when it merges": "from vouchd.index import halves; halves.record_sorter = None; halves.main()",
    "is killed when it has merged some": """
import os, signal
from vouchd.index import halves, sorting

sorting.RANGE_RECORDS = 256
blobs = sorting.Sorter.blobs

def first_of(sorter, begin):
    os.write(int(os.sys.argv[8]), next(blobs(sorter, begin)))
    os.kill(os.getpid(), signal.SIGKILL)

sorting.Sorter.blobs = first_of
halves.main()
""",
    "merges nothing": (
        "from vouchd.index import halves, sorting; sorting.Sorter.blobs = lambda *_, **__: (); halves.main()"
    ),
}


@pytest.mark.parametrize(
    "program",
    [*((sys.executable, "-c", text) for text in PROGRAMS.values()), ("/nonexistent",)],
    ids=[*PROGRAMS, "cannot begin"],
)
def test_other_process_that_ends_early_costs_time_alone(tmp_path, monkeypatch, program):
    """What it has not read, or not merged, is read and merged here."""
    der = crl(*USUAL)
    monkeypatch.setattr(halves, "_PROGRAM", program)
    assert written(tmp_path / "x.idx", spooled(der)) == written(tmp_path / "x.idx", der)


def test_death_counts_where_children_are_ignored(tmp_path, monkeypatch):
    """Whoever has started this process may ignore how children end, and so it does: no revocation is lost by that."""
    monkeypatch.setattr(halves, "_PROGRAM", (sys.executable, "-c", PROGRAMS["is killed when it has merged some"]))
    der = crl(*USUAL)
    former = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert written(tmp_path / "x.idx", spooled(der)) == written(tmp_path / "x.idx", der)
    finally:
        signal.signal(signal.SIGCHLD, former)


def test_what_lies_in_the_folder_of_a_command_is_not_run(tmp_path, monkeypatch):
    """A module there by the name of one that the other process loads is passed over."""
    (tmp_path / "json.py").write_text("open('loaded', 'w')\n")
    monkeypatch.chdir(tmp_path)
    view = spooled(crl(*USUAL))
    write_crl_index(tmp_path / "x.idx", view, read_header(view))
    assert not (tmp_path / "loaded").exists()


def test_no_room_for_two_leaves_it_to_one(tmp_path, monkeypatch):
    """One process needs one file for its runs; where there is room for no other one, the CRL is taken all the same."""
    new_file, made = sorting.Sorter.new_file, []

    def one_of_each(sorter):
        if sorter in made:
            raise OSError(errno.EMFILE, "Too many open files")
        made.append(sorter)
        return new_file(sorter)

    monkeypatch.setattr(sorting, "RUN_RECORDS", 256)
    monkeypatch.setattr(sorting.Sorter, "new_file", one_of_each)
    der = crl(*USUAL)
    assert written(tmp_path / "x.idx", spooled(der)) == written(tmp_path / "x.idx", der)


def test_index_that_finds_no_room_beside_two_is_written_by_one(tmp_path, monkeypatch):
    """What two sort takes half as much room again; where there is none left for the index, one does it, or tells."""
    room = [False, True]
    write_sections = writing.write_sections

    def where_there_is_room(path, shape, blobs):
        if not room or not room.pop(0):
            raise StoreUnavailable("no space left")
        return write_sections(path, shape, blobs)

    monkeypatch.setattr(writing, "write_sections", where_there_is_room)
    der = crl(*USUAL)
    assert write_crl_index(tmp_path / "x.idx", spooled(der), read_header(der)) == len(USUAL)
    with pytest.raises(StoreUnavailable):
        write_crl_index(tmp_path / "x.idx", spooled(der), read_header(der))


def test_crl_is_parted_only_where_that_is_right_and_helps(monkeypatch):
    """Not an indirect one, nor one of a few entries, in this process's own memory, or on one processor."""
    der = crl(*USUAL)
    indirect = crl(*USUAL, entry(b"\x05", certificate_issuer(bytes(2))), extensions=(INDIRECT,))
    assert middle(spooled(indirect), read_header(indirect)) is None
    assert middle(der, read_header(der)) is None
    few = crl(*USUAL[:20])
    assert middle(spooled(few), read_header(few)) is None
    monkeypatch.setattr(halves, "_processors", lambda: 1)
    assert middle(spooled(der), read_header(der)) is None


def test_spooled_octets_tell_their_file_while_they_are_used():
    """Another process can map it; a part of them, and what lies in memory, tells none."""
    view = spooled(b"0123456789")
    file = spool_file(view)
    assert file is not None
    file.seek(0)
    assert file.read() == b"0123456789"
    assert spool_file(view[1:]) is None
    assert spool_file(b"0123456789") is None
    del view
    assert file.closed
