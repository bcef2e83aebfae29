"""The audit log names each act whole: what was allowed to be done to what, and what then was done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.pki import CA, HOUR, NOW, shared_key
from tests.service.recording import ADMIN, AGENT, PUBLISHER
from tests.service.world import World, partition, point

from vouchd.core.facts import CompromisedAnswer, Group
from vouchd.errors import CRLQuarantined, VouchdError
from vouchd.service.authorities import NewAuthority
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.service.tracing import TraceId, WorkersTrace
from vouchd.service.users import Users

LAB = CA.create("Lab CA")
RENEWED = CA.create("Lab CA", key=shared_key("EC", 5))
OTHER = CA.create("Other CA", key=shared_key("EC", 6))
PARTITION = partition("http://ca.test/1.crl")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def world(world):
    """The world of one CA, with a log that is empty."""
    world.audit.records.clear()
    return world


def allowed(action: str, target: str) -> tuple:
    """That the right to it was looked at, and that it is there."""
    return "AUTHZ", "success", {"action": action, "target": target}


def log(world: World) -> list[tuple]:
    """What was recorded since it was read last."""
    records = [(event, outcome, detail) for event, _, outcome, detail in world.audit.records]
    world.audit.records.clear()
    return records


def lab_id(world: World) -> str:
    return world.store.authorities()[0].id


def test_crl_that_is_taken_is_recorded_with_all_that_tells_it_from_others(world, ca):
    """Whence it came, whose it is, its scope, number and octets, and as which epoch it is served."""
    crl = ca.crl({5: None}, number=3)
    (epoch,) = world.accept(crl)
    facts = {"target": "push", "ca": lab_id(world), "scope": "complete", "crl_number": 3, "sha256": sha256(crl)}
    assert log(world) == [
        allowed("add CRL", "push"),
        ("CRL_RETRIEVAL", "success", facts | {"sequence": 1}),
    ]
    crl = ca.crl({5: None}, number=1)
    world.ingesting.accept_lower_number(crl, "file", ADMIN, NOW, "backup")
    facts |= {"target": "file", "crl_number": 1, "sha256": sha256(crl), "sequence": 2, "lower_number": "backup"}
    assert log(world) == [allowed("accept lower CRL number", "file: backup"), ("CRL_RETRIEVAL", "success", facts)]
    assert epoch.sequence == 1


def test_crl_that_is_refused_is_recorded_with_whence_it_came_and_why(world, ca):
    """By whatever way: the log has the origin, and the kind of error with its words."""
    acts = {
        "push": lambda: world.accept(b"junk"),
        "file": lambda: world.ingesting.accept_lower_number(b"junk", "file", ADMIN, NOW, "backup"),
        f"{lab_id(world)} complete": lambda: world.ingesting.release_quarantined(point(world), AGENT, NOW),
    }
    for target, act in acts.items():
        with pytest.raises(VouchdError) as refused:
            act()
        right, refusal = log(world)
        assert right[:2] == ("AUTHZ", "success")
        why = f"{type(refused.value).__name__}: {refused.value}"
        assert refusal == ("CRL_VALIDATION", "failure", {"target": target, "why": why})
    (outcome,) = world.ingesting.accept_all([(b"junk", "upload")], PUBLISHER, NOW)
    why = f"{type(outcome).__name__}: {outcome}"
    assert log(world) == [
        allowed("add CRL", "1 CRLs"),
        ("CRL_VALIDATION", "failure", {"target": "upload", "why": why}),
    ]


def test_issuing_point_that_is_retired_and_restored_is_recorded(world, ca):
    """Which CA's, and which scope."""
    (epoch,) = world.accept(ca.crl({5: None}, idp=PARTITION))
    log(world)
    scope, lab = epoch.issuing_point.scope_id, lab_id(world)
    retired = world.ingesting.retire(world.store.authorities()[0], scope, AGENT)
    world.ingesting.restore(retired, scope, AGENT)
    right = allowed("retire issuing point", f"{lab} {scope}")
    assert log(world) == [
        right,
        ("CONFIG_OCSP_PROFILE", "success", {"ca": lab, "retired": scope}),
        right,
        ("CONFIG_OCSP_PROFILE", "success", {"ca": lab, "restored": scope}),
    ]


def test_crl_held_back_that_is_released_or_dropped_is_recorded(world, ca):
    """Released it is taken with the origin that it came with; dropped it is gone, and who did so is known."""
    world.set_policy(ca, quarantine_percent=20)
    world.accept(ca.crl(dict.fromkeys(range(1, 11)), number=1, this_update=NOW - 5 * HOUR))
    crls = [ca.crl({1: None}, number=number) for number in (2, 3)]
    target, lab = f"{lab_id(world)} complete", lab_id(world)
    with pytest.raises(CRLQuarantined):
        world.accept(crls[0])
    log(world)
    world.ingesting.release_quarantined(point(world), AGENT, NOW)
    facts = {"target": "push", "ca": lab, "scope": "complete", "crl_number": 2, "sha256": sha256(crls[0])}
    assert log(world) == [
        allowed("release CRL", target),
        ("CRL_RETRIEVAL", "success", facts | {"sequence": 2}),
    ]
    with pytest.raises(CRLQuarantined):
        world.accept(ca.crl({}, number=3))
    log(world)
    world.ingesting.drop_quarantined(point(world), AGENT)
    assert log(world) == [allowed("drop CRL", target)]


def test_ca_that_is_added_is_recorded_with_what_that_changed(world):
    """The request before it is carried out, and then its CA, how many certificates that has, and what is new."""
    lab = lab_id(world)
    other = world.authorities.add(OTHER.der, AGENT, label="other").subject
    request = {"ca": other.id, "subject": "CN=Other CA"}
    assert log(world) == [
        allowed("add CA", "CN=Other CA"),
        ("OCSP_ADD_CA_REQUEST", "success", request),
        (
            "OCSP_ADD_CA_REQUEST_PROCESSED",
            "success",
            request | {"certificates": 1, "changes": "the CA was added"},
        ),
    ]
    world.authorities.add(RENEWED.der, AGENT, label="lab")
    processed = log(world)[-1]
    changes = (
        f"the certificate {sha256(RENEWED.der)[:16]}… was added to its history; its label is lab, and was CN=Lab CA"
    )
    facts = {"ca": lab, "subject": "CN=Lab CA", "certificates": 2, "changes": changes}
    assert processed == ("OCSP_ADD_CA_REQUEST_PROCESSED", "success", facts)
    world.authorities.add(RENEWED.der, AGENT)
    assert log(world)[-1][2]["changes"] == "none"


def test_cas_that_are_added_together_are_recorded_each(world):
    """The request once, with how many there are; then each that was added, and which could not be."""
    outcomes = world.authorities.add_all([NewAuthority(OTHER.der), NewAuthority(b"junk")], AGENT)
    other = outcomes[0].subject.id
    facts = {"ca": other, "subject": "CN=Other CA", "certificates": 1, "changes": "the CA was added"}
    assert log(world) == [
        allowed("add CA", "2 certificates"),
        ("OCSP_ADD_CA_REQUEST", "success", {"certificates": 2}),
        ("OCSP_ADD_CA_REQUEST_PROCESSED", "failure", {"why": str(outcomes[1]), "place": 1}),
        ("OCSP_ADD_CA_REQUEST_PROCESSED", "success", facts),
    ]


def test_ca_or_certificate_that_is_removed_is_recorded(world):
    """As it was named, and then as what it is."""
    lab = lab_id(world)
    world.authorities.add(RENEWED.der, AGENT)
    log(world)
    gone = sha256(RENEWED.der)
    world.authorities.remove_certificate("CN=Lab CA", gone, AGENT)
    right = allowed("remove CA", "CN=Lab CA")
    assert log(world) == [
        right,
        ("OCSP_REMOVE_CA_REQUEST", "success", {"ca": "CN=Lab CA", "certificate": gone}),
        ("OCSP_REMOVE_CA_REQUEST_PROCESSED", "success", {"ca": lab, "certificate": gone}),
    ]
    with pytest.raises(VouchdError) as refused:
        world.authorities.remove_certificate("CN=Lab CA", gone, AGENT)
    request = {"ca": "CN=Lab CA", "certificate": gone}
    assert log(world)[1:] == [
        ("OCSP_REMOVE_CA_REQUEST", "success", request),
        ("OCSP_REMOVE_CA_REQUEST_PROCESSED", "failure", request | {"why": str(refused.value)}),
    ]
    world.authorities.remove("CN=Lab CA", AGENT)
    assert log(world) == [
        right,
        ("OCSP_REMOVE_CA_REQUEST", "success", {"ca": "CN=Lab CA"}),
        ("OCSP_REMOVE_CA_REQUEST_PROCESSED", "success", {"ca": lab}),
    ]


def test_what_is_set_of_a_ca_is_recorded(world):
    """Policy, compromise and issued serials: what the act was on, and what it is now."""
    lab, reference = lab_id(world), "CN=Lab CA"
    authorities = world.authorities
    compromise, lifting = {"compromised_since": NOW - 9, "answer": "revoked"}, {"compromised_since": 0}
    answer = CompromisedAnswer.REVOKED
    serials = {"issued_serials": sha256(b"01\n")}
    acts = [
        ("set policy", lambda: authorities.set_policy(reference, authorities.find(reference).policy, ADMIN), {}),
        (
            "declare CA compromised",
            lambda: authorities.declare_compromised(reference, NOW - 9, answer, AGENT, at=NOW),
            compromise,
        ),
        (
            "declare CA compromised",
            lambda: authorities.declare_compromised(reference, None, answer, AGENT, at=NOW),
            lifting,
        ),
        ("set issued serials", lambda: authorities.set_issued_serials(reference, b"1\n", AGENT), serials),
        (
            "set issued serials",
            lambda: authorities.set_issued_serials(reference, None, AGENT),
            {"issued_serials": "none"},
        ),
    ]
    for action, act, detail in acts:
        act()
        assert log(world) == [allowed(action, reference), ("CONFIG_OCSP_PROFILE", "success", {"ca": lab} | detail)]


class RecordingTracing:
    """Keeps each step with its CRL and details, in the order in which they end."""

    def __init__(self) -> None:
        self.steps: list[tuple] = []

    @contextmanager
    def span(self, sha256: str, name: str, **detail: str | int) -> Iterator[None]:
        yield
        self.steps.append((sha256, name, detail))

    def past(self, sha256: str, name: str, begin_ns: int, **detail: str | int) -> None:
        assert begin_ns == 7
        self.steps.append((sha256, name, detail))

    def now_ns(self) -> int:
        return 7


def test_steps_of_a_crl_are_told_with_what_they_were_on(world, ca):
    """Taken alone or among others: received whence and how large, judged, indexed and stored for which CA."""
    tracing, lab = RecordingTracing(), lab_id(world)
    ingesting = Ingesting(world.store, world.indexing, Permission(world.audit), world.audit, tracing=tracing)
    for number, take in enumerate(
        (
            lambda crl: ingesting.accept_crl(crl, "push", PUBLISHER, NOW),
            lambda crl: ingesting.accept_all([(crl, "push")], PUBLISHER, NOW),
        ),
        1,
    ):
        crl = ca.crl({}, number=number, this_update=NOW - HOUR + number)
        take(crl)
        of_ca = {"ca": lab}
        assert tracing.steps == [
            (sha256(crl), "judged", of_ca),
            (sha256(crl), "indexed", of_ca),
            (sha256(crl), "stored", of_ca),
            (sha256(crl), "received", {"origin": "push", "octets": len(crl)}),
        ]
        tracing.steps.clear()


def test_what_is_done_to_a_user_is_recorded_with_what_it_is_then(world):
    """The right to it by the user's id; then the operation, and groups, certificates and state as they are now."""
    users, alice, again = Users(world.store, Permission(world.audit), world.audit), LAB.issue("Alice"), LAB.issue("Al")
    shown = [sha256(one.der)[:16] for one in (alice, again)]
    groups = "Auditors, Trusted Managers"
    acts = [
        ("add user", "add", lambda: users.add("al", ADMIN, groups=[Group.AUDITORS], certificates=[alice.pem])),
        ("change user", "add certificate", lambda: users.add_certificate("al", again.der, ADMIN)),
        ("change user", "remove certificate", lambda: users.remove_certificate("al", shown[0], ADMIN)),
        (
            "change user",
            "groups, disable",
            lambda: users.change("al", ADMIN, groups=[Group.TRUSTED_MANAGERS, Group.AUDITORS], enabled=False),
        ),
        ("change user", "enable", lambda: users.change("al", ADMIN, enabled=True)),
        ("remove user", "remove", lambda: users.remove("al", ADMIN)),
    ]
    states = [
        ("Auditors", shown[:1], 1),
        ("Auditors", shown, 1),
        ("Auditors", shown[1:], 1),
        (groups, shown[1:], 0),
        (groups, shown[1:], 1),
        (groups, shown[1:], 1),
    ]
    for (action, operation, act), (now_in, certificates, enabled) in zip(acts, states, strict=True):
        act()
        detail = {"operation": operation, "user": "al", "groups": now_in, "certificates": ", ".join(certificates)}
        assert log(world) == [allowed(action, "al"), ("CONFIG_ROLE", "success", detail | {"enabled": enabled})]


def test_trace_of_a_crl_is_named_by_its_digest():
    """Whoever has the CRL knows it: 32 digits of the SHA-256 are the trace, the next 16 what all spans are below."""
    digest = "0123456789abcdef" * 4
    assert TraceId.of(digest) == (int("0123456789abcdef" * 2, 16), 0x0123456789ABCDEF)
    other = "f" * 32 + "0" * 15 + "1" + "f" * 16
    assert TraceId.of(other) == (2**128 - 1, 1)


def test_answer_of_a_worker_is_told_with_its_manifest_and_since_when():
    """From the publication on; each version for itself, by the older one of two that share a slot for a while."""
    tracing = RecordingTracing()
    trace = WorkersTrace(tracing)
    trace.publish(7, ["b" * 64, "a" * 64])
    trace.publish(8, ["c" * 64])
    trace.publish(9, [])
    trace.look([(0, 7), (0, 9)])
    assert tracing.steps == [(digest * 64, "answered", {"worker": 0, "manifest": 7}) for digest in "ab"]
    tracing.steps.clear()
    trace.look([(0, 9)])
    assert tracing.steps == [("c" * 64, "answered", {"worker": 0, "manifest": 8})]
    tracing.steps.clear()
    trace.look([(0, 9), (1, 9)])
    assert tracing.steps == []
