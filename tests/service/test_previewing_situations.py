"""What a preview tells is what then becomes of the CRL, in every situation in which it may come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from tests.pki import CA, HOUR, NOW, new_key, serial_octets
from tests.service.recording import ADMIN, AGENT, PUBLISHER
from tests.service.world import REMOVE, World, partition, point

from vouchd.core.facts import IssuingPointId
from vouchd.errors import CRLError, CRLQuarantined, NotFound
from vouchd.service.permission import Permission
from vouchd.service.previewing import SHOWN_SERIALS, Previewing

HELD = dict.fromkeys(range(1, 11))
FIRST = {"number": 10, "this_update": NOW - 5 * HOUR}
PARTITION = partition("http://ca.test/1.crl")


@pytest.fixture
def previewing(world):
    return Previewing(world.store, world.indexing, Permission(world.audit))


def nothing(world: World, ca: CA) -> None:
    """The CA has no CRL."""


def one(world: World, ca: CA) -> None:
    """The CA has a CRL of ten entries."""
    world.accept(ca.crl(HELD, **FIRST))


def with_delta(world: World, ca: CA) -> None:
    """The same, and a delta over it."""
    one(world, ca)
    world.accept(ca.crl({11: None}, number=12, base=10, this_update=NOW - 4 * HOUR))


def guarded(world: World, ca: CA) -> None:
    """The same as `one`, of which few entries may go."""
    world.set_policy(ca, quarantine_percent=20)
    one(world, ca)


def retired(world: World, ca: CA) -> None:
    """Its partition will not come again."""
    one(world, ca)
    (epoch,) = world.accept(ca.crl({}, number=1, idp=PARTITION))
    (authority,) = world.store.authorities()
    world.ingesting.retire(authority, epoch.issuing_point.scope_id, AGENT)


def removed(world: World, ca: CA) -> None:
    """The CA was taken away and added again: what it has had stays known."""
    one(world, ca)
    world.authorities.remove("CN=Lab CA", AGENT)
    world.authorities.add(ca.der, AGENT)


SITUATIONS: dict[str, tuple[Callable[[World, CA], None], dict, dict]] = {
    "the first": (nothing, HELD, {"number": 10}),
    "a delta without base": (nothing, {1: None}, {"number": 11, "base": 10}),
    "more": (one, dict.fromkeys(range(1, 16)), {"number": 11}),
    "fewer": (one, dict.fromkeys(range(1, 6)), {"number": 11}),
    "others": (one, dict.fromkeys(range(6, 20)), {"number": 11}),
    "a delta": (one, {1: REMOVE, 11: None, 12: None}, {"number": 11, "base": 10}),
    "a newer delta": (with_delta, {12: None}, {"number": 13, "base": 10}),
    "a base under the delta": (with_delta, dict.fromkeys(range(1, 14)), {"number": 11}),
    "an older one": (one, {}, {"number": 9}),
    "a fork": (one, {}, {"number": 10}),
    "of a key that is not the CA's": (one, {}, {"number": 11, "key": new_key()}),
    "a loss that is held back": (guarded, {}, {"number": 11}),
    "a loss that is not": (guarded, dict.fromkeys(range(1, 9)), {"number": 11}),
    "a scope that is held back": (guarded, {1: None}, {"number": 1, "idp": PARTITION}),
    "a scope beside another": (one, {1: None}, {"number": 1, "idp": PARTITION}),
    "a scope that is retired": (retired, {1: None}, {"number": 2, "idp": PARTITION}),
    "older than before the CA was removed": (removed, {1: None}, {"number": 9}),
    "newer than before the CA was removed": (removed, {1: None}, {"number": 11}),
    "a number that is lower": (one, {1: None}, {"number": 3, "lower": True}),
    "a number that is lower, and a loss": (guarded, {1: None}, {"number": 3, "lower": True}),
    "a number that is lower, and the first": (nothing, {1: None}, {"number": 3, "lower": True}),
    "a number that is lower, of a new scope": (guarded, {1: None}, {"number": 3, "idp": PARTITION, "lower": True}),
    "a lower number over a delta": (with_delta, {1: None}, {"number": 3, "lower": True}),
    "a lower number that is not newer": (one, {1: None}, {"number": 3, "lower": True, "this_update": NOW - 9 * HOUR}),
}


@pytest.mark.parametrize("files", [True, False], ids=["index files there", "index files lost"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_preview_tells_what_becomes_of_the_crl(world, ca, previewing, situation: str, files: bool):
    """Refused, held back or taken: with the same words, and as many entries before and after, of which the first shown."""
    prepare, entries, different = SITUATIONS[situation]
    prepare(world, ca)
    lower = different.get("lower", False)
    crl = ca.crl(entries, **{name: value for name, value in different.items() if name != "lower"})
    (authority,), revision = world.store.authorities(), world.store.revision()
    if not files:
        world.indexes.files.clear()
    preview = previewing.preview(crl, AGENT, NOW, lower_number=lower)
    (change,) = preview.changes
    where = IssuingPointId(authority.id, preview.scope_id)
    assert (change.authority, change.issuing_point, world.store.revision()) == (authority, where, revision)
    current = world.store.epoch(where)
    assert change.current == current
    before = set(world.entries(current)) if current and not change.refusal else set()
    after, refusal, hint, held_back = before, "", "", ""
    try:
        if lower:
            (epoch,) = world.ingesting.accept_lower_number(crl, "push", ADMIN, NOW, "preview")
        else:
            (epoch,) = world.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)
    except CRLQuarantined:
        (pending,) = world.store.quarantined()
        held_back, after = pending.why, None
    except CRLError as error:
        refusal, hint = str(error), error.hint
    else:
        after = set(world.entries(epoch))
    assert (change.refusal, change.hint, change.held_back) == (refusal, hint, held_back)
    assert preview.acceptable is not bool(refusal)
    assert change.before == len(before)
    if after is not None:
        assert (change.lost, change.gained) == (len(before - after), len(after - before))
        assert change.after == len(after)
        shown = [[serial_octets(number) for number in sorted(some)] for some in (before - after, after - before)]
        if current is not None:
            assert [list(change.some_lost), list(change.some_gained)] == shown


def test_preview_tells_whose_crl_it_is_and_what_it_says(world, ca, previewing):
    """Issuer, scope, and the facts that would be kept, all of them but the count of its entries."""
    crl = ca.crl(HELD, number=7, idp=PARTITION)
    preview = previewing.preview(crl, AGENT, NOW)
    (epoch,) = world.accept(crl)
    assert (preview.issuer, preview.scope_id) == ("Common Name: Lab CA", epoch.issuing_point.scope_id)
    assert preview.record.sha256 == hashlib.sha256(crl).hexdigest()
    assert (preview.record.crl_number, preview.record.size_bytes) == (7, len(crl))


def test_preview_shows_so_many_serials_and_no_more(world, ca, previewing):
    """Who decides sees the first ones; how many there are is counted."""
    world.accept(ca.crl(dict.fromkeys(range(1, 100)), number=1, this_update=NOW - HOUR))
    (change,) = previewing.preview(ca.crl(dict.fromkeys(range(100, 200)), number=2), AGENT, NOW).changes
    assert (change.lost, change.gained) == (99, 100)
    assert change.some_lost == tuple(map(serial_octets, range(1, 1 + SHOWN_SERIALS)))
    assert change.some_gained == tuple(map(serial_octets, range(100, 100 + SHOWN_SERIALS)))


def test_preview_of_a_crl_held_back_that_is_not_there_not_found(world, previewing):
    """Somebody has decided on it meanwhile."""
    with pytest.raises(NotFound):
        previewing.preview_quarantined(point(world), AGENT, NOW)


def test_preview_of_retiring_the_only_point_loses_all_its_entries(world, ca, previewing):
    """No other CRL lists them; index files that are lost are made again for the comparison."""
    world.accept(ca.crl(HELD, number=1))
    (authority,) = world.store.authorities()
    world.indexes.files.clear()
    change = previewing.preview_retirement(authority, "complete", AGENT)
    assert (change.authority, change.epoch) == (authority, *world.store.epochs())
    assert (change.entries, change.lost, change.covered_before, change.covered_after) == (10, 10, True, False)
    world.accept(ca.crl({1: None}, number=1, idp=PARTITION))
    world.indexes.files.clear()
    change = previewing.preview_retirement(authority, "complete", AGENT)
    assert (change.entries, change.lost) == (10, 9)
