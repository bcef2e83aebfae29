"""The status of a serial: freshness over the points relied upon, what CRLs cover, whose CRLs count (RFC 6960 2.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, DAY, HOUR, NOW, serial_octets, shared_key
from tests.serving import Entries, entry, point, serving

from vouchd.core.facts import CertStatus, CRLRecord, ExpiredCRLPolicy, ExpiredDeltaPolicy
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import Decision, ServingAuthority, ServingPoint, ServingState, Verdicts, decide, speaking
from vouchd.errors import TryLater
from vouchd.pkix.certs import key_id
from vouchd.pkix.reasons import Reason
from vouchd.pkix.scope import ALL_REASONS, Scope

ONE = CA.create("CA one")
OTHER = CA.create("CRL issuer", key=shared_key("EC", 2))
GOOD, REVOKED, HELD, GONE = 1001, 1002, 1003, 1004
ENTRIES = (entry(REVOKED), entry(HELD, Reason.CERTIFICATE_HOLD))
PARTITION = Scope(scope_id="1" * 64, distribution_point_der=b"one")
MOVED = Scope(scope_id="2" * 64, distribution_point_der=b"two")
ATTRIBUTES = Scope(scope_id="3" * 64, only_attribute=True)


def fresh(*entries, scope: Scope | None = None) -> ServingPoint:
    return point(ONE, *entries, scope=scope)


def stale(*entries, scope: Scope | None = None) -> ServingPoint:
    return point(ONE, *entries, scope=scope, this_update=NOW - 3 * DAY, next_update=NOW - DAY)


def status(ours: ServingAuthority, number: int, expired: ExpiredCRLPolicy = ExpiredCRLPolicy.TRY_LATER) -> str:
    """What is said of a serial, or the cause of tryLater."""
    try:
        return decide(ours, serial_octets(number), ResponsePolicy(expired_crl=expired), NOW).status.value
    except TryLater as error:
        return error.cause


# A point past nextUpdate is left aside when fresh ones cover the serial.


@pytest.mark.parametrize("expired", ExpiredCRLPolicy)
@pytest.mark.parametrize("scope", [PARTITION, ATTRIBUTES], ids=["old partition", "attribute certificates"])
def test_dead_scope_beside_a_fresh_complete_crl_is_left_aside(scope, expired):
    """It neither takes the CA down nor revokes what the CA's fresh CRL does not list, not even what it had for good."""
    ours = serving(ONE, stale(*ENTRIES, entry(GONE), scope=scope), fresh(entry(REVOKED)))
    assert [status(ours, number, expired) for number in (GOOD, REVOKED, HELD, GONE)] == [
        "good",
        "revoked",
        "good",
        "good",
    ]


def test_moved_partition_the_scopes_declared_decide():
    """The operator's declaration names what covers: a partition that moved is not needed any more."""
    ours = serving(
        ONE, stale(*ENTRIES, scope=PARTITION), fresh(entry(REVOKED), scope=MOVED), expected_scopes=("2" * 64,)
    )
    assert [status(ours, number) for number in (GOOD, REVOKED, HELD)] == ["good", "revoked", "good"]


def test_left_aside_times_are_those_of_the_crls_relied_upon():
    """thisUpdate and nextUpdate come from what the answer rests on."""
    ours = serving(ONE, stale(scope=PARTITION), fresh())
    decision = decide(ours, serial_octets(GOOD), ResponsePolicy(), NOW)
    assert (decision.this_update, decision.next_update) == (NOW - HOUR, NOW + DAY)


@pytest.mark.parametrize(
    ("expired", "good", "on_hold"),
    [
        (ExpiredCRLPolicy.TRY_LATER, "expired_crl", "expired_crl"),
        (ExpiredCRLPolicy.UNKNOWN, "unknown", "unknown"),
        (ExpiredCRLPolicy.SERVE, "good", "revoked"),
    ],
)
def test_expired_crl_final_revocation_stays_the_rest_by_policy(expired, good, on_hold):
    """What is revoked for good stays revoked whatever the policy; a hold may have ended, an unlisted serial been listed."""
    ours = serving(ONE, stale(*ENTRIES))
    assert [status(ours, number, expired) for number in (GOOD, REVOKED, HELD)] == [good, "revoked", on_hold]


@pytest.mark.parametrize("expired", ExpiredCRLPolicy)
def test_expired_crl_names_no_next_update_in_the_past_but_where_it_is_served(expired):
    """A client takes an answer with a past nextUpdate for an old one; only `serve` is meant to show that."""
    decision = decide(serving(ONE, stale(*ENTRIES)), serial_octets(REVOKED), ResponsePolicy(expired_crl=expired), NOW)
    assert decision.next_update == (NOW - DAY if expired is ExpiredCRLPolicy.SERVE else None)


def test_final_revocation_in_an_expired_partition_goes_before_a_hold_in_a_fresh_one():
    """Of partitions that do not cover all, the entry that cannot end counts."""
    ours = serving(
        ONE, stale(entry(REVOKED), scope=PARTITION), fresh(entry(REVOKED, Reason.CERTIFICATE_HOLD), scope=MOVED)
    )
    decision = decide(ours, serial_octets(REVOKED), ResponsePolicy(), NOW)
    assert decision.entry is not None
    assert decision.entry.reason is Reason.KEY_COMPROMISE


# An expired delta over a fresh base.


def with_delta(*entries, delta_next: int, base_next: int = NOW + DAY) -> ServingPoint:
    """A base and the delta over it, which the index has merged."""
    over = point(ONE, *entries)
    base = replace(over.epoch.base, next_update=base_next, this_update=NOW - 2 * DAY)
    delta = CRLRecord("d" * 64, 100, NOW - 5 * HOUR, delta_next, 8, 7)
    return replace(over, epoch=replace(over.epoch, base=base, delta=delta))


def test_expired_delta_over_a_fresh_base_answers_as_of_the_base():
    """By default the base is fresh by itself (RFC 5280 5.2.4); what the delta told stays, it was the CA's word."""
    ours = serving(ONE, with_delta(*ENTRIES, delta_next=NOW - HOUR))
    decisions = [decide(ours, serial_octets(number), ResponsePolicy(), NOW) for number in (GOOD, REVOKED)]
    assert [decision.status for decision in decisions] == [CertStatus.GOOD, CertStatus.REVOKED]
    assert {(d.this_update, d.next_update, d.fresh_until) for d in decisions} == {(NOW - 2 * DAY, NOW + DAY, NOW + DAY)}


def test_expired_delta_by_policy_is_an_expired_crl():
    """A CA that stands by its deltas can have it so."""
    ours = serving(ONE, with_delta(*ENTRIES, delta_next=NOW - HOUR), expired_delta=ExpiredDeltaPolicy.EXPIRED)
    assert [status(ours, number) for number in (GOOD, REVOKED)] == ["expired_crl", "revoked"]


def test_fresh_delta_over_an_expired_base_is_fresh():
    """RFC 5280 6.3.3 (a): a delta brings the base up to date."""
    ours = serving(ONE, with_delta(delta_next=NOW + HOUR, base_next=NOW - HOUR))
    decision = decide(ours, serial_octets(GOOD), ResponsePolicy(), NOW)
    assert (decision.status, decision.next_update) == (CertStatus.GOOD, NOW + HOUR)


def test_expired_delta_over_an_expired_base_is_expired():
    """Nothing fresh is left."""
    ours = serving(ONE, with_delta(delta_next=NOW - HOUR, base_next=NOW - HOUR))
    assert status(ours, GOOD) == "expired_crl"


# Whose CRLs count.


def signed_by(issuer: CA, *entries) -> ServingPoint:
    made = point(ONE, *entries)
    return replace(made, epoch=replace(made.epoch, issuer_key=key_id(issuer.der)))


def test_crl_of_an_issuer_that_was_taken_out_of_the_policy_counts_no_longer():
    """What it revoked is not revoked by it, and it covers nothing."""
    points = (signed_by(OTHER, entry(REVOKED)),)
    assert status(serving(ONE, *points, crl_issuers=(OTHER.der,)), REVOKED) == "revoked"
    assert status(serving(ONE, *points), REVOKED) == "no_crl"
    assert status(serving(ONE, *points, signed_by(ONE)), REVOKED) == "good"


def test_crl_of_one_key_alone_says_nothing_of_what_another_key_issued():
    """A CA that issues one CRL a key: for a CertID of another key there is no CRL yet."""
    made = signed_by(ONE, entry(REVOKED))
    ours = serving(ONE, replace(made, epoch=replace(made.epoch, key_only=True)))
    own, other = key_id(ONE.der), key_id(OTHER.der)
    assert decide(ours, serial_octets(REVOKED), ResponsePolicy(), NOW, own).status is CertStatus.REVOKED
    assert decide(ours, serial_octets(REVOKED), ResponsePolicy(), NOW).status is CertStatus.REVOKED  # any key
    assert speaking(ours) == ours.points
    with pytest.raises(TryLater):
        decide(ours, serial_octets(REVOKED), ResponsePolicy(), NOW, other)


def test_crl_of_attribute_certificates_speaks_only_where_there_is_nothing_else():
    """RFC 5755: their serials are their own, so it says nothing of a public key certificate."""
    of_attributes, complete = fresh(scope=ATTRIBUTES), fresh()
    assert speaking(serving(ONE, of_attributes, complete)) == (complete,)
    for alone in ((of_attributes,), (of_attributes, stale(scope=ATTRIBUTES))):
        assert speaking(serving(ONE, *alone)) == alone


# What CRLs cover.


def some(scope_id: str, *reasons: Reason, **kind: bool) -> ServingPoint:
    return fresh(scope=Scope(scope_id=scope_id * 64, only_some_reasons=frozenset(reasons), **kind))


HALF, REST = sorted(ALL_REASONS)[:3], sorted(ALL_REASONS)[3:]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ((some("1", *HALF),), "unknown"),
        ((some("1", *HALF), some("2", *REST)), "good"),
        ((some("1", *HALF), some("2", *REST[:-1])), "unknown"),
        ((some("1", *HALF, only_user=True), some("2", *REST, only_user=True)), "unknown"),
        (
            (
                *(some(name, *reasons, only_user=True) for name, reasons in (("1", HALF), ("2", REST))),
                *(some(name, *reasons, only_ca=True) for name, reasons in (("3", HALF), ("4", REST))),
            ),
            "good",
        ),
        ((some("1", *HALF), some("2", *REST, only_user=True)), "unknown"),
    ],
    ids=["half", "both", "one reason missing", "of users alone", "of users and of CAs", "of CAs half"],
)
def test_some_reasons_that_together_are_all_cover_every_serial(points, expected):
    """RFC 5280 6.3.3: a status is determined when the reasons of the CRLs together are all."""
    assert status(serving(ONE, *points), GOOD) == expected


def test_crl_that_names_its_distribution_point_covers_all_where_the_operator_says_so():
    """EJBCA and Microsoft name the point in a CRL that lists everything; of several such none is known to be complete."""
    alone = fresh(entry(REVOKED), scope=PARTITION)
    assert status(serving(ONE, alone), GOOD) == "unknown"
    assert status(serving(ONE, alone, named_point_covers_all=True), GOOD) == "good"
    for second in (fresh(scope=MOVED), stale(scope=MOVED)):
        assert status(serving(ONE, alone, second, named_point_covers_all=True), GOOD) != "good"


def test_named_point_that_is_restricted_covers_no_more_than_it_says():
    """The policy is for CRLs that restrict nothing."""
    users = fresh(scope=Scope(scope_id="1" * 64, distribution_point_der=b"one", only_user=True))
    assert status(serving(ONE, users, named_point_covers_all=True), GOOD) == "unknown"


# Many issuing points, whose entries are merged.


class Merged:
    """Partitions of some points: it names each that lists a serial, and one that is not served any more."""

    def __init__(self, points: list[ServingPoint]) -> None:
        self._points = points

    def holds(self, index) -> bool:
        return any(index is one.index for one in self._points)

    def scopes(self, serial: bytes) -> tuple[str, ...]:
        listing = (one.scope.scope_id for one in reversed(self._points) if serial in one.index)
        return ("of a point that went", *listing)


POINT = st.tuples(
    st.sampled_from([fresh, stale]),
    st.sampled_from([(), (entry(REVOKED),), (entry(REVOKED, Reason.CERTIFICATE_HOLD),), ENTRIES]),
    st.booleans(),
)


@given(st.lists(POINT, max_size=5), st.booleans(), st.sampled_from(ExpiredCRLPolicy))
def test_points_that_are_merged_decide_as_each_by_itself(kinds, covering, expired):
    """Which points are asked for a serial is a matter of speed: status, entry, times and reasons are the same."""
    scopes = [Scope(scope_id=f"{n:064}", distribution_point_der=b"%d" % n) for n in range(len(kinds))]
    points = [made(*entries, scope=scope) for (made, entries, _), scope in zip(kinds, scopes, strict=True)]
    merged = [one for one, (_, _, is_merged) in zip(points, kinds, strict=True) if is_merged]
    ours = serving(ONE, *points, expected_scopes=tuple(scope.scope_id for scope in scopes) if covering else ())
    policy = ResponsePolicy(expired_crl=expired)
    apart, together = (Verdicts(one, policy, "") for one in (ours, replace(ours, partitions=Merged(merged))))
    for serial in map(serial_octets, (GOOD, REVOKED, HELD)):
        assert verdict(together.of, serial) == verdict(apart.of, serial)


def test_point_that_is_merged_is_asked_for_what_it_lists_alone():
    """With ten thousand partitions an answer takes one look, not ten thousand."""

    class Silent(Entries):
        def find(self, serial: bytes):
            pytest.fail(f"asked for {serial.hex()}")

    named = fresh(entry(REVOKED), scope=PARTITION)
    silent = replace(fresh(scope=MOVED), index=Silent())
    ours = replace(serving(ONE, silent, named), partitions=Merged([silent, named]))
    verdicts = Verdicts(ours, ResponsePolicy(), "")
    assert verdicts.of(serial_octets(REVOKED), NOW).points == (named,)


def verdict(of: Callable[[bytes, int], Decision], serial: bytes, at: int = NOW) -> Decision | str:
    """The decision, or the cause of tryLater."""
    try:
        return of(serial, at)
    except TryLater as error:
        return error.cause


# Why.


@pytest.mark.parametrize(
    ("number", "points", "policy", "expected", "why"),
    [
        (GOOD, (fresh(),), {}, "good", "not listed in the CRL"),
        (REVOKED, (fresh(*ENTRIES),), {}, "revoked", "listed in the CRL"),
        (HELD, (stale(*ENTRIES),), {"expired_crl": ExpiredCRLPolicy.SERVE}, "revoked", "listed in the CRL"),
        (
            REVOKED,
            (stale(*ENTRIES),),
            {},
            "revoked",
            "listed in a CRL that has passed its nextUpdate; such a revocation does not end",
        ),
        (GOOD, (stale(),), {"expired_crl": ExpiredCRLPolicy.UNKNOWN}, "unknown", "the CRL has passed its nextUpdate"),
        (
            GOOD,
            (fresh(scope=PARTITION),),
            {},
            "unknown",
            "not listed, and the CRLs held do not cover every certificate of this CA",
        ),
        (0, (fresh(),), {}, "unknown", "a serial that is not positive, and nothing lists it"),
        (GOOD, (fresh(),), {"not_found_as_good": False}, "unknown", "not listed (notFoundAsGood=false)"),
        (GOOD, (fresh(),), {"issued": set()}, "unknown", "never issued"),
        (
            GOOD,
            (fresh(),),
            {"issued": set(), "extended_revoke": True},
            "revoked",
            "never issued (extended definition of revoked)",
        ),
    ],
)
def test_why_tells_how_it_was_decided(number, points, policy, expected, why):
    """`explain` retells the decision, so each way to one has its words."""
    decision = decide(serving(ONE, *points, **policy), serial_octets(number), ResponsePolicy(), NOW)
    assert (decision.status.value, decision.why) == (expected, why)
    assert (decision.entry is not None) is (decision.status is CertStatus.REVOKED)
    assert decision.non_issued is why.endswith("(extended definition of revoked)")


# Serials.


@pytest.mark.parametrize("number", [0, -1, -128, -(2**64)])
def test_serial_that_is_not_positive_is_never_good_unless_it_is_known(number):
    """RFC 5280 4.1.2.2: no CA may issue it, and a request can hold anything; what a CRL or a list knows is so."""
    assert status(serving(ONE, fresh()), number) == "unknown"
    assert status(serving(ONE, fresh(entry(number))), number) == "revoked"
    assert status(serving(ONE, fresh(), issued={serial_octets(number)}), number) == "good"


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        (b"\x00", CertStatus.UNKNOWN),
        (b"\x01", CertStatus.GOOD),
        (b"\x7f", CertStatus.GOOD),
        (b"\x80", CertStatus.UNKNOWN),
        (b"\xff", CertStatus.UNKNOWN),
        (b"\x00\x80", CertStatus.GOOD),
        (b"\x7f\xff", CertStatus.GOOD),
        (b"\x80\x00", CertStatus.UNKNOWN),
    ],
)
def test_first_bit_of_a_serial_is_its_sign(serial, expected):
    """X.690 8.3: the content of an INTEGER is a two's complement number."""
    assert decide(serving(ONE, fresh()), serial, ResponsePolicy(), NOW).status is expected


@pytest.mark.parametrize("expired", ExpiredCRLPolicy)
@pytest.mark.parametrize("delta", ExpiredDeltaPolicy)
def test_verdicts_of_moments_to_and_fro_are_those_decided_anew(expired, delta):
    """What is worked out once for a key never outlasts a nextUpdate, of a delta, its base or another point."""
    users = point(ONE, *ENTRIES, scope=Scope(scope_id="4" * 64, only_user=True), next_update=NOW + 3 * HOUR)
    newest = replace(users.epoch.base, sha256="5" * 64, next_update=NOW + HOUR)
    of_cas = fresh(entry(GOOD + 10), scope=Scope(scope_id="6" * 64, only_ca=True))
    ours = serving(ONE, replace(users, epoch=replace(users.epoch, delta=newest)), of_cas, expired_delta=delta)
    policy = ResponsePolicy(expired_crl=expired)

    verdicts = Verdicts(ours, policy, "")
    ends = (NOW + HOUR, NOW + 3 * HOUR, NOW + DAY)
    moments = [end + second for end in ends for second in (-1, 0, 1)]
    serials = [serial_octets(number) for number in (GOOD, REVOKED, HELD, GOOD + 10)]
    cases = [(serial, at) for at in (*moments, *reversed(moments)) for serial in serials]
    kept = [verdict(verdicts.of, *case) for case in cases]
    assert kept == [verdict(lambda serial, at: decide(ours, serial, policy, at), *case) for case in cases]
    assert len({decision if isinstance(decision, str) else decision.fresh_until for decision in kept}) > 1
    passed = [verdicts.steady_until(end + second) for end in ends for second in (0, 1)]
    assert passed == [ends[0], ends[1], ends[1], ends[2], ends[2], None]


# A CA that an agent has declared compromised.


@pytest.mark.parametrize("points", [(), (stale(*ENTRIES),), (fresh(*ENTRIES),)], ids=["no CRL", "stale CRL", "CRL"])
def test_compromised_ca_needs_no_crl_and_its_own_revocations_stand(points):
    """What it had revoked for good before keeps its time and reason; a hold, and all else, is revoked since then."""
    ours = serving(ONE, *points, compromised_at=NOW - HOUR)
    decisions = {number: decide(ours, serial_octets(number), ResponsePolicy(), NOW) for number in (GOOD, REVOKED, HELD)}
    assert {one.status for one in decisions.values()} == {CertStatus.REVOKED}
    assert [decisions[number].entry.reason for number in (GOOD, HELD)] == [Reason.CA_COMPROMISE] * 2
    expected = Reason.KEY_COMPROMISE if points else Reason.CA_COMPROMISE
    assert decisions[REVOKED].entry.reason is expected
    assert decisions[GOOD].this_update == NOW - HOUR
    assert (decisions[GOOD].entry.serial, decisions[GOOD].points) == (serial_octets(GOOD), ())
    assert decisions[GOOD].why == "the CA was declared compromised"


def test_revocation_of_the_very_second_in_which_a_ca_was_compromised_is_no_word_of_the_ca():
    """Only what it revoked before can be known to be its own doing."""
    ours = serving(ONE, fresh(replace(entry(REVOKED), revocation_time=NOW - HOUR)), compromised_at=NOW - HOUR)
    assert decide(ours, serial_octets(REVOKED), ResponsePolicy(), NOW).entry.reason is Reason.CA_COMPROMISE


# What changed from one state to the next.


def test_changes_are_told_of_the_state_that_was_made_from_alone():
    """Whoever has another one compares all CAs."""
    made = ServingState(3, (), former=2, changed=frozenset({"one"}))
    assert [made.changed_since(version) for version in (1, 2, 3)] == [None, {"one"}, None]
