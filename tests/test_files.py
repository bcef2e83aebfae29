"""The writer of files: whole or not at all, durable, private; and reading that is bounded."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from vouchd import files
from vouchd.errors import AlreadyExists, ConfigError, IssuanceError, SigningError, StoreUnavailable
from vouchd.files import (
    MAX_BYTES,
    PUBLIC,
    Spool,
    append_file,
    mapped_copy,
    read_file,
    read_secret,
    read_tail,
    replace_file,
    replacing,
    write_new,
    write_output,
)


def test_writer_new_file_is_private_and_alone(tmp_path: Path) -> None:
    """A file is readable by its owner alone unless a mode is given, and nothing else is left beside it."""
    write_new(tmp_path / "key", b"secret")
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_writer_mode_holds_whatever_the_umask(tmp_path: Path) -> None:
    """What all are to read is readable although the umask would take that away."""
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "crl", b"der", PUBLIC)
    finally:
        os.umask(before)
    assert (tmp_path / "crl").stat().st_mode & 0o777 == 0o644


def test_writer_taken_name_is_refused_and_kept(tmp_path: Path) -> None:
    """A new file never replaces one that has the name."""
    (tmp_path / "key").write_bytes(b"old")
    with pytest.raises(AlreadyExists):
        write_new(tmp_path / "key", b"new")
    assert (tmp_path / "key").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_writer_that_fails_midway_leaves_the_old_file(tmp_path: Path) -> None:
    """A block that raises changes nothing and leaves nothing."""
    (tmp_path / "index").write_bytes(b"old")

    def fail() -> None:
        with replacing(tmp_path / "index") as file:
            file.write(b"half")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert (tmp_path / "index").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_writer_disk_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails leaves the old file whole and no remains beside it."""
    (tmp_path / "ca.crl").write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(IssuanceError, match="No space"):
        replace_file(tmp_path / "ca.crl", b"new", error=IssuanceError)
    assert (tmp_path / "ca.crl").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["ca.crl"]


@pytest.mark.parametrize("error", [StoreUnavailable, SigningError, IssuanceError])
def test_writer_folder_that_is_not_there_is_the_callers_error(tmp_path: Path, error: type[Exception]) -> None:
    """What the system refuses is told as an error of the family that the caller names, with what to do."""
    for write in (write_new, replace_file):
        with pytest.raises(error) as raised:
            write(tmp_path / "missing" / "file", b"", error=error)
        assert raised.value.hint  # type: ignore[attr-defined]


@pytest.mark.parametrize("durable", [True, False])
def test_writer_brings_file_then_folder_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    """The bytes are on disk before the name is, and the name before the writer returns."""
    synced: list[tuple[bool, list[str]]] = []

    def fsync(descriptor: int, real=os.fsync) -> None:  # type: ignore[no-untyped-def]
        target = Path(f"/proc/self/fd/{descriptor}")
        synced.append((target.is_dir(), [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(tmp_path / "CS.cfg", b"a=b\n", durable=durable)
    assert synced == ([(False, []), (True, ["CS.cfg"])] if durable else [])


def test_output_goes_into_a_pipe_and_replaces_a_file(tmp_path: Path) -> None:
    """What a person names may be a device or a pipe: it is written to, never replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_output(pipe, b"answer")
        assert os.read(reader, 16) == b"answer"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_output(tmp_path / "link", b"answer")
    assert (tmp_path / "file").read_bytes() == b"answer"
    assert (tmp_path / "link").is_symlink()


def test_reader_refuses_what_is_too_large(tmp_path: Path) -> None:
    """A file is never read further than its bound."""
    (tmp_path / "big").write_bytes(b"x" * 11)
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        read_file(tmp_path / "big", 10, error=ConfigError)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none")


def test_pipe_is_read_whole_and_bounded_as_well(tmp_path: Path) -> None:
    """What tells no size beforehand comes in pieces, and no more of it is taken than is allowed."""
    for octets, limit in ((b"x" * 200_000, 200_000), (b"", 10), (b"x" * 200_001, 200_000)):
        pipe = tmp_path / f"pipe{len(octets)}"
        os.mkfifo(pipe)
        writer = threading.Thread(target=_write, args=(pipe, octets))
        writer.start()
        try:
            if len(octets) <= limit:
                assert read_file(pipe, limit) == octets
            else:
                with pytest.raises(ConfigError, match="larger than 200000 bytes"):
                    read_file(pipe, limit, error=ConfigError)
        finally:
            writer.join()


class _Piece(bytes):
    """Octets that may be put together with others, all at once, and not be added to them."""

    def __add__(self, other: object) -> bytes:
        raise AssertionError("what is there would be copied for each piece")

    __radd__ = __add__


def test_what_comes_in_pieces_is_put_together_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CRL of hundreds of megabytes that comes through a pipe takes steps in proportion to its size."""
    path, pieces = tmp_path / "pipe", [_Piece(b"ab"), _Piece(b"cd"), _Piece(b"e"), b""]
    path.touch()
    monkeypatch.setattr("vouchd.files.os.read", lambda *_: pieces.pop(0))
    assert read_file(path) == b"abcde"


def _write(path: Path, octets: bytes) -> None:
    """To a reader that may go before all is written."""
    with suppress(BrokenPipeError):
        path.write_bytes(octets)


def test_file_that_is_added_to_is_private_and_begun_anew_at_its_limit(tmp_path: Path) -> None:
    """What can be done without stays bounded: the newest of it is what is kept."""
    path = tmp_path / "grows"
    for octets in (b"abc", b"def"):
        append_file(path, octets, 7)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"abcdef", 0o600)
    append_file(path, b"gh", 7)
    assert path.read_bytes() == b"gh"
    with pytest.raises(ConfigError):
        append_file(tmp_path, b"x", 7, error=ConfigError)


def test_reader_of_a_tail_reads_so_many_octets_at_most(tmp_path: Path) -> None:
    """Of a log, however long, only its end is read, and nothing of before."""
    path = tmp_path / "log"
    assert read_tail(path, 10) == b""
    path.write_bytes(b"0123456789")
    assert (read_tail(path, 4), read_tail(path, 100)) == (b"6789", b"0123456789")
    assert (read_tail(path, 100, begin=7), read_tail(path, 2, begin=7)) == (b"789", b"89")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tail(tmp_path, 4, error=ConfigError)


def test_reader_refuses_a_secret_that_others_may_read(tmp_path: Path) -> None:
    """A password or key that the group may read is refused with the command that mends it."""
    path = tmp_path / "password"
    path.write_bytes(b"x")
    path.chmod(0o640)
    with pytest.raises(SigningError) as raised:
        read_secret(path)
    assert raised.value.hint == f"chmod 600 {path}"


def test_mapped_copy_is_what_was_there_whatever_becomes_of_the_file(tmp_path):
    """What was verified is what is used: the file may be written to, cut short or removed meanwhile."""
    path = tmp_path / "large"
    path.write_bytes(b"verified" * 1000)
    copy = mapped_copy(path, 8000)
    path.write_bytes(b"other")
    path.unlink()
    assert copy == b"verified" * 1000
    assert copy.readonly


@pytest.mark.parametrize("size", [0, 1, 7999, 8000])
def test_mapped_copy_of_any_size_within_the_limit(tmp_path, size):
    """An empty file cannot be mapped, and is read all the same."""
    (tmp_path / "large").write_bytes(b"x" * size)
    assert mapped_copy(tmp_path / "large", 8000) == b"x" * size


@pytest.mark.parametrize("pieces", [(), (b"ab", b"c"), (b"x" * MAX_BYTES, b"y", b"z" * 100), (b"",)])
def test_spool_has_what_was_written_last_large_or_small(pieces):
    """In memory or in a file, the octets come back in their order, and none of those before it was cleared."""
    spool = Spool()
    for before in ((b"former",), (b"f" * MAX_BYTES, b"ormer"), ()):
        for piece in (*before, *pieces):
            spool.write(piece)
        if before:
            spool.clear()
    view = spool.view()
    assert view.readonly
    assert view == b"".join(pieces)
    assert spool.view() is view


def test_spool_without_room_says_so(monkeypatch):
    """What finds no room is an error of the family that was named."""
    monkeypatch.setattr(files, "_LARGE_FOLDER", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    spool = Spool(ConfigError)
    spool.write(b"small")
    with pytest.raises(ConfigError, match="no room"):
        spool.write(b"x" * MAX_BYTES)


def test_spool_where_its_usual_folder_is_not_to_be_written_to_is_elsewhere(monkeypatch, tmp_path):
    """In a container whose file system is read-only the folder for temporary files does."""
    monkeypatch.setattr(files, "_LARGE_FOLDER", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool()
    spool.write(b"x" * (MAX_BYTES + 1))
    assert spool.view() == b"x" * (MAX_BYTES + 1)


def test_mapped_copy_beyond_the_limit_or_of_nothing_is_refused(tmp_path):
    """Never more is copied than is wanted."""
    (tmp_path / "large").write_bytes(b"x" * 8001)
    with pytest.raises(StoreUnavailable, match="larger than 8000 bytes"):
        mapped_copy(tmp_path / "large", 8000)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        mapped_copy(tmp_path / "none", 8000)
