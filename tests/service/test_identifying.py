"""Who came with a client certificate, and when it is refused although somebody has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.memory_store import MemoryStore
from tests.pki import CA, DAY, NOW, shared_key
from tests.service.recording import ADMIN, FullAudit, RecordingAudit
from tests.serving import entry, point, serving, state

from vouchd.core.facts import ExpiredCRLPolicy, Group
from vouchd.core.policy import ResponsePolicy
from vouchd.errors import ConfigError, PermissionDenied, StoreUnavailable
from vouchd.pkix.certs import key_id
from vouchd.pkix.reasons import Reason
from vouchd.pkix.scope import Scope
from vouchd.service.permission import Permission
from vouchd.service.users import UNIDENTIFIED, Users

LAB = CA.create("Lab CA")
FOREIGN = CA.create("Foreign CA", key=shared_key("EC", 3))
ALICE = LAB.issue("Alice", serial=1001)
OLD = {"this_update": NOW - 2 * DAY, "next_update": NOW - 1}
ORIGIN = "192.0.2.9"


class Desk:
    """Users in memory, with alice who has ALICE's certificate."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.audit = RecordingAudit()
        self.users = Users(self.store, Permission(self.audit), self.audit)
        self.users.add("alice", ADMIN, groups=[Group.AGENTS, Group.AUDITORS], certificates=[ALICE.der])
        self.audit.records.clear()

    def identify(self, certificate=ALICE, *authorities, at=NOW, record_success=True, **policy):
        return self.users.identify(
            certificate if isinstance(certificate, bytes) else certificate.der,
            ORIGIN,
            at,
            state=state(*authorities),
            policy=ResponsePolicy(**policy),
            record_success=record_success,
        )


@pytest.fixture
def desk():
    return Desk()


def refused(desk: Desk, *arguments, **keywords) -> str:
    """The reason of a refusal, which is on record and has a remedy."""
    with pytest.raises(PermissionDenied) as caught:
        desk.identify(*arguments, **keywords)
    assert caught.value.hint
    assert desk.audit.events == [("AUTH", "failure")]
    assert desk.audit.records[0][3]["reason"] == str(caught.value)
    return str(caught.value)


def test_identify_registered_certificate_is_its_user_with_groups_and_origin(desk):
    """The certificate tells the user, the user the groups; the record says how it was checked."""
    caller = desk.identify()
    assert (caller.name, caller.groups, caller.origin) == ("alice", {Group.AGENTS, Group.AUDITORS}, ORIGIN)
    (event, name, outcome, detail), role = desk.audit.records
    assert role == ("ROLE_ASSUME", "alice", "success", {"roles": "Auditors, Online Certificate Status Manager Agents"})
    assert (event, name, outcome) == ("AUTH", "alice", "success")
    assert (detail["subject"], detail["certificate_status"]) == ("CN=Alice", "issuer not served")


def test_identify_later_request_of_a_connection_leaves_no_record(desk):
    """Success is recorded once a connection; the checks are made each time."""
    desk.identify(record_success=False)
    assert desk.audit.records == []
    desk.users.change("alice", ADMIN, enabled=False)
    desk.audit.records.clear()
    assert "disabled" in refused(desk, record_success=False)


def test_identify_success_that_cannot_be_recorded_is_none(desk):
    """No record, no entry."""
    full = FullAudit()
    users = Users(desk.store, Permission(full), full)
    with pytest.raises(StoreUnavailable):
        users.identify(ALICE.der, ORIGIN, NOW, state=state(), policy=ResponsePolicy())


def test_identify_other_certificate_of_the_same_name_and_key_refused(desk):
    """Only the registered bytes count: another certificate with the same subject, key and CA is nobody's."""
    twin = LAB.issue("Alice", key=ALICE.key, serial=1002)
    assert "CN=Alice" in refused(desk, twin)
    assert desk.audit.records[0][1] == UNIDENTIFIED


def test_identify_removed_user_or_certificate_refused_at_once(desk):
    """What was taken away counts from the next request on."""
    desk.identify()
    desk.users.remove("alice", ADMIN)
    desk.audit.records.clear()
    refused(desk)


def test_identify_disabled_user_refused_without_its_groups_on_record(desk):
    """A disabled user is refused by name."""
    desk.users.change("alice", ADMIN, enabled=False)
    desk.audit.records.clear()
    assert "alice is disabled" in refused(desk)


def test_identify_change_by_another_process_counts_at_once(desk):
    """What another process changes in the store counts from the next request on: groups, too."""
    desk.identify()
    others = Users(desk.store, Permission(RecordingAudit()), RecordingAudit())
    others.change("alice", ADMIN, groups=[Group.TRUSTED_MANAGERS])
    assert desk.identify().groups == {Group.TRUSTED_MANAGERS}
    others.remove("alice", ADMIN)
    desk.audit.records.clear()
    refused(desk)


@pytest.mark.parametrize("at, word", [(NOW - 31 * DAY, "not valid yet"), (NOW + 366 * DAY, "expired")])
def test_identify_outside_of_validity_refused(desk, at, word):
    """A registered certificate counts within its validity only."""
    assert word in refused(desk, at=at)


@pytest.mark.parametrize("reason", [Reason.KEY_COMPROMISE, Reason.CERTIFICATE_HOLD])
def test_identify_revoked_by_a_ca_that_is_served_refused(desk, reason):
    """A revoked certificate is refused, also one on hold."""
    ours = serving(LAB, point(LAB, entry(1001, reason)))
    assert "revoked" in refused(desk, ALICE, serving(FOREIGN, point(FOREIGN)), ours)


@pytest.mark.parametrize("verdict", ExpiredCRLPolicy)
def test_identify_revoked_in_an_outdated_crl_refused_whatever_the_policy(desk, verdict):
    """Age does not lift a revocation."""
    ours = serving(LAB, point(LAB, entry(1001), **OLD), expired_crl=verdict)
    assert "revoked" in refused(desk, ALICE, ours)


def test_identify_never_issued_refused(desk):
    """A certificate that its CA's list of issued serials does not hold is a forgery."""
    assert "never issued" in refused(desk, ALICE, serving(LAB, point(LAB), issued={b"\x05"}))


def test_identify_never_issued_refused_though_the_crls_do_not_cover_it(desk):
    """The list of issued serials speaks although the CRLs do not."""
    users_only = point(LAB, scope=Scope(only_user=True))
    assert "never issued" in refused(desk, ALICE, serving(LAB, users_only, issued={b"\x05"}))


def test_identify_unknown_by_policy_refused(desk):
    """Where an unlisted certificate is not good for clients it is not good for us."""
    assert "unknown" in refused(desk, ALICE, serving(LAB, point(LAB)), not_found_as_good=False)


@pytest.mark.parametrize(
    "ours, status",
    [
        (serving(LAB, point(LAB, entry(7))), "good"),
        (serving(LAB, point(LAB), issued={ALICE.serial}), "good"),
        (serving(LAB), "no CRL"),
        (serving(LAB, point(LAB, **OLD)), "outdated CRL"),
        (serving(LAB, point(LAB, scope=Scope(only_user=True))), "not covered by a CRL"),
        (serving(FOREIGN, point(FOREIGN, entry(1001))), "issuer not served"),
        (serving(CA.create("Lab CA", key=shared_key("EC", 4)), point(LAB, entry(1001))), "issuer not served"),
    ],
    ids=["good", "issued", "no CRL", "outdated CRL", "not covered", "other CA", "other key"],
)
def test_identify_status_that_lets_pass_is_on_record(desk, ours, status):
    """A CA whose CRL is missing or outdated must be able to bring it; what was known stands in the record."""
    assert desk.identify(ALICE, ours).name == "alice"
    assert desk.audit.records[0][3]["certificate_status"] == status


def test_identify_not_a_certificate_is_an_error_of_ours(desk):
    """Bytes that no TLS library would pass on are refused, not a crash."""
    with pytest.raises(ConfigError):
        desk.identify(b"\x30\x00")


def test_identify_is_let_in_from_the_first_second_of_validity_to_the_last(desk):
    """Both ends of it belong to it."""
    first, last = (
        int(moment.timestamp())
        for moment in (ALICE.certificate.not_valid_before_utc, ALICE.certificate.not_valid_after_utc)
    )
    assert {desk.identify(at=at).name for at in (first, last)} == {"alice"}
    for at in (first - 1, last + 1):
        with pytest.raises(PermissionDenied):
            desk.identify(at=at)


def test_identify_is_judged_by_the_crls_of_the_key_that_issued_the_certificate(desk):
    """Of a CA whose CRLs are of one key alone the other key's list says nothing of it, and its own does."""
    renewed = CA.create("Lab CA", key=shared_key("EC", 5))

    def of_key(ca: CA, *entries):
        made = point(LAB, *entries, scope=Scope(scope_id=key_id(ca.der) + "0" * 24))
        return replace(made, epoch=replace(made.epoch, key_only=True, issuer_key=key_id(ca.der)))

    def ours(*points):
        made = serving(LAB, *points, named_point_covers_all=True)
        return replace(made, authority=replace(made.authority, certificate_der=renewed.der, history=(LAB.der,)))

    assert desk.identify(ALICE, ours(of_key(LAB), of_key(renewed, entry(1001)))).name == "alice"
    desk.audit.records.clear()
    assert "revoked" in refused(desk, ALICE, ours(of_key(LAB, entry(1001)), of_key(renewed)))


def test_identify_issued_certificate_that_no_crl_covers_is_let_pass(desk):
    """It is on the list of those issued, and what is missing is the CA's CRL alone."""
    users_only = point(LAB, scope=Scope(only_user=True))
    desk.identify(ALICE, serving(LAB, users_only, issued={ALICE.serial}))
    assert desk.audit.records[0][3]["certificate_status"] == "not covered by a CRL"
