"""Law 5: what can be added can be taken away or mended, by a named act that stands in the audit log.

Each kind of fact is added and taken away again in every embedded kind of store: afterwards the facts are as they were,
so that no operator is left with what a mistake has brought. What must outlive its fact, the highest CRL number, can be
mended by an administrator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
from tests.contract.backends import Backend, memory_backend, sqlite_backend
from tests.contract.test_domain_store import CLONE, MASTER
from tests.faults.page import FaultTable
from tests.pki import CA, NOW, shared_key
from tests.service.recording import ADMIN, AGENT, PUBLISHER, RecordingAudit
from tests.service.world import partition

from vouchd.core.facts import Caller, Group
from vouchd.core.ports import Store
from vouchd.errors import CRLQuarantined
from vouchd.index.folder import IndexFolder
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.service.users import Users

LAB = CA.create("Lab CA", key=shared_key("EC", 5))
ROLLED = CA.create("Lab CA", key=shared_key("EC", 6))
OTHER = CA.create("Other CA", key=shared_key("EC", 7))
PARTITION = partition("http://ca.test/1.crl")


class Instance:
    """The services over one store, with a CA that has a CRL of two entries."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.audit = store, RecordingAudit()
        permission = Permission(self.audit)
        self.authorities = Authorities(store, permission, self.audit)
        self.ingesting = Ingesting(store, Indexing(store, IndexFolder(folder)), permission, self.audit)
        self.users = Users(store, permission, self.audit)
        self.users.add("root", ADMIN, groups=[Group.ADMINISTRATORS], certificates=[LAB.issue("root").der])
        self.authorities.add(LAB.der, AGENT)
        self.accept(LAB.crl({1: None, 2: None}, number=1, idp=None))

    def accept(self, crl: bytes) -> str:
        """Take a CRL; the scope of its issuing point."""
        return self.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)[0].issuing_point.scope_id

    @property
    def lab(self):
        return self.authorities.find("CN=Lab CA")

    def set_policy(self, caller: Caller = ADMIN, **changes: object) -> None:
        self.authorities.set_policy("CN=Lab CA", replace(self.lab.policy, **changes), caller)

    def facts(self) -> tuple[object, ...]:
        """All that is kept but what a CA has retired, which is a fact of its own."""
        authorities = tuple(replace(one, retired_scopes=()) for one in self.store.authorities())
        return authorities, self.store.epochs(), self.store.quarantined(), self.store.users(), self.store.members()


@dataclass(frozen=True)
class Kind:
    """A kind of fact: how it comes, and the act that takes it away."""

    add: Callable[[Instance], object]
    take_away: Callable[[Instance], object]


def hold_back(ours: Instance) -> None:
    ours.set_policy(quarantine_percent=1)
    with pytest.raises(CRLQuarantined):
        ours.accept(LAB.crl({}, number=2))
    ours.set_policy(quarantine_percent=None)


def scope(ours: Instance) -> str:
    return next(one.issuing_point.scope_id for one in ours.store.epochs() if one.idp_der)


def pending(ours: Instance):
    return ours.store.quarantined()[0].issuing_point


def fingerprint(ca: CA) -> str:
    return sha256(ca.der).hexdigest()


KINDS = {
    "CA": Kind(
        lambda ours: ours.authorities.add(OTHER.der, AGENT), lambda ours: ours.authorities.remove("CN=Other CA", AGENT)
    ),
    "certificate of a CA": Kind(
        lambda ours: ours.authorities.add(ROLLED.der, AGENT),
        lambda ours: ours.authorities.remove_certificate("CN=Lab CA", fingerprint(ROLLED), AGENT),
    ),
    "issuing point": Kind(
        lambda ours: ours.accept(LAB.crl({3: None}, number=9, idp=PARTITION)),
        lambda ours: ours.ingesting.retire(ours.lab, scope(ours), AGENT),
    ),
    "CRL held back": Kind(hold_back, lambda ours: ours.ingesting.drop_quarantined(pending(ours), AGENT)),
    "CRL issuer": Kind(
        lambda ours: ours.set_policy(crl_issuers=(OTHER.der,)), lambda ours: ours.set_policy(crl_issuers=())
    ),
    "signer of a CA": Kind(lambda ours: ours.set_policy(signer="other"), lambda ours: ours.set_policy(signer=None)),
    "issued serials": Kind(
        lambda ours: ours.authorities.set_issued_serials("CN=Lab CA", b"1\n2\n", AGENT),
        lambda ours: ours.authorities.set_issued_serials("CN=Lab CA", None, AGENT),
    ),
    "user": Kind(lambda ours: ours.users.add("eve", ADMIN), lambda ours: ours.users.remove("eve", ADMIN)),
    "certificate of a user": Kind(
        lambda ours: ours.users.add_certificate("root", OTHER.der, ADMIN),
        lambda ours: ours.users.remove_certificate("root", fingerprint(OTHER), ADMIN),
    ),
    "member": Kind(
        lambda ours: [ours.store.put_member(one, None) for one in (MASTER, CLONE)],
        lambda ours: [ours.store.remove_member(one.id) for one in (MASTER, CLONE)],
    ),
}
UNAUDITED = {"member"}  # the registry's acts, audited where they are: see law 6


@pytest.fixture(params=[memory_backend, sqlite_backend], ids=["memory", "sqlite"])
def ours(request, tmp_path):
    backend: Backend = request.param(tmp_path / "store")
    (tmp_path / "index").mkdir()
    yield Instance(backend.open(), tmp_path / "index")
    backend.close()


TABLE = FaultTable.of("a member")


@TABLE.fault(
    "something was added by mistake: a CA, a certificate of one, an issuing point, a list of serials, a user, a member",
    "as the mistake says",
    "the audit log says who added it",
    "by the act that takes it away, which leaves the facts as they were before",
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_added_can_be_taken_away(ours, kind):
    """After the act the facts are as they were before, and the log says who did both."""
    before = ours.facts()
    KINDS[kind].add(ours)
    assert ours.facts() != before
    records = len(ours.audit.records)
    KINDS[kind].take_away(ours)
    assert ours.facts() == before
    assert kind in UNAUDITED or len(ours.audit.records) > records


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_taken_away_can_come_again(ours, kind):
    """To take away is no way without return."""
    KINDS[kind].add(ours)
    facts = ours.facts()
    if kind == "issuing point":
        gone = scope(ours)
        KINDS[kind].take_away(ours)
        ours.ingesting.restore(ours.lab, gone, AGENT)
    else:
        KINDS[kind].take_away(ours)
    KINDS[kind].add(ours)
    assert [len(some) for some in ours.facts()] == [len(some) for some in facts]


@TABLE.fault(
    "the number of a CRL went up by mistake",
    "the CRL with that number, until it runs out",
    'what comes after it is refused as older, with the line that mends it; `vouchd_hindrance{cause="refused"}`',
    "`vouchd crl add --accept-lower-number --reason TEXT` by an Administrator, or the page for it",
)
def test_crl_number_that_went_up_by_mistake_can_be_mended(ours):
    """The highest number outlives its CRL and its CA; an administrator's word begins it anew, and says why."""
    ours.accept(LAB.crl({1: None}, number=10**6))
    (epoch,) = ours.ingesting.accept_lower_number(LAB.crl({1: None, 2: None}, number=2), "file", ADMIN, NOW, "mistyped")
    assert (epoch.base.crl_number, epoch.renumbering) == (2, "mistyped")
    assert ours.store.high_water(epoch.issuing_point)[0] == 2
    assert any("mistyped" in str(detail) for _, _, _, detail in ours.audit.records)
