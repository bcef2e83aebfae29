"""The role of the master is moved: every step beside every write of the others, cut short anywhere, settled by itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from tests.agent.agent_port import LOCAL
from tests.agent.domain_site import a_clone, own_key
from tests.cloning.test_registry import NOW, HandClock
from tests.memory_store import MemoryStore
from tests.service.recording import ADMIN, RecordingAudit

from vouchd.cloning import roles
from vouchd.cloning.appointment import appoint, believed
from vouchd.cloning.registry import SecurityDomain, find, master_of
from vouchd.cloning.roles import (
    PROMOTION,
    STANDINGS,
    Administrator,
    At,
    Outcome,
    Promotion,
    Standing,
    settle,
    standing,
)
from vouchd.core.facts import Caller, Member
from vouchd.errors import ClientError, ConfigError, PermissionDenied, StoreConflict
from vouchd.service.permission import KEY_HOLDERS, Permission
from vouchd.settings.layout import Layout

MASTER, ME, THIRD = replace(a_clone(1), clone=False, term=1), a_clone(2), a_clone(3)
ALICE = own_key("alice")
APPOINTING = frozenset({ALICE.signer.certificate_der})


@dataclass
class Site:
    """Two registries, that of the master and that of the clone which is to be promoted; of a directory they are one."""

    theirs: MemoryStore
    mine: MemoryStore
    away: bool = False
    switched: int = 0

    @classmethod
    def with_members(cls, *, shared: bool) -> Site:
        theirs = MemoryStore()
        site = cls(theirs, theirs if shared else MemoryStore())
        for member in (MASTER, ME, THIRD):
            for store in {id(theirs): theirs, id(site.mine): site.mine}.values():
                store.put_member(member, None)
        return site

    def domain(self, store: MemoryStore) -> SecurityDomain:
        audit = RecordingAudit()
        return SecurityDomain(store, Permission(audit), audit, HandClock())

    def promotion(self, *, force: bool = False) -> Promotion:
        services = SimpleNamespace(
            store=self.mine,
            domain=self.domain(self.mine),
            caller=LOCAL,
            settings=SimpleNamespace(member_id=ME.id),
        )
        return Promotion(services, Administrator(self.connect, ALICE), self.switch, lambda _: None, force=force)

    def connect(self, member: Member) -> SimpleNamespace:
        """The agent port of the master, which hands its role over by its own key."""

        def promote(member_id: str) -> Member:
            if self.away or member.id != MASTER.id:
                raise ClientError("no connection")
            master = master_of(self.theirs.members())
            if master.id not in {MASTER.id, member_id}:
                raise ConfigError(f"{master.id} is the master")
            return self.domain(self.theirs).promote(
                member_id, ADMIN, lambda one, term: appoint(one, term, own_key(MASTER.host))
            )

        return SimpleNamespace(promote=promote)

    def switch(self, _member: Member) -> None:
        self.switched += 1

    def followed(self) -> None:
        """The clone takes over the registry of the master, as it does all the while."""
        if self.mine is not self.theirs:
            for member in self.theirs.members():
                known = next((one for one in self.mine.members() if one.id == member.id), None)
                if known != member:
                    self.mine.put_member(member, known)

    def change(self, member: Member, **changes: object) -> None:
        """A member says anew what is known of it, at the master."""
        known = find(self.theirs.members(), member.id)
        self.theirs.put_member(replace(known, **changes), known)

    def join(self) -> None:
        text, _ = self.domain(self.theirs).issue_token(ADMIN)
        newcomer = a_clone(4)
        caller = Caller("subsystem", frozenset({KEY_HOLDERS}), "192.0.2.9", newcomer.tls_sha256)
        if newcomer.id not in {member.id for member in self.theirs.members()}:
            self.domain(self.theirs).join(newcomer, text, caller)

    def leave(self) -> None:
        if THIRD.id in {member.id for member in self.theirs.members()}:
            self.domain(self.theirs).leave(THIRD.id, ADMIN)

    def masters(self) -> set[str]:
        """Whom each of the two takes for the master, when they have told each other."""
        claims = (master_of(self.mine.members()), master_of(self.theirs.members()))
        return {believed(claims, store.members(), APPOINTING).id for store in (self.mine, self.theirs)}


WRITES: dict[str, Callable[[Site], None]] = {
    "the master renews its port": lambda site: site.change(MASTER, ee_port=8090),
    "this member is known by another port": lambda site: site.change(ME, ee_port=8091),
    "somebody joins": Site.join,
    "somebody leaves": Site.leave,
    "the registry is followed": Site.followed,
    "all of it at once": lambda site: [
        site.change(MASTER, ee_port=8092),
        site.change(ME, ee_port=8093),
        site.join(),
        site.followed(),
    ],
}
STEPS = {At.LOOK: "_look", At.HAND_OVER: "_hand_over", At.CLAIM: "_claim", At.SWITCH: "_switched"}


@pytest.mark.parametrize("shared", [False, True], ids=["embedded", "directory"])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_promotion_beside_a_write_of_another_ends_with_one_master(step, write, shared):
    """Whatever is written before any step, and between what it reads and what it writes: it goes on and comes out right."""
    for within in (False, True):
        site = Site.with_members(shared=shared)
        promotion = site.promotion()
        _beside(site, promotion, STEPS[step], WRITES[write], within=within)
        promoted = promotion.run()
        assert (promoted.id, promoted.clone, promoted.term) == (ME.id, False, 2)
        assert site.switched == 1
        assert site.masters() == {ME.id}
        assert [one.id for one in site.mine.members() if not one.clone] == [ME.id]


def _beside(site: Site, promotion: Promotion, name: str, write: Callable[[Site], None], *, within: bool) -> None:
    """Have the write happen once: before that step, or between the step's reading of a registry and its writing."""
    step, waiting = getattr(promotion, name), [write]

    def disturbed() -> Outcome:
        if not within:
            _once(site, waiting)
            return step()
        stores = {id(one): one for one in (site.mine, site.theirs)}.values()
        puts = [(store, store.put_member) for store in stores]
        for store, put in puts:

            def put_late(member: Member, replaces: Member | None, put: Callable[..., None] = put) -> None:
                _once(site, waiting)
                put(member, replaces)

            store.put_member = put_late
        try:
            return step()
        finally:
            for store, put in puts:
                store.put_member = put

    setattr(promotion, name, disturbed)


def _once(site: Site, waiting: list[Callable[[Site], None]]) -> None:
    if waiting:
        waiting.pop()(site)


class Killed(Exception):
    """The process is no more."""


@pytest.mark.parametrize("shared", [False, True], ids=["embedded", "directory"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_promotion_cut_short_leaves_one_master_and_is_finished_by_the_same_words(step, after, shared):
    """Killed before or after any step: the two agree on one master, who settles by itself, and a second run goes on."""
    site = Site.with_members(shared=shared)
    promotion = site.promotion()
    whole = getattr(promotion, STEPS[step])

    def killed() -> Outcome:
        if after:
            whole()
        raise Killed

    setattr(promotion, STEPS[step], killed)
    with pytest.raises(Killed):
        promotion.run()
    (master,) = site.masters()
    assert master in {MASTER.id, ME.id}
    assert site.promotion().run().term == 2
    assert site.masters() == {ME.id}


def test_role_moved_to_another_in_the_same_moment_is_not_taken_silently():
    """Two administrators promote two members: one of them is told, and there is one master."""
    site = Site.with_members(shared=True)
    promotion = site.promotion()
    write = lambda site: site.domain(site.theirs).promote(THIRD.id, ADMIN, lambda *_: "x")  # noqa: E731
    _beside(site, promotion, "_hand_over", write, within=True)
    with pytest.raises((ConfigError, StoreConflict)):
        promotion.run()
    assert site.masters() == {THIRD.id}


def test_master_that_is_away_is_passed_over_by_force_alone():
    """Its role is not taken by mistake; by force the administrator's word stands in for its own."""
    site = Site.with_members(shared=False)
    site.away = True
    with pytest.raises(ConfigError, match="has not stepped down"):
        site.promotion().run()
    assert master_of(site.mine.members()) == MASTER
    assert site.promotion(force=True).run().term == 2
    assert site.masters() == {ME.id}


def test_master_that_refuses_is_not_passed_over_by_force():
    """Who may not order it may not by force either."""
    site = Site.with_members(shared=False)

    def refuse(_member_id: str) -> Member:
        raise PermissionDenied("mallory may not move the role of the master")

    promotion = site.promotion(force=True)
    promotion._administrator = Administrator(lambda _: SimpleNamespace(promote=refuse), ALICE)
    with pytest.raises(PermissionDenied):
        promotion.run()
    assert master_of(site.mine.members()) == MASTER


def test_every_outcome_of_a_step_is_in_the_table():
    """The table says what follows each outcome, every state but the last leads on, and the last is reached."""
    assert {at for at, _ in PROMOTION} == set(At) - {At.DONE}
    assert set(PROMOTION.values()) == {At.HAND_OVER, At.CLAIM, At.LOOK, At.SWITCH, At.DONE}
    assert {outcome for _, outcome in PROMOTION} == set(Outcome)


def test_standing_has_a_word_for_each_pair_of_roles():
    """What the set says and what CS.cfg says: four pairs, four words, two of which settle by themselves."""
    assert set(STANDINGS) == set(itertools.product([True, False], repeat=2))
    assert set(STANDINGS.values()) == set(Standing)


@pytest.mark.parametrize(
    ("refresh", "master", "expected"),
    [
        (600, MASTER, Standing.FALLING),
        (21600, MASTER, Standing.CLONE),
        (600, ME, Standing.MASTER),
        (21600, ME, Standing.RISING),
        (21600, None, Standing.CLONE),
        (600, None, Standing.MASTER),
    ],
)
def test_standing_is_what_the_set_and_the_settings_say(refresh, master, expected, monkeypatch):
    """Nobody known to be the master changes nothing."""
    monkeypatch.setattr("vouchd.cloning.roles.own_member", lambda _: ME)
    settings = SimpleNamespace(refresh_seconds=refresh, member_id=ME.id, of_set=SimpleNamespace(host=ME.host))
    assert standing(settings, master) is expected
    assert NOW


def test_former_master_with_a_store_of_its_own_does_not_take_itself_for_the_master_again(tmp_path, monkeypatch):
    """Who comes back and falls has the new master in its registry before it restarts, whom it need not ask again."""
    monkeypatch.setattr(roles, "own_member", lambda _: MASTER)
    site = Site.with_members(shared=False)
    layout = Layout(tmp_path)
    layout.config_lock.parent.mkdir()
    layout.cs_cfg.write_text("ocsp.store.defStore.refreshInSec=600\n")
    promoted = replace(ME, clone=False, term=2, appointment=appoint(ME, 2, ALICE))
    settings = SimpleNamespace(
        refresh_seconds=600, member_id=MASTER.id, of_set=SimpleNamespace(host=MASTER.host), directory=None
    )
    messages = []

    def register(master: Member) -> None:
        site.domain(site.mine).promote(master.id, LOCAL, lambda member, _: member.appointment, master)

    assert standing(settings, promoted) is Standing.FALLING
    assert settle(layout, settings, promoted, register, messages.append)
    assert messages == [f"{ME.id} is the master now (term 2): this instance becomes its clone"]
    settings.refresh_seconds = 21600
    alone = believed([], site.mine.members(), APPOINTING)
    assert (alone.id, alone.term) == (ME.id, 2)
    assert standing(settings, alone) is Standing.CLONE
    assert not settle(layout, settings, alone, register, messages.append)
