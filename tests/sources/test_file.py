"""CRLs in files: noticed when replaced, left alone while being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vouchd.errors import SourceError
from vouchd.service.pulling import Validator
from vouchd.sources.file import FileSource

WHOLE = b"\x30\x03abc"
LONG = b"\x30\x82\x01\x00" + b"x" * 256


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ca.crl"


def source(path: Path, max_bytes: int = 10_000) -> FileSource:
    return FileSource(path, max_bytes=max_bytes)


@pytest.mark.parametrize("content", [WHOLE, LONG])
def test_whole_file_is_delivered_at_once(path, content):
    """A file whose outer DER length fits is complete and delivered at the first look."""
    path.write_bytes(content)
    assert source(path).fetch(Validator()).documents == (content,)


def test_unchanged_file_is_not_read_again(path):
    """A file with the same inode, size and time as before is no news."""
    path.write_bytes(WHOLE)
    watched = source(path)
    assert watched.fetch(watched.fetch(Validator()).validator) is None


def test_replaced_file_of_the_same_size_and_time_is_noticed(path):
    """A file that took another one's place is news although size and time are the same."""
    path.write_bytes(WHOLE)
    os.utime(path, (1000, 1000))
    watched = source(path)
    before = watched.fetch(Validator())
    other = path.with_name("new")
    other.write_bytes(b"\x30\x03xyz")
    os.utime(other, (1000, 1000))
    other.replace(path)
    assert watched.fetch(before.validator).documents == (b"\x30\x03xyz",)


def test_half_written_file_is_left_alone_until_it_is_whole(path):
    """While a file grows nothing is delivered; when it is whole it is."""
    watched = source(path)
    path.write_bytes(LONG[:100])
    assert watched.fetch(Validator()) is None
    path.write_bytes(LONG[:200])
    os.utime(path, (2000, 2000))
    assert watched.fetch(Validator()) is None
    path.write_bytes(LONG)
    assert watched.fetch(Validator()).documents == (LONG,)


@pytest.mark.parametrize("content", [b"-----BEGIN X509 CRL-----\n", LONG[:100], WHOLE + b"tail", b""])
def test_file_without_a_der_end_is_delivered_once_it_rests(path, content):
    """PEM has no length to check, nor has a damaged file: it is delivered when two looks find it the same."""
    path.write_bytes(content)
    watched = source(path)
    assert watched.fetch(Validator()) is None
    assert watched.fetch(Validator()).documents == (content,)


def test_missing_file_is_an_error(path):
    """A file that is not there is an error with its path."""
    with pytest.raises(SourceError, match=r"ca\.crl: No such file"):
        source(path).fetch(Validator())


def test_file_beyond_the_limit_is_refused(path):
    """A file larger than the limit is not read."""
    path.write_bytes(LONG)
    with pytest.raises(SourceError, match="the limit is 100"):
        source(path, max_bytes=100).fetch(Validator())
