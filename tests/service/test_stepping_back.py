"""An administrator's word for one step back: who may give it, what it is for, and that the whole set takes the step."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.laws.test_law1_only_what_is_verified_is_answered import OTHER, REVOKED, Member
from tests.pki import HOUR, NOW
from tests.service.recording import ADMIN, AGENT, PUBLISHER
from tests.service.world import partition

from vouchd.cloning.watermark import is_newer
from vouchd.core import records
from vouchd.core.facts import StepBack
from vouchd.errors import ConfigError, CRLRejected, NotFound, PermissionDenied
from vouchd.index.folder import IndexFolder
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.service.indexing import Indexing
from vouchd.service.permission import Permission
from vouchd.service.stepping_back import EVENT, SteppingBack
from vouchd.stores.sqlite.store import SqliteStore


class Pair:
    """Two members over the same facts, which have both served CRL 5; the store was put back to CRL 4."""

    def __init__(self, folder: Path) -> None:
        self.one = Member(folder, SqliteStore(folder / "facts.sqlite"))
        self.other = copy.copy(self.one)
        self.other.folder = folder / "other"
        self.other.folder.mkdir()
        self.other.begin()
        self.both = self.one, self.other
        self.publish()
        older, crl = self.one.older
        self.one.store.adopt(replace(self.one.store.facts(), epochs=(older,)), {older.base.sha256: crl})
        self.publish()
        assert [each.answer(REVOKED) for each in self.both] == ["revoked", "revoked"]

    def publish(self) -> list[tuple]:
        return [each.publish().refusals for each in self.both]

    def step_back(self, caller=ADMIN, reason: str = "the CA was wrong"):
        member = self.one
        stepping = SteppingBack(member.store, member.indexing, Permission(member.audit), member.audit)
        (authority,) = member.store.authorities()
        return stepping.step_back(authority, COMPLETE_SCOPE, caller, NOW, reason)


@pytest.fixture
def pair(tmp_path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.one.store.close()


def test_word_that_is_given_once_is_good_for_all_members(pair):
    """All go back to the older CRL, it is the newest for who compares, and the audit log has numbers and reason."""
    former, epoch = pair.step_back()
    event, caller, outcome, detail = pair.one.audit.records[-1]
    assert (event, caller, outcome) == (EVENT, "admin", "success")
    assert (detail["crl_number"], detail["instead_of"], detail["reason"]) == (4, 5, "the CA was wrong")
    assert pair.publish() == [(), ()]
    assert [each.answer(REVOKED) for each in pair.both] == ["good", "good"]
    assert is_newer(epoch, former)
    assert (epoch.newest.crl_number, epoch.renumbering) == (4, "the CA was wrong")
    (authority,) = pair.one.store.authorities()
    assert records.read_authority(records.authority_record(authority)) == authority


def test_word_is_for_this_step_alone(pair):
    """A newer CRL of the CA is taken as ever, and nobody comes back behind that by the word of before."""
    pair.step_back()
    pair.publish()
    (stepped,) = pair.one.store.epochs()
    pair.one.accept(6, (REVOKED, OTHER), NOW - HOUR)
    pair.publish()
    (newest,) = pair.one.store.epochs()
    document = pair.one.store.document(newest.base.sha256)
    for renumbered in (stepped.renumbered, newest.renumbered + 1):
        back = replace(stepped, sequence=newest.sequence + renumbered, renumbered=renumbered)
        pair.one.store.adopt(replace(pair.one.store.facts(), epochs=(back,)), {back.base.sha256: pair.one.older[1]})
        assert all(len(refusals) == 1 for refusals in pair.publish())
        assert [each.answer(OTHER) for each in pair.both] == ["revoked", "revoked"]
    assert document


def test_step_back_of_anybody_else_is_refused(pair):
    """Who takes CRLs in may not take revocations back."""
    before = pair.one.store.facts()
    with pytest.raises(PermissionDenied):
        pair.step_back(AGENT)
    assert pair.one.store.facts() == before


def test_step_back_without_a_reason_is_refused(pair):
    """The reason stays with the CRL, so there is one, and it can be printed."""
    for reason in ("", " ", "a\nb", "x" * 501):
        with pytest.raises(ConfigError):
            pair.step_back(reason=reason)
    assert pair.step_back(reason="x" * 500)[1].renumbering == "x" * 500


def test_step_back_without_a_step_is_refused(pair):
    """Where the store has what is served, or the step is being taken, there is nothing to allow."""
    pair.step_back()
    for _ in range(2):
        before = pair.one.store.facts()
        with pytest.raises(NotFound):
            pair.step_back()
        assert pair.one.store.facts() == before
        pair.publish()


def test_step_back_to_a_crl_that_is_wrong_otherwise_is_refused(pair):
    """The word makes an older CRL no genuine one."""
    forged = pair.one.crl(3, ca=pair.one.foreign)
    epoch, documents = pair.one.epoch(forged)
    pair.one.store.adopt(replace(pair.one.store.facts(), epochs=(epoch,)), documents)
    before = pair.one.store.facts()
    with pytest.raises(CRLRejected):
        pair.step_back()
    assert pair.one.store.facts() == before


def test_step_is_recorded_told_to_the_process_that_serves_and_accepted_when_it_is_taken(pair):
    """The right to it and the act are on the CA's issuing point; its CRL counts from the moment of the word."""
    one, accepted = pair.one, []
    (stored,) = one.store.epochs()
    one.audit.records.clear()
    one.indexing.accepted = accepted.append
    (authority,) = one.store.authorities()
    stepping = SteppingBack(one.store, one.indexing, Permission(one.audit), one.audit)
    _, epoch = stepping.step_back(authority, COMPLETE_SCOPE, ADMIN, NOW + 5, "why")
    target = f"{authority.id} {COMPLETE_SCOPE}"
    assert [record[3].get("target") for record in one.audit.records] == [target, target]
    assert accepted == [[epoch]]
    assert epoch == replace(
        stored,
        sequence=stored.sequence + 1,
        accepted_at=NOW + 5,
        renumbered=stored.renumbered + 1,
        renumbering="why",
    )


def test_words_of_before_stay_and_the_oldest_of_them_go(pair):
    """A member that was away takes the steps that it has missed, up to sixteen; the same word stands once."""
    one = pair.one
    (authority,), (stored,) = one.store.authorities(), one.store.epochs()
    former = one.indexing.admitting.served.epoch(stored.issuing_point)
    word = StepBack(former.index_name, stored.index_name)
    others = tuple(StepBack(f"{number}", "x") for number in range(20))
    for known, left in ((others, others[5:]), (others[:3], others[:3]), ((word, *others[:15]), others[:15])):
        stepping = SteppingBack(one.store, one.indexing, Permission(one.audit), one.audit)
        facts = one.store.facts()
        stepping.step_back(replace(authority, steps_back=known), COMPLETE_SCOPE, ADMIN, NOW, "why")
        assert one.store.authority(authority.id).steps_back == (*left, word)
        one.store.adopt(facts, {})


def test_step_of_a_scope_is_one_of_that_scope_alone(pair):
    """Where nothing is stored, or nothing served of it, there is no step; nor on a member that serves nothing at all."""
    one = pair.one
    (authority,) = one.store.authorities()
    stepping = SteppingBack(one.store, one.indexing, Permission(one.audit), one.audit)
    with pytest.raises(NotFound):
        stepping.step_back(authority, "f" * 64, ADMIN, NOW, "why")
    alone = SteppingBack(one.store, Indexing(one.store, IndexFolder(one.folder)), Permission(one.audit), one.audit)
    with pytest.raises(NotFound):
        alone.step_back(authority, COMPLETE_SCOPE, ADMIN, NOW, "why")
    crl = one.crl(1, revoked=(), idp=partition("http://ca.test/1.crl"))
    one.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)
    (scope,) = {epoch.issuing_point.scope_id for epoch in one.store.epochs()} - {COMPLETE_SCOPE}
    with pytest.raises(NotFound):
        stepping.step_back(one.store.authorities()[0], scope, ADMIN, NOW, "why")
