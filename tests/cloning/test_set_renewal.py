"""What a member knew that was taken out is renewed for all who stay: step by step, by the facts alone."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.agent.agent_port import LOCAL
from tests.agent.domain_site import a_clone
from tests.audit.auditing import COMMITS
from tests.cloning.test_own_certificates import FAR, Renewing, renewing  # noqa: F401  a fixture
from tests.cloning.test_registry import HandClock
from tests.faults.page import FaultTable
from tests.pki import DAY

from vouchd.cloning.enrolling import Enrolling, SignerRenewal
from vouchd.cloning.set_renewal import SetRenewal
from vouchd.core.facts import Group, Member
from vouchd.core.signer_facts import SignerState, state
from vouchd.errors import ClientError, PermissionDenied
from vouchd.instance.certificates.places import AUDIT_SIGNING, SUBSYSTEM, find
from vouchd.pkix.certs import load_certificate
from vouchd.settings.reading import read_settings
from vouchd.signing.sealing import public_key_hash

TABLE = FaultTable.of("a set that renews what a member knew")
SIGNER = "ocspSigningCert"
STAYS = a_clone(3, host="127.0.0.1", secure_port=1)


class Clone:
    """A member that stays: it says which certificates it has, while it can be reached."""

    def __init__(self, site: Renewing) -> None:
        self.away = False
        self.certificates = {SUBSYSTEM: site.der(SUBSYSTEM), AUDIT_SIGNING: self.issued(site)}

    @staticmethod
    def issued(site: Renewing) -> bytes:
        now = int(time.time())
        return site.port.ca.issue("clone", extensions=((COMMITS, True),), not_before=now - DAY, not_after=FAR).der

    def __call__(self, _member: Member) -> Clone:
        return self

    def info(self) -> Clone:
        if self.away:
            raise ClientError("cannot ask")
        return self


class Taken:
    """A master that has taken a member out, and the renewal of what that one knew."""

    def __init__(self, site: Renewing) -> None:
        self.site, self.services = site, site.services
        self.clone, self.clock = Clone(site), HandClock(int(time.time()))
        services = site.services
        services.store.put_member(STAYS, None)
        certificates = [site.der(SUBSYSTEM)]
        services.users.add("subsystem", LOCAL, groups=[Group.OCSP_ADMINISTRATORS], certificates=certificates)
        parts = (services.store, services.signers, services.membership, services.permission, services.audit)
        self.renewal = SetRenewal(*parts, self.clone, LOCAL, self.clock)
        signers = SignerRenewal(services.signers, lambda: True, lambda: None, LOCAL)
        self.signers = Enrolling([signers], lambda: read_settings(services.layout), self.clock)

    @property
    def ring(self):
        return self.services.store.keyring()

    @property
    def waiting(self) -> dict[str, tuple[str, ...]]:
        """What is not done yet, with what it waits for."""
        return {step.name: step.waiting for step in self.renewal.steps() if not step.done}

    def switch(self) -> None:
        """Every member signs with the next one: what `conducting` does is tested there."""
        ring = self.ring
        self.services.store.put_keyring(ring.switched(self.clock.now()), ring)


@pytest.fixture
def taken(renewing):  # noqa: F811
    return Taken(renewing)


def test_renewal_goes_from_step_to_step_until_nothing_is_disowned(taken):
    """A key, its certificate, the switch, the end of those before, own certificates of all, and of the set's user."""
    site, services = taken.site, taken.services
    for name in (SIGNER, SUBSYSTEM, AUDIT_SIGNING):
        site.renews(name)
    assert taken.renewal.steps() == ()
    assert taken.renewal.look() is False
    taken.renewal.begin(LOCAL)
    assert set(taken.waiting) == {"ask", "request", "certify", "switch", "retire", "own", "users"}
    assert taken.renewal.look() is True
    assert [one.number for one in taken.ring.versions_of(SIGNER)] == [1, 2]
    assert taken.waiting["certify"] == (f"{SIGNER}#2: vouchd signer install",)
    assert "ask" not in taken.waiting
    assert taken.signers.look() is True, "it is certified as any request that waits"
    assert taken.ring.target == ((SIGNER, 2),)
    assert taken.renewal.look() is False
    taken.switch()
    assert taken.renewal.look() is False, "a member may sign with the one before for a moment more"
    taken.clock.at += DAY
    assert taken.renewal.look() is True
    assert state(taken.ring, taken.ring.version(SIGNER, 1), rehearsed=True) is SignerState.RETIRED
    assert taken.waiting["own"] == (
        f"127.0.0.1:1: {SUBSYSTEM}",
        f"127.0.0.1:1: {AUDIT_SIGNING}",
        f"ocsp1.example.org:8443: {SUBSYSTEM}",
        f"ocsp1.example.org:8443: {AUDIT_SIGNING}",
    )
    site.enrolling.look()
    site.record.look()
    site.port.peers.look()
    site.enrolling.look()
    taken.clone.certificates = {name: Clone.issued(site) for name in taken.clone.certificates}
    assert taken.renewal.look() is True
    assert taken.ring.disowned == ()
    assert taken.renewal.steps() == ()
    assert services.users.find("subsystem", LOCAL).certificates == ()
    assert site.der(SUBSYSTEM) in services.store.members()[1].client_certificates
    assert services.users._by_members_certificate()[site.der(SUBSYSTEM)].id == "subsystem"


@TABLE.fault(
    "a member that stays is away while what another one knew is renewed",
    "answered on; the signer from before goes on until it is back or taken out, too",
    "`vouchd domain renewal`, the page *Clones*: the step, with its name",
    "it is asked for its keys when it comes back",
)
def test_member_that_is_away_is_asked_when_it_comes_back_and_named_until_then(taken):
    """What it has is disowned then, too, so that nobody goes on with a key that the one who left may have."""
    taken.clone.away = True
    taken.renewal.begin(LOCAL)
    taken.renewal.look()
    assert taken.waiting["ask"] == (STAYS.id,)
    assert f"{STAYS.id}: has not said yet" in taken.waiting["own"]
    taken.clone.away = False
    assert taken.renewal.look() is True
    key = public_key_hash(load_certificate(taken.clone.certificates[AUDIT_SIGNING]))
    assert key in taken.ring.disowned
    assert "ask" not in taken.waiting


@TABLE.fault(
    "the master ends, or the role moves, while what a member knew is renewed",
    "answered on",
    "`vouchd domain renewal`: the steps as before",
    "whoever is the master goes on from the facts; no second key is made",
)
def test_nothing_is_remembered_but_the_facts(taken):
    """Another process, or the next master, goes on where this one was: it requests no second key."""
    taken.renewal.begin(LOCAL)
    taken.renewal.look()
    services = taken.services
    parts = (services.store, services.signers, services.membership, services.permission, services.audit)
    again = SetRenewal(*parts, taken.clone, LOCAL, taken.clock)
    assert again.look() is False
    assert len(taken.ring.versions_of(SIGNER)) == 2
    assert [step.name for step in again.steps() if not step.done] == list(taken.waiting)


def test_begun_twice_disowns_what_was_made_since_too(taken):
    """A second member that is taken out may have had the first new key."""
    taken.renewal.begin(LOCAL)
    taken.renewal.look()
    second = taken.ring.version(SIGNER, 2).public_key
    assert second not in taken.ring.disowned
    taken.renewal.begin(LOCAL)
    assert second in taken.ring.disowned
    taken.renewal.look()
    assert [one.number for one in taken.ring.versions_of(SIGNER)] == [1, 2, 3]


def test_clone_renews_nothing_and_a_member_nothing_but_what_it_knew_itself(taken):
    """The master does it; who leaves may have its own knowledge renewed, and nobody else's."""
    store = taken.services.store
    member = replace(LOCAL, member="ocsp9.example.org:8443", groups=frozenset({Group.OCSP_ADMINISTRATORS}))
    with pytest.raises(PermissionDenied):
        taken.renewal.begin(member)
    taken.renewal.begin(LOCAL)
    me = next(one for one in store.members() if one.id == taken.services.settings.member_id)
    store.put_member(replace(me, clone=True), me)
    assert taken.renewal.look() is False
    assert find(taken.services.settings, SUBSYSTEM).certificate is not None
