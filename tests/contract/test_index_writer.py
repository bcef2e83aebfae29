"""The contract of IndexWriter over the folder of index files and over the one in memory that tests of services use."""

from __future__ import annotations

import pytest
from cryptography import x509
from tests.pki import CA, serial_octets
from tests.pkix import crls
from tests.service.memory_indexes import MemoryIndexes

from vouchd.core.facts import IndexNames
from vouchd.errors import CRLRejected, IndexFileError, StoreUnavailable
from vouchd.index.folder import IndexFolder
from vouchd.index.format import RevocationIndexFile
from vouchd.index.octets import MappedOctets
from vouchd.pkix import certs

REMOVE = x509.ReasonFlags.remove_from_crl
SERIALS = "c.ser"
# Of two epochs, each with a delta and without.
BASE, CHANGED = IndexNames("a.idx", "a.idx"), IndexNames("ad.idx", "a.idx", "ad.delta")
OTHER, OTHER_CHANGED = IndexNames("b.idx", "b.idx"), IndexNames("bd.idx", "b.idx", "bd.delta")
NAME = BASE.base


@pytest.fixture(params=["folder", "memory"])
def writer(request, tmp_path):
    return IndexFolder(tmp_path) if request.param == "folder" else MemoryIndexes()


@pytest.fixture
def ca():
    return CA.create("Lab CA")


@pytest.fixture
def write(writer, ca):
    def write(index: IndexNames, base: bytes, delta: bytes | None = None) -> int:
        issuer = certs.subject_der(ca.certificate)
        count = writer.write(index.base, lambda: base, issuer)
        if delta is not None:
            writer.write(index.changes, lambda: delta, issuer)
        return count if delta is None else writer.count(index)

    return write


def test_write_counts_the_entries(write, writer, ca):
    """The count is that of the serials in the file."""
    assert write(BASE, ca.crl(dict.fromkeys(range(1, 8)))) == 7
    assert writer.is_intact(NAME)
    assert writer.names() == {NAME}


def test_write_with_delta_counts_the_merged_entries(write, ca):
    """A delta adds and removes."""
    assert write(CHANGED, ca.crl({1: None, 2: None}), ca.crl({1: REMOVE, 3: None, 4: None, 9: REMOVE}, base=1)) == 3


def test_write_again_counts_the_same(write, ca):
    """A file that is there is right: writing it again is cheap and gives the same count."""
    crl = ca.crl({1: None})
    assert write(BASE, crl) == write(BASE, crl) == 1


def test_write_malformed_entry_leaves_no_file(write, writer):
    """A CRL that turns out to be malformed at an entry leaves nothing."""
    with pytest.raises(CRLRejected):
        write(BASE, crls.crl(crls.entry(b"\x05", crls.extension(b"\x63", b"", critical=True))))
    assert writer.names() == frozenset()
    assert not writer.is_intact(NAME)


def test_write_serials_is_intact(writer):
    """The set of issued serials is a file like any other."""
    writer.write_serials(SERIALS, [serial_octets(number) for number in (5, 3, 5)])
    assert writer.is_intact(SERIALS)
    assert writer.names() == {SERIALS}


@pytest.mark.parametrize(
    "old, new, expected",
    [
        (range(1, 5), range(1, 5), (0, 0, 4)),
        (range(1, 5), range(3, 9), (2, 4, 4)),
        (range(0), range(1, 3), (0, 2, 0)),
        (range(1, 3), range(0), (2, 0, 2)),
        (range(1, 1000, 2), range(2, 1000, 2), (500, 499, 500)),
        (range(1, 3), range(2**80, 2**80 + 3), (2, 3, 2)),
    ],
)
def test_difference_counts_lost_gained_and_before(write, writer, ca, old, new, expected):
    """Serials are compared as numbers, however wide the files' keys are."""
    write(BASE, ca.crl(dict.fromkeys(old)))
    write(OTHER, ca.crl(dict.fromkeys(new)))
    assert writer.difference(BASE, OTHER) == expected


@pytest.mark.parametrize(
    ("old", "new", "lacking"),
    [
        (range(1, 5), range(1, 5), ()),
        (range(1, 5), range(3, 9), (1, 2)),
        (range(1, 1000, 2), range(2, 1000, 2), (1, 3, 5)),
        (range(2**80, 2**80 + 3), range(1, 3), (2**80, 2**80 + 1, 2**80 + 2)),
        ((127, 128, 255, 256), (127,), (128, 255, 256)),
    ],
)
def test_missing_names_the_first_serials_that_are_gone(write, writer, ca, old, new, lacking):
    """At most so many as asked for, lowest first, as DER INTEGER content octets however wide the files' keys are."""
    write(BASE, ca.crl(dict.fromkeys(old)))
    write(OTHER, ca.crl(dict.fromkeys(new)))
    assert writer.missing(BASE, OTHER, 3) == tuple(serial_octets(number) for number in lacking)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, {4: None, 1: REMOVE}, (1, 1, 3)),
        ({4: None}, {4: None, 1: REMOVE}, (1, 0, 4)),
        ({4: None, 1: REMOVE}, None, (1, 1, 3)),
        ({1: REMOVE, 9: REMOVE}, {1: REMOVE, 2: None}, (0, 0, 2)),
        ({2**80: None}, {5: None}, (1, 1, 4)),
    ],
)
@pytest.mark.parametrize("folded", [False, True])
def test_difference_between_deltas_is_that_of_the_merged_entries(write, writer, ca, old, new, expected, folded):
    """On one base as on two, and whether or not changes were folded: the numbers a quarantine is decided by."""
    base = ca.crl(dict.fromkeys(range(1, 4)))
    for other in (IndexNames("cd.idx", "a.idx", "cd.delta"), OTHER_CHANGED):
        before, after = (
            (BASE if old is None else CHANGED),
            (IndexNames(other.base, other.base) if new is None else other),
        )
        write(before, base, ca.crl(old, base=1) if old else None)
        write(after, base, ca.crl(new, base=1) if new else None)
        if folded and before.changes:
            writer.fold(before)
        assert writer.difference(before, after) == expected
        assert len(writer.missing(before, after, 10)) == expected[0]
        assert len(writer.missing(after, before, 10)) == expected[1]


def test_write_under_a_delta_leaves_the_base_as_it_is(write, writer, ca):
    """A delta costs a file of its own; the CRL that is indexed already is not even asked for."""
    write(BASE, ca.crl({1: None}))

    def never() -> bytes:
        raise AssertionError("the base is there")

    assert writer.write(CHANGED.base, never, b"") == 1
    assert writer.names() == {BASE.base}


def test_fold_makes_one_file_of_both(write, writer, ca):
    """It is there beside base and changes, and has the entries of both."""
    write(CHANGED, ca.crl({1: None, 2: None}), ca.crl({1: REMOVE, 3: None}, base=1))
    writer.fold(CHANGED)
    assert writer.names() == set(CHANGED)
    writer.remove(CHANGED.base)
    writer.remove(CHANGED.changes)
    assert writer.difference(CHANGED, CHANGED) == (0, 0, 2)


def test_remove_twice_is_no_error(write, writer, ca):
    """Removing what is not there is fine."""
    write(BASE, ca.crl({1: None}))
    writer.remove(NAME)
    writer.remove(NAME)
    assert not writer.is_intact(NAME)
    assert writer.names() == frozenset()


# What the folder adds


@pytest.fixture
def folder(tmp_path):
    return IndexFolder(tmp_path)


def test_folder_removed_file_stays_with_whoever_mapped_it(folder, tmp_path, ca):
    """A worker goes on with the map of a file that was swept."""
    folder.write(NAME, lambda: ca.crl({5: None}), certs.subject_der(ca.certificate))
    mapped = RevocationIndexFile(tmp_path / NAME, octets=MappedOctets)
    folder.remove(NAME)
    assert mapped.find(b"\x05") is not None


def test_folder_damaged_file_is_not_intact_and_written_anew(folder, tmp_path, ca):
    """A file that was changed behind our back is noticed although it was whole before."""
    crl, issuer = ca.crl({5: None}), certs.subject_der(ca.certificate)
    folder.write(NAME, lambda: crl, issuer)
    assert folder.is_intact(NAME)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-1] + b"\xff\xff")
    assert not folder.is_intact(NAME)
    assert folder.write(NAME, lambda: crl, issuer) == 1
    assert folder.is_intact(NAME)


def test_folder_file_in_the_place_of_one_that_was_opened_is_opened_anew(folder, tmp_path, ca):
    """What is remembered of a file that was opened counts for that file alone, not for its name."""
    issuer = certs.subject_der(ca.certificate)
    folder.write(NAME, lambda: ca.crl({5: None}), issuer)
    assert folder.count(BASE) == 1
    (tmp_path / "other").mkdir()
    IndexFolder(tmp_path / "other").write(NAME, lambda: ca.crl({5: None, 6: None}), issuer)
    (tmp_path / "other" / NAME).replace(tmp_path / NAME)
    assert folder.count(BASE) == 2
    (tmp_path / NAME).unlink()
    with pytest.raises(IndexFileError):
        folder.count(BASE)


def test_folder_names_tell_leftovers_but_no_foreign_files(folder, tmp_path):
    """What was left of writing is told, so that it is swept; the manifest and strange files are not ours to sweep."""
    for name in ("a.idx.1234.part", "manifest.log", "README"):
        (tmp_path / name).touch()
    assert folder.names() == {"a.idx.1234.part"}


def test_folder_missing_is_unavailable(tmp_path, ca):
    """A folder that cannot be written or read is StoreUnavailable, with a hint."""
    folder = IndexFolder(tmp_path / "nowhere")
    for act in (
        lambda: folder.write(NAME, lambda: ca.crl({1: None}), certs.subject_der(ca.certificate)),
        lambda: folder.write_serials(SERIALS, [b"\x01"]),
        folder.names,
    ):
        with pytest.raises(StoreUnavailable) as caught:
            act()
        assert caught.value.hint
