"""Which of several epochs is the newest: every member of a set finds the same, whatever it has seen first."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, NOW
from tests.serving import point

from vouchd.core.facts import (
    Authority,
    AuthorityFacts,
    CRLRecord,
    Epoch,
    IssuingPointId,
    by_authority,
    compare_crls,
    is_newer_crl,
    newest,
    order,
)

EPOCH = point(CA.create("CA one")).epoch


def record(number: int | None, this_update: int = NOW, sha256: str = "a") -> CRLRecord:
    return CRLRecord(sha256 * 64, 1, this_update, None, number)


def epoch(base: CRLRecord, delta: CRLRecord | None = None, **facts) -> Epoch:
    return replace(EPOCH, base=base, delta=delta, accepted_at=facts.pop("accepted_at", NOW), **facts)


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        (epoch(record(8, NOW - 9)), epoch(record(7, NOW))),
        (epoch(record(None, NOW)), epoch(record(None, NOW - 1))),
        (epoch(record(None, NOW)), epoch(record(9, NOW - 1))),
        (epoch(record(7, NOW)), epoch(record(None, NOW - 1))),
        (epoch(record(3), renumbered=1), epoch(record(9))),
        (epoch(record(3), renumbered=2), epoch(record(9), renumbered=1)),
        (epoch(record(7), record(9, sha256="d")), epoch(record(8))),
        (epoch(record(8), record(9, sha256="d")), epoch(record(7), record(9, sha256="d"))),
        (epoch(record(9)), epoch(record(7), record(8, sha256="d"))),
    ],
)
def test_newer_crl_is_the_one_that_the_ca_says(newer: Epoch, older: Epoch):
    """The number decides where both have one, thisUpdate otherwise, of the delta first; when it was accepted does not."""
    newer, older = replace(newer, sequence=1, accepted_at=NOW - 99), replace(older, sequence=9, accepted_at=NOW)
    assert order(newer) > order(older)
    assert order(older) < order(newer)
    assert (is_newer_crl(newer, older), is_newer_crl(older, newer)) == (True, False)


def test_crl_that_was_accepted_twice_counts_from_the_first_time():
    """So the answers of members that took it at different moments become the same."""
    first, second = epoch(record(7), accepted_at=NOW - 5), epoch(record(7), accepted_at=NOW)
    assert order(first) > order(second)
    assert not is_newer_crl(first, second)
    assert not is_newer_crl(second, first)


def test_two_crls_of_one_number_have_one_order_everywhere():
    """A fork that members took apart from each other is resolved alike by all: by name, which says nothing else."""
    one, other = epoch(record(7, sha256="a")), epoch(record(7, sha256="b"))
    assert (order(one) > order(other)) == (one.index_name > other.index_name)
    assert (order(one) < order(other)) == (one.index_name < other.index_name)
    assert order(one) == order(replace(one, sequence=99))
    for epochs in permutations([one, other]):
        assert newest(epochs) == (max(one, other, key=lambda each: each.index_name),)


RECORDS = st.builds(
    record, st.sampled_from([None, 6, 7, 8]), st.sampled_from([NOW - 1, NOW]), st.sampled_from(["a", "b", "c"])
)
EPOCHS = st.builds(
    lambda base, delta, accepted, renumbered, scope: epoch(
        base,
        delta,
        accepted_at=accepted,
        renumbered=renumbered,
        issuing_point=replace(EPOCH.issuing_point, scope_id=scope),
    ),
    RECORDS.filter(lambda one: one.crl_number is not None),
    st.none(),
    st.sampled_from([NOW, NOW + 1]),
    st.sampled_from([0, 1]),
    st.sampled_from(["complete", "f" * 64]),
)


@given(st.lists(EPOCHS, max_size=6), st.randoms())
def test_newest_epochs_are_the_same_whatever_the_order_they_came_in(epochs, chance):
    """One of each issuing point, ordered by it, and none that is there is newer."""
    shuffled = list(epochs)
    chance.shuffle(shuffled)
    chosen = newest(epochs)
    assert [order(one) for one in newest(shuffled)] == [order(one) for one in chosen]
    assert [one.issuing_point for one in chosen] == sorted({one.issuing_point for one in epochs})
    best = {one.issuing_point: one for one in chosen}
    assert all(order(one) <= order(best[one.issuing_point]) for one in epochs)


@given(RECORDS, RECORDS)
def test_crls_are_compared_alike_from_both_sides(one, other):
    """Of two at most one is the newer."""
    assert compare_crls(one, other) == -compare_crls(other, one)
    if one.crl_number is None or other.crl_number is None:
        assert compare_crls(one, other) == one.this_update - other.this_update


def test_facts_of_a_ca_are_its_own_epochs_in_order_and_whether_it_is_behind():
    """Epochs of CAs that are not there are left out."""
    cas = [Authority(letter, b"", letter) for letter in "ab"]
    points = [IssuingPointId(ca, scope) for ca, scope in (("a", "2"), ("b", "1"), ("a", "1"), ("c", "1"))]
    epochs = [replace(EPOCH, issuing_point=one) for one in points]
    assert by_authority(cas, epochs, ["b"]) == {
        "a": AuthorityFacts(cas[0], (epochs[2], epochs[0]), behind=False),
        "b": AuthorityFacts(cas[1], (epochs[1],), behind=True),
    }
    assert by_authority(cas, ())["b"] == AuthorityFacts(cas[1], (), behind=False)
