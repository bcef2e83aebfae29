"""How index files are opened by who answers: copied, mapped or read by position, each within its room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vouchd.errors import IndexFileError
from vouchd.index import octets
from vouchd.index.format import RevocationIndexFile
from vouchd.index.octets import SMALL_OCTETS, AnsweringOctets, CopiedOctets, MappedOctets, PositionedOctets
from vouchd.index.writing import write_index
from vouchd.pkix.reasons import RevocationEntry

ENTRY_OCTETS = 26
MANY = 10_000


def index_of(folder: Path, name: str, entries: int) -> Path:
    """An index file of the serials from 1 on."""
    path = folder / name
    write_index(path, (RevocationEntry(number.to_bytes(4, "big"), number) for number in range(1, entries + 1)))
    return path


def test_small_file_is_copied(tmp_path):
    """A map holds a descriptor for as long as it is there; most CRLs are short."""
    path = index_of(tmp_path, "x.idx", 10)
    assert isinstance(AnsweringOctets()(path), CopiedOctets)


def test_large_file_is_mapped(tmp_path):
    """What is large is shared by all who answer."""
    assert isinstance(AnsweringOctets()(index_of(tmp_path, "x.idx", SMALL_OCTETS // ENTRY_OCTETS)), MappedOctets)


def test_copies_and_maps_without_room_are_read_by_position(tmp_path):
    """Neither memory nor descriptors are used up, however many files there are; all of them are answered from."""
    small, large = index_of(tmp_path, "a.idx", 10), index_of(tmp_path, "b.idx", SMALL_OCTETS // ENTRY_OCTETS)
    answering = AnsweringOctets(copied_octets=small.stat().st_size, maps=2)
    kept = [answering(path) for path in (small, small, large, large)]
    assert [type(octets) for octets in kept] == [CopiedOctets, MappedOctets, MappedOctets, PositionedOctets]
    assert RevocationIndexFile(large, octets=answering).find(b"\x05").revocation_time == 5


def test_room_comes_back_with_what_is_let_go(tmp_path):
    """An index that is replaced again and again takes its room once."""
    small, large = index_of(tmp_path, "a.idx", 10), index_of(tmp_path, "b.idx", SMALL_OCTETS // ENTRY_OCTETS)
    answering = AnsweringOctets(copied_octets=small.stat().st_size, maps=1)
    assert [type(answering(path)) for path in (small, large) * 3] == [CopiedOctets, MappedOctets] * 3


def test_missing_file_is_an_index_file_error(tmp_path):
    """It is made again, as a damaged one is."""
    with pytest.raises(IndexFileError):
        AnsweringOctets()(tmp_path / "none")


def test_copy_that_is_cut_short_is_an_index_file_error(tmp_path, monkeypatch):
    """What is lost while a file is read is not taken for its end."""
    (tmp_path / "small.idx").write_bytes(bytes(100))
    monkeypatch.setattr(octets.os, "read", lambda _, size: bytes(size - 1))
    with pytest.raises(IndexFileError, match="cut short"):
        CopiedOctets(tmp_path / "small.idx")


@pytest.mark.parametrize("entries", [1, SMALL_OCTETS // ENTRY_OCTETS])
def test_ten_thousand_issuing_points_open_under_a_limit_of_1024_descriptors(tmp_path, entries):
    """However many files there are and however large, few descriptors are held."""
    path = index_of(tmp_path, "x.idx", entries)
    program = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))\n"
        "from vouchd.index.format import RevocationIndexFile\n"
        "from vouchd.index.octets import AnsweringOctets\n"
        "answering = AnsweringOctets()\n"
        f"files = [RevocationIndexFile(sys.argv[1], octets=answering) for _ in range({MANY})]\n"
        "assert all(file.find(b'\\x01').revocation_time == 1 for file in files)\n"
        "print(len(os.listdir('/proc/self/fd')))\n"
    )
    output = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert int(output.stdout) < 1024 // 2
