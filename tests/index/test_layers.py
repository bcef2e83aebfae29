"""An index in two layers: base and changes together say what one index of all of it would."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pkix import crls
from tests.pkix.crls import crl, entry, reason

from vouchd.core.facts import IndexNames
from vouchd.errors import IndexFileError
from vouchd.index import format as index_format
from vouchd.index import layers
from vouchd.index.format import ChangesFile, RevocationIndexFile
from vouchd.index.layers import Index, LayeredIndex, difference, fold, missing, open_index
from vouchd.index.octets import MappedOctets, PositionedOctets
from vouchd.index.writing import write_crl_index, write_index
from vouchd.pkix.crl import read_header
from vouchd.pkix.packed import minimal
from vouchd.pkix.reasons import Reason, RevocationEntry

REMOVED = int(Reason.REMOVE_FROM_CRL)
WIDE = int.from_bytes(b"\x01" * 20, "big")
NAMES = IndexNames("whole.idx", "base.idx", "changes.delta")

NUMBERS = st.integers(-300, 2000) | st.just(WIDE) | st.just(-WIDE)
BASES = st.sets(NUMBERS, max_size=600)
CHANGES = st.dictionaries(NUMBERS, st.sampled_from([1, 6, REMOVED]), max_size=40)


def octets(value: int) -> bytes:
    return minimal(value.to_bytes(64, "big", signed=True))


def number(serial: bytes) -> int:
    return int.from_bytes(serial, "big", signed=True)


@pytest.fixture(autouse=True)
def short_passes(monkeypatch):
    """Few entries do what millions would: files are read in several passes."""
    monkeypatch.setattr(index_format, "MANY_RECORDS", 32)
    monkeypatch.setattr(layers, "MANY_RECORDS", 32)


def write(path, entries: dict[int, int], *, delta: bool = False) -> None:
    extensions = (crls.crl_number(2), crls.delta_indicator(1)) if delta else ()
    der = crl(*(entry(octets(n), reason(code)) for n, code in entries.items()), extensions=extensions)
    write_crl_index(path, der, read_header(der))


def layered(folder, base: set[int], changes: dict[int, int], octets=PositionedOctets) -> LayeredIndex:
    write(folder / NAMES.base, dict.fromkeys(base, 4))
    write(folder / NAMES.changes, changes, delta=True)
    return LayeredIndex(
        RevocationIndexFile(folder / NAMES.base, octets=octets), ChangesFile(folder / NAMES.changes, octets=octets)
    )


def merged(base: set[int], changes: dict[int, int]) -> dict[int, int]:
    """What a dictionary makes of it (RFC 5280 5.2.4)."""
    return {n: code for n, code in (dict.fromkeys(base, 4) | changes).items() if code != REMOVED}


def rebuilt(path, base: set[int], changes: dict[int, int]) -> RevocationIndexFile:
    """One index of all of it, built anew."""
    write(path, merged(base, changes))
    return RevocationIndexFile(path)


@given(BASES, CHANGES, st.sets(NUMBERS, max_size=40), st.sampled_from([MappedOctets, PositionedOctets]))
def test_layers_say_of_every_serial_what_one_index_built_anew_says(tmp_path_factory, base, changes, others, opened):
    """Listed or not, revoked or removed, of any width: the answer does not depend on how the index is kept."""
    folder = tmp_path_factory.mktemp("index")
    index = layered(folder, base, changes, opened)
    single = rebuilt(folder / "single.idx", base, changes)
    assert len(index) == len(single)
    for serial in map(octets, base | changes.keys() | others):
        assert index.find(serial) == single.find(serial)
    assert sorted(index, key=lambda e: e.serial) == sorted(single, key=lambda e: e.serial)


@given(BASES, CHANGES)
def test_folded_layers_are_the_index_built_anew(tmp_path_factory, base, changes):
    """Folding changes no answer, takes nothing away, and gives the same bytes to everybody who folds."""
    folder = tmp_path_factory.mktemp("index")
    index = layered(folder, base, changes)
    count = fold(folder / NAMES.whole, index)
    folded = open_index(folder, NAMES, lambda kind, name: kind(folder / name))
    assert isinstance(folded, RevocationIndexFile)
    folded.verify()
    single = rebuilt(folder / "single.idx", base, changes)
    assert count == len(single)
    assert list(folded) == list(single)
    first = (folder / NAMES.whole).read_bytes()
    fold(folder / NAMES.whole, layered(folder, base, changes))
    assert (folder / NAMES.whole).read_bytes() == first


@given(BASES, CHANGES, BASES, CHANGES, st.booleans(), st.booleans())
def test_difference_is_that_of_the_merged_entries(tmp_path_factory, base, old, other, new, same, folded):
    """The numbers that a quarantine is decided by, and the serials shown, are those of two indexes built anew."""
    folders = [tmp_path_factory.mktemp("index") for _ in range(2)]
    before = layered(folders[0], base, old)
    after: Index
    if same:
        write(folders[0] / "after.delta", new, delta=True)
        after = LayeredIndex(before.base, ChangesFile(folders[0] / "after.delta"))
    else:
        after = layered(folders[1], other, new)
    left, right = merged(base, old).keys(), merged(base if same else other, new).keys()
    if folded:
        fold(folders[1] / NAMES.whole, after)
        after = RevocationIndexFile(folders[1] / NAMES.whole)
    assert difference(before, after) == (len(left - right), len(right - left), len(left))
    lacking = [number(serial) for serial in missing(before, after, 5)]
    in_order = sorted(left - right, key=lambda n: (n < 0, n))
    assert lacking == in_order[:5]


def test_revocation_goes_before_removal_in_one_delta(tmp_path):
    """A delta that both revokes and removes one serial revokes it: never a silent `good`."""
    for listed in ([REMOVED, 1], [1, REMOVED]):
        extensions = (crls.crl_number(2), crls.delta_indicator(1))
        der = crl(*(entry(b"\x05", reason(code)) for code in listed), extensions=extensions)
        write(tmp_path / NAMES.base, {5: 4})
        write_crl_index(tmp_path / NAMES.changes, der, read_header(der))
        index = LayeredIndex(RevocationIndexFile(tmp_path / NAMES.base), ChangesFile(tmp_path / NAMES.changes))
        assert index.find(b"\x05").reason is Reason.KEY_COMPROMISE


@pytest.mark.parametrize("name", [NAMES.base, NAMES.changes])
def test_damage_in_either_layer_is_never_another_answer(tmp_path, name):
    """A flipped octet in base or changes is an error of the serials whose answer lies there."""
    index = layered(tmp_path, set(range(100)), {5: REMOVED, 7: 1, 200: 1})
    path = tmp_path / name
    whole = path.read_bytes()
    for place in range(64, len(whole)):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x21,)) + whole[place + 1 :])
        for n, revoked in ((5, False), (6, True), (7, True), (200, True), (300, False)):
            with suppress(IndexFileError):
                assert (index.find(octets(n)) is not None) is revoked


def test_changes_are_not_taken_for_an_index(tmp_path):
    """What a delta says alone is no list of what is revoked."""
    layered(tmp_path, {1}, {2: 1})
    with pytest.raises(IndexFileError, match="changes"):
        RevocationIndexFile(tmp_path / NAMES.changes)
    with pytest.raises(IndexFileError, match="revocations"):
        ChangesFile(tmp_path / NAMES.base)


def test_base_alone_is_opened_where_there_is_no_delta(tmp_path):
    """A complete CRL has one file."""
    write_index(tmp_path / NAMES.base, [RevocationEntry(b"\x05", 1)])
    alone = IndexNames(NAMES.base, NAMES.base)
    assert isinstance(open_index(tmp_path, alone, lambda kind, name: kind(tmp_path / name)), RevocationIndexFile)
