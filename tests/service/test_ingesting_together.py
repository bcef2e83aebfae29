"""Several CRLs that come together: each costs and gains what it would alone, and the store is changed once."""

from __future__ import annotations

import pytest
from tests.memory_store import MemoryStore
from tests.pki import CA, HOUR, NOW, shared_key
from tests.service.recording import AGENT, NOBODY, PUBLISHER
from tests.service.world import World, indirect_crl, partition

from vouchd.core.facts import Epoch
from vouchd.errors import PermissionDenied, StoreConflict

LAB = CA.create("Lab CA")
OTHER = CA.create("Other CA", key=shared_key("EC", 6))
ISSUER = CA.create("CRL issuer", key=shared_key("EC", 5))
STRANGER = CA.create("Stranger", key=shared_key("EC", 4))
HELD = dict.fromkeys(range(1, 11))
FIRST = LAB.crl(HELD, number=1, this_update=NOW - 5 * HOUR)


class CountingStore(MemoryStore):
    """Counts how often epochs were committed, and lets others be quicker as often as `conflicts` says."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.conflicts = 0

    def commit_epochs(self, commits) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise StoreConflict("another process was quicker")
        super().commit_epochs(commits)
        self.commits.append(len(commits))


def two_cas(store: MemoryStore) -> World:
    """A world of two CAs that take an indirect CRL; the first has ten entries and holds back what loses many."""
    world = World(store)
    for each, policy in ((LAB, {"quarantine_percent": 20}), (OTHER, {})):
        world.authorities.add(each.der, AGENT)
        world.set_policy(each, crl_issuers=(ISSUER.der,), **policy)
    world.accept(FIRST)
    world.audit.records.clear()
    return world


@pytest.fixture
def world():
    world = two_cas(CountingStore())
    world.store.commits.clear()
    return world


def together(world: World, *crls: bytes) -> list:
    """What becomes of them; the origin of each is its place."""
    return world.ingesting.accept_all([(crl, f"{place}") for place, crl in enumerate(crls)], PUBLISHER, NOW)


def named(outcome) -> object:
    """An outcome as it is compared: the numbers of epochs, or the error with its words."""
    if isinstance(outcome, tuple):
        return [(one.issuing_point, one.sequence, one.newest.crl_number, one.entry_count) for one in outcome]
    return type(outcome), str(outcome)


PARTITION = partition("http://ca.test/1.crl")
SITUATIONS = {
    "nothing": (),
    "of two CAs": (LAB.crl(HELD, number=2), OTHER.crl({1: None}, number=7)),
    "two of one point": (OTHER.crl({1: None}, number=7, this_update=NOW - 3 * HOUR), OTHER.crl({2: None}, number=8)),
    "two points of one CA": (OTHER.crl({1: None}, number=7), OTHER.crl({2: None}, number=7, idp=PARTITION)),
    "the same twice": (OTHER.crl({1: None}, number=7),) * 2,
    "base and delta": (
        OTHER.crl({1: None}, number=7, this_update=NOW - 3 * HOUR),
        OTHER.crl({2: None}, number=8, base=7),
    ),
    "one that is none": (b"junk", OTHER.crl({1: None}, number=7), b""),
    "of nobody": (STRANGER.crl({}, number=1), LAB.crl(HELD, number=2)),
    "held back": (LAB.crl({1: None}, number=2), OTHER.crl({1: None}, number=7)),
    "an older one": (LAB.crl(HELD, number=1, this_update=NOW - 6 * HOUR), OTHER.crl({1: None}, number=7)),
    "for several CAs": (indirect_crl(ISSUER, [(1, "Lab CA"), (3, "Other CA")], 1), OTHER.crl({1: None}, number=7)),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_crls_that_come_together_become_what_each_becomes_alone(world, situation):
    """Outcomes in their order, the facts, what is held back and what is audited: as if one came after the other."""
    crls, alone = SITUATIONS[situation], two_cas(MemoryStore())
    expected = []
    for place, crl in enumerate(crls):
        try:
            expected.append(alone.ingesting.accept_crl(crl, f"{place}", PUBLISHER, NOW))
        except Exception as error:  # noqa: BLE001  whatever it is, it is the same
            expected.append(error)
    assert [*map(named, together(world, *crls))] == [*map(named, expected)]
    for ours, theirs in zip(facts(world), facts(alone), strict=True):
        assert ours == theirs


def facts(world: World) -> tuple[object, ...]:
    """What is compared of the store, whose CRLs are signed anew, and of the log, whose order may differ."""
    epochs = [(*named((one,)), one.origin, one.accepted_at) for one in world.store.epochs()]
    quarantined = [(one.issuing_point, one.origin, one.why) for one in world.store.quarantined()]
    taken = [record[3] | {"sha256": ""} for record in world.audit.records if record[0] == "CRL_RETRIEVAL"]
    refused = [record for record in world.audit.records if record[0] == "CRL_VALIDATION"]
    by_target = {"key": lambda detail: detail["target"]}
    return epochs, quarantined, sorted(taken, **by_target), sorted((one[3] for one in refused), **by_target)


def test_crls_that_come_together_are_one_change_of_the_store(world):
    """Many CRLs cost one commit; only what is for several CAs, or of a point that has one already, is by itself."""
    older = OTHER.crl({1: None}, number=7, this_update=NOW - 3 * HOUR)
    together(world, LAB.crl(HELD, number=2), older, OTHER.crl({2: None}, number=8), b"junk")
    assert world.store.commits == [2, 1]
    world.store.commits.clear()
    together(world, OTHER.crl({3: None}, number=9), OTHER.crl({2: None}, number=7, idp=PARTITION))
    assert world.store.commits == [2]
    served: list[list[Epoch]] = []
    world.indexing.accepted = served.append
    together(world, LAB.crl(HELD, number=3), OTHER.crl({2: None}, number=10))
    assert [len(epochs) for epochs in served] == [2]


def test_crls_are_taken_one_by_one_when_another_process_was_quicker(world):
    """Of many somebody else has taken one: that must not cost the others."""
    world.store.conflicts = 1
    outcomes = together(world, LAB.crl(HELD, number=2), OTHER.crl({1: None}, number=7))
    assert [len(outcome) for outcome in outcomes] == [1, 1]
    assert world.store.commits == [1, 1]


def test_crls_of_who_may_not_send_any_are_not_looked_at(world):
    """The right comes first, once for all."""
    with pytest.raises(PermissionDenied):
        world.ingesting.accept_all([(b"junk", "push"), (b"junk", "push")], NOBODY, NOW)
    assert world.audit.events == [("AUTHZ", "failure")]
