"""One look-up over many issuing points decides as all of them asked one by one, in every state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, DAY, HOUR, NOW, serial_octets
from tests.serving import entry, point, serving

from vouchd.core.facts import ExpiredCRLPolicy
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingAuthority, ServingPoint, decide
from vouchd.errors import IndexFileError, TryLater
from vouchd.index.format import RevocationIndexFile
from vouchd.index.sections import HEADER_BYTES
from vouchd.index.serving import MANY_POINTS, SMALL_ENTRIES, MergedPoints
from vouchd.index.writing import write_index
from vouchd.pkix.reasons import Reason
from vouchd.pkix.scope import Scope

ONE = CA.create("CA one")
NUMBERS = (-129, -1, 0, 1, 2, 127, 128, 255, 256, 2**64, 2**158)
REASONS = st.sampled_from([Reason.KEY_COMPROMISE, Reason.CERTIFICATE_HOLD])
ENTRIES = st.dictionaries(st.sampled_from(NUMBERS), st.tuples(REASONS, st.integers(1, 5)), max_size=4)
PARTITIONS = st.lists(st.tuples(ENTRIES, st.sampled_from([NOW - 1, NOW + DAY, NOW + HOUR])), min_size=3, max_size=8)


def written(folder: Path, number: int, entries, next_update: int) -> ServingPoint:
    """The partition of that number in a file, as workers read it."""
    scope = Scope(scope_id=f"{number:064x}", distribution_point_der=b"%d" % number, only_attribute=number == 1)
    rows = [entry(serial, reason, revocation_time=time) for serial, (reason, time) in entries.items()]
    path = folder / f"{number}-{len(list(folder.iterdir()))}.idx"
    write_index(path, rows)
    made = point(ONE, scope=scope, next_update=next_update)
    return replace(made, index=RevocationIndexFile(path))


def authority(points: list[ServingPoint], merged: MergedPoints | None) -> ServingAuthority:
    scopes = tuple(one.scope.scope_id for one in points if not one.scope.only_attribute)
    return replace(serving(ONE, *points, expected_scopes=scopes), partitions=merged)


def decided(ours: ServingAuthority, number: int, expired: ExpiredCRLPolicy):
    """The decision, or the cause of none."""
    try:
        return decide(ours, serial_octets(number), ResponsePolicy(expired_crl=expired), NOW)
    except TryLater as error:
        return error.cause


def many(folder: Path, partitions) -> list[ServingPoint]:
    """Points of these partitions, and empty ones until they are many."""
    rows = [*partitions, *[({}, NOW + DAY)] * (MANY_POINTS - len(partitions))]
    return [written(folder, number, *row) for number, row in enumerate(rows)]


@given(PARTITIONS, PARTITIONS, st.sampled_from(ExpiredCRLPolicy))
def test_merged_points_decide_as_each_asked_by_itself_also_while_they_change(tmp_path_factory, first, second, expired):
    """Whatever the partitions list, and whatever they listed before: former and new state are each decided rightly."""
    folder = tmp_path_factory.mktemp("indexes")
    before = many(folder, first)
    merged = MergedPoints.of(tuple(before), None)
    after = [*(written(folder, number, *row) for number, row in enumerate(second)), *before[len(second) :]]
    following = MergedPoints.of(tuple(after), merged)
    for points, lookup in ((before, merged), (before, following), (after, following)):
        for number in NUMBERS:
            alone = decided(authority(points, None), number, expired)
            assert decided(authority(points, lookup), number, expired) == alone


def test_merged_points_are_for_many_small_ones(tmp_path):
    """A few points are asked one by one, and so is a large one among many."""
    points = many(tmp_path, [])
    assert MergedPoints.of(tuple(points[:-1]), None) is None
    write_index(tmp_path / "large.idx", (entry(number) for number in range(1, SMALL_ENTRIES + 2)))
    large = replace(points[0], index=RevocationIndexFile(tmp_path / "large.idx"))
    merged = MergedPoints.of((large, *points[1:]), None)
    assert [merged.holds(one.index) for one in (large, *points[1:])] == [False] + [True] * (MANY_POINTS - 1)
    assert decided(authority([large, *points[1:]], merged), 5, ExpiredCRLPolicy.TRY_LATER).status.value == "revoked"


def test_merged_points_ask_no_file_for_what_none_lists(tmp_path, monkeypatch):
    """A serial that no partition lists costs no look-up in any of them."""
    points = many(tmp_path, [({5: (Reason.KEY_COMPROMISE, 1)}, NOW + DAY)])
    ours = authority(points, MergedPoints.of(tuple(points), None))
    sought = []
    find = RevocationIndexFile.find
    monkeypatch.setattr(RevocationIndexFile, "find", lambda self, serial: sought.append(serial) or find(self, serial))
    assert decided(ours, 7, ExpiredCRLPolicy.TRY_LATER).status.value == "good"
    assert not sought
    assert decided(ours, 5, ExpiredCRLPolicy.TRY_LATER).status.value == "revoked"
    assert len(sought) == 1


def test_damaged_point_is_not_merged_and_says_so_itself(tmp_path):
    """What cannot be read is asked by itself: its damage is an error, not a serial that nothing lists."""
    points = many(tmp_path, [({5: (Reason.KEY_COMPROMISE, 1)}, NOW + DAY)])
    path = next(tmp_path.glob("0-*"))
    octets = bytearray(path.read_bytes())
    octets[HEADER_BYTES] ^= 1
    path.write_bytes(octets)
    damaged = replace(points[0], index=RevocationIndexFile(path))
    merged = MergedPoints.of((damaged, *points[1:]), None)
    assert not merged.holds(damaged.index)
    with pytest.raises(IndexFileError):
        decided(authority([damaged, *points[1:]], merged), 5, ExpiredCRLPolicy.TRY_LATER)
