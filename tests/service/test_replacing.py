"""What a responder goes by while states, signers and the certificates of CAs change under it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pki import CA, DAY, NOW, shared_key
from tests.pkix.test_ocsp import request
from tests.service.test_answering import ours_id, read, statuses
from tests.serving import Entries, entry, point, request_for, responder, serving, signer, state

from vouchd.core.policy import UnknownIssuerPolicy
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.errors import IndexFileError, OCSPResponseStatus
from vouchd.pkix.certs import key_id
from vouchd.pkix.reasons import RevocationEntry
from vouchd.pkix.scope import Scope
from vouchd.service.answering import Responder

ONE = CA.create("CA one")
TWO = CA.create("CA two", key=shared_key("EC", 2))
THREE = CA.create("CA three", key=shared_key("EC", 3))
RENEWED = CA.create("CA one", key=shared_key("EC", 4), not_before=NOW - DAY)
SIGNER = ONE.issue_signer()
GOOD, REVOKED = 1001, 1002


class DamagedIndex(Entries):
    """An index of which nothing can be read."""

    def find(self, serial: bytes) -> RevocationEntry | None:
        raise IndexFileError(f"the block of {serial.hex()} is damaged")


def of_id(made: ServingAuthority, authority_id: str) -> ServingAuthority:
    """The same CA under another id, as an earlier version kept it beside the first."""
    return replace(made, authority=replace(made.authority, id=authority_id, label=authority_id))


def with_history(made: ServingAuthority, *cas: CA) -> ServingAuthority:
    """The CA with these certificates in its history."""
    return replace(made, authority=replace(made.authority, history=tuple(ca.der for ca in cas)))


def partitions(ca: CA, *first: RevocationEntry, key: str = "") -> list[ServingPoint]:
    """So many issuing points that what they say is worked out before it is questions; the entries are in the first."""
    scopes = [Scope(scope_id=f"{number:064x}", distribution_point_der=b"%d" % number) for number in range(20)]
    points = [point(ca, *(first if not number else ()), scope=one) for number, one in enumerate(scopes)]
    of_key = {"key_only": bool(key), "issuer_key": key}
    return [replace(one, epoch=replace(one.epoch, **of_key)) for one in points]


def serving_all(ca: CA, points: list[ServingPoint]) -> ServingAuthority:
    """The CA with these issuing points, which are all that it has."""
    return serving(ca, *points, expected_scopes=tuple(one.scope.scope_id for one in points))


def test_signer_that_is_revoked_stays_so_when_signers_change():
    """Other signers are loaded while CRLs stay: what these say of them counts at once, and of those added, too."""
    other = ONE.issue_signer("another one")
    ours = responder(state(serving(ONE, point(ONE, entry(int.from_bytes(SIGNER.serial))))), signer(other))
    assert statuses(ours.answer(request_for(ONE, GOOD), NOW)) == ["good"]
    ours.sign_with({"signer": signer(SIGNER)}, "signer")
    assert ours.answer(request_for(ONE, GOOD), NOW).cause == "revoked_signer"


def test_ca_that_is_removed_says_nothing_against_a_signer_any_more():
    """A trusted responder signs for others again; where the CA said nothing against it no answer of theirs ends."""
    trusting = serving(TWO, point(TWO), trusted_responder=True)
    speaking, silent = serving(ONE, point(ONE, entry(int.from_bytes(SIGNER.serial)))), serving(ONE, point(ONE))
    ours = responder(state(speaking, trusting), signer(SIGNER))
    assert ours.answer(request_for(TWO, GOOD), NOW).cause == "revoked_signer"
    ours.replace(state(trusting, version=2))
    assert statuses(ours.answer(request_for(TWO, GOOD), NOW)) == ["good"]
    ours.replace(state(silent, trusting, version=3))
    basis = ours.answer(request_for(TWO, GOOD), NOW).terms.basis
    ours.replace(state(trusting, version=4))
    assert basis.current


def test_key_that_joins_a_ca_is_answered_for_from_then_on_and_one_that_leaves_no_longer():
    """CertIDs are matched by the certificates that the CA has in the state that is served."""
    alone = serving(ONE, point(ONE))
    ours = responder(state(alone), signer(SIGNER))
    for version, both in enumerate((True, False, True, False), 2):
        ours.replace(state(with_history(alone, RENEWED) if both else alone, version=version))
        assert statuses(ours.answer(request_for(ONE, GOOD), NOW)) == ["good"]
        status = ours.answer(request_for(RENEWED, GOOD), NOW).status
        assert status is (OCSPResponseStatus.SUCCESSFUL if both else OCSPResponseStatus.UNAUTHORIZED)


def test_of_cas_with_one_name_and_key_the_last_one_answers():
    """Such are about to become one: whichever comes, changes or goes, all processes answer from the same one meanwhile."""
    first, last = of_id(serving(ONE, point(ONE)), "first"), of_id(serving(ONE, point(ONE)), "last")
    changed, another = of_id(serving(ONE, point(ONE, entry(REVOKED))), "first"), serving(TWO, point(TWO))
    steps = [
        ((first, another), "first"),
        ((first, last, another), "last"),
        ((changed, last, another), "last"),
        ((last, changed), "first"),
        ((another, changed, last), "last"),
        ((changed, another), "first"),
        ((last,), "last"),
        ((another,), ""),
        ((last, changed, another), "first"),
    ]
    ours = responder(state(), signer(SIGNER))
    for version, (servings, expected) in enumerate(steps, 2):
        ours.replace(state(*servings, version=version))
        for number in (GOOD, REVOKED):
            answer = ours.answer(request_for(ONE, number), NOW)
            assert answer.terms.authority_id == expected, version
            revoked = number == REVOKED and expected == "first" and changed in servings
            assert answer.cert_statuses == (("revoked" if revoked else "good",) if expected else ())


def test_certificate_of_a_signer_is_sent_along_but_while_it_is_that_of_a_ca():
    """It is one as long as any CA of the state has that name and key, however often these CAs change."""
    trusting = serving(TWO, point(TWO), trusted_responder=True)

    def changed(authority_id: str, revoked: int) -> ServingAuthority:
        return of_id(serving(ONE, point(ONE, entry(revoked))), authority_id)

    steps = [
        (changed("a", 1),),
        (changed("a", 2),),
        (changed("a", 3), changed("b", 3)),
        (changed("a", 4), changed("b", 4)),
        (changed("b", 4),),
        (changed("b", 5),),
        (),
        (changed("a", 6),),
        (),
    ]
    ours = responder(state(trusting), signer(ONE))
    for version, servings in enumerate(steps, 2):
        ours.replace(state(*servings, trusting, version=version))
        sent_along = read(ours.answer(request_for(TWO, GOOD), NOW)).certificates
        assert sent_along == ([] if servings else [ONE.certificate])


def test_signer_that_becomes_a_ca_of_ours_is_so_for_a_ca_that_ends_before_it_too():
    """What is prepared for a signer is made anew wherever it signs: here where the CA's end is earlier than its own."""
    ending = CA.create("Ending CA", not_after=NOW + DAY)
    cross = signer(ending.issue_signer("CA two", key=TWO.key, not_after=NOW + 9 * DAY))
    alone, both = state(serving(ending, point(ending))), state(serving(ending, point(ending)), serving(TWO, point(TWO)))
    ours = responder(alone, cross)
    for version, (holding, count) in enumerate(((alone, 1), (both, 0), (alone, 1)), 2):
        ours.replace(replace(holding, version=version))
        assert len(read(ours.answer(request_for(ending, GOOD), NOW)).certificates) == count


def test_state_that_is_taken_over_is_taken_in_small_steps():
    """The loop goes on answering in between: no step is more than one CA that changed, or 512 that are compared."""
    many = tuple(of_id(serving(ONE), f"{number}") for number in range(1100))
    ours = responder(state(), signer(SIGNER))
    assert len(list(ours.replacing(ServingState(2, many, 1, frozenset(one.authority.id for one in many))))) == 1100
    changed, gone = frozenset({"700"}), frozenset(one.authority.id for one in many[1000:])
    assert len(list(ours.replacing(ServingState(3, many, 2, changed)))) == 1
    assert len(list(ours.replacing(ServingState(4, many[:1000], 3, gone)))) == 100
    assert len(list(ours.replacing(ServingState(5, many[:1000])))) == 2


def test_state_that_was_made_from_itself_is_answered_from_as_a_whole():
    """A manifest that was read twice says that nothing changed, to whoever had it; who begins with it had nothing."""
    ours = responder(ServingState(3, (serving(ONE),), 3, frozenset()), signer(SIGNER))
    assert list(ours._standings) == [serving(ONE).authority.id]


@pytest.mark.parametrize("is_foreseen", [True, False])
def test_state_is_answered_from_alike_whether_it_was_foreseen_or_another_one(is_foreseen: bool):
    """What was worked out for a state that then did not come is not what is answered."""
    ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER))
    expected = state(serving_all(ONE, partitions(ONE, entry(GOOD))), version=2)
    other = state(serving_all(ONE, partitions(ONE, entry(REVOKED))), version=3)
    ours.foresee(expected, NOW)
    ours.replace(expected if is_foreseen else other)
    answers = [statuses(ours.answer(request_for(ONE, number), NOW)) for number in (GOOD, REVOKED)]
    assert answers == ([["revoked"], ["good"]] if is_foreseen else [["good"], ["revoked"]])


def test_state_that_was_foreseen_is_that_of_each_key():
    """Where CRLs are of one key alone, each key's certificates are answered by its own."""
    ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER))
    of_old = partitions(ONE, entry(GOOD), key=key_id(ONE.der))
    of_new = [
        replace(one, scope=replace(one.scope, scope_id=one.scope.scope_id[:-2] + "ff"))
        for one in partitions(ONE, entry(REVOKED), key=key_id(RENEWED.der))
    ]
    both = with_history(serving(ONE, *of_old, *of_new, named_point_covers_all=True), RENEWED)
    questions = [request_for(ca, number) for ca in (ONE, RENEWED) for number in (GOOD, REVOKED)]
    ours.foresee(state(both, version=2), NOW)
    ours.replace(state(both, version=2))
    answers = [ours.answer(one, NOW).cert_statuses for one in questions]
    afresh = responder(state(both), signer(SIGNER))
    assert answers == [afresh.answer(one, NOW).cert_statuses for one in questions]
    assert {GOOD: answers[0], REVOKED: answers[3]} == {GOOD: ("revoked",), REVOKED: ("revoked",)}


def test_state_of_which_nothing_can_be_said_is_foreseen_all_the_same():
    """That its CRLs have expired, or cannot be read, is for who asks; it must not keep a state from being served."""
    expired = [
        replace(one, epoch=replace(one.epoch, base=replace(one.epoch.base, next_update=NOW - 1)))
        for one in partitions(ONE)
    ]
    damaged = [replace(one, index=DamagedIndex()) for one in partitions(ONE)]
    for points, cause in ((expired, "expired_crl"), (damaged, "index")):
        ours = responder(state(serving(ONE, point(ONE))), signer(SIGNER))
        coming = state(serving_all(ONE, points), version=2)
        ours.foresee(coming, NOW)
        ours.replace(coming)
        answer = ours.answer(request_for(ONE, GOOD), NOW)
        assert (answer.status, answer.cause) == (OCSPResponseStatus.TRY_LATER, cause)


def test_answer_that_speaks_of_several_cas_ends_with_the_state_of_each():
    """It rests on all of them, and on those that it says `unknown` for."""
    served = [serving(ONE, point(ONE)), serving(TWO, point(TWO), trusted_responder=True)]
    ours = responder(state(*served), signer(SIGNER), unknown_issuer=UnknownIssuerPolicy.UNKNOWN)
    for ids in ([ONE, TWO], [ONE, THREE]):
        for version in (2, 3):
            basis = ours.answer(request(*map(ours_id, ids)), NOW).terms.basis
            assert basis.current
            ours.replace(
                state(served[0], serving(TWO, point(TWO, entry(version)), trusted_responder=True), version=version)
            )
            assert not basis.current


@pytest.mark.parametrize("limit", ["max_request_bytes", "max_cert_ids"])
def test_request_up_to_the_limit_is_answered_and_one_above_is_malformed(limit: str):
    """Bytes and CertIDs are bounded by the instance's settings, both ends as they say."""
    sent = request(ours_id(ONE), ours_id(ONE))
    most = len(sent) if limit == "max_request_bytes" else 2
    for allowed, expected in ((most, OCSPResponseStatus.SUCCESSFUL), (most - 1, OCSPResponseStatus.MALFORMED_REQUEST)):
        ours: Responder = responder(state(serving(ONE, point(ONE))), signer(SIGNER), **{limit: allowed})
        assert ours.answer(sent, NOW).status is expected
