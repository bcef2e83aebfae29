"""Answers made from templates are those that the parser's way comes to, to the byte, in every state and for all octets."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, DAY, HOUR, NOW, serial_octets, shared_key
from tests.pkix.test_ocsp import cert_id, extension, nonce, request
from tests.serving import entry, point, request_for, responder, serving, signer, state

from fuzz import alike
from vouchd.core.facts import CRLRecord, ExpiredCRLPolicy, ExpiredDeltaPolicy
from vouchd.core.policy import NoncePolicy, UnknownIssuerPolicy
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.pkix import der
from vouchd.pkix.certs import issuer_hashes
from vouchd.pkix.ocsp import parse_request
from vouchd.pkix.reasons import Reason
from vouchd.pkix.scope import Scope
from vouchd.pkix.signatures import digest_identifier
from vouchd.service.answering import Responder
from vouchd.service.templates import up_to_nonce, up_to_serial
from vouchd.service.terms import Answer

ONE = CA.create("CA one")
TWO = CA.create("CA two", key=shared_key("EC", 2))
ELSEWHERE = CA.create("CA elsewhere", key=shared_key("EC", 3))
SIGNERS = (
    signer(ONE.issue_signer(not_after=NOW + 3 * HOUR), "one"),
    signer(ONE.issue_signer("later", key=shared_key("EC", 4), not_before=NOW + HOUR), "later"),
    signer(TWO, "two"),
)
SCOPES = (
    Scope(),
    Scope(scope_id="1" * 64, distribution_point_der=b"one"),
    Scope(scope_id="2" * 64, distribution_point_der=b"two"),
    Scope(scope_id="3" * 64, only_attribute=True),
    Scope(scope_id="4" * 64, only_some_reasons=frozenset({Reason.KEY_COMPROMISE})),
)
NUMBERS = (-129, -1, 0, 1, 2, 127, 128, 255, 256, 2**64, 2**158, 2**159 + 5)
MOMENTS = st.sampled_from(
    [NOW + at for at in (-HOUR, 0, 1, 29, 30, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR, 4 * HOUR, DAY + 1)]
)

ENTRIES = st.lists(
    st.builds(
        entry,
        st.sampled_from(NUMBERS),
        st.sampled_from([Reason.KEY_COMPROMISE, Reason.CERTIFICATE_HOLD, Reason.ABSENT]),
    ),
    max_size=4,
)
POINTS = st.builds(
    lambda ca, entries, scope, times, delta_next: with_delta(
        point(ca, *entries, scope=scope, this_update=times[0], next_update=times[1], accepted_at=times[2]), delta_next
    ),
    st.shared(st.sampled_from([ONE, TWO]), key="ca"),
    ENTRIES,
    st.sampled_from(SCOPES),
    st.tuples(
        st.sampled_from([NOW - DAY, NOW - HOUR, NOW + 30]),
        st.sampled_from([None, NOW - 1, NOW + 29, NOW + HOUR, NOW + DAY]),
        st.sampled_from([NOW - HOUR, NOW + 60]),
    ),
    st.sampled_from([None, None, NOW + 30, NOW + 2 * HOUR]),
)
POLICY = st.fixed_dictionaries(
    {},
    optional={
        "live_times": st.just(True),
        "live_this_update": st.just(True),
        "archive_cutoff_seconds": st.just(DAY),
        "not_found_as_good": st.booleans(),
        "expired_crl": st.sampled_from(ExpiredCRLPolicy),
        "expired_delta": st.sampled_from(ExpiredDeltaPolicy),
        "crl_reference": st.just(True),
        "invalidity_date": st.just(True),
        "extended_revoke": st.just(True),
        "named_point_covers_all": st.just(True),
        "include_next_update": st.booleans(),
        "reasons": st.booleans(),
    },
)
ISSUED = st.none() | st.sets(st.sampled_from(NUMBERS).map(serial_octets))


def with_delta(made: ServingPoint, delta_next: int | None) -> ServingPoint:
    """The point with a delta that ends then."""
    if delta_next is None:
        return made
    delta = CRLRecord("d" * 64, 100, NOW - HOUR + 10, delta_next, 8, 7)
    return replace(made, epoch=replace(made.epoch, delta=delta))


@st.composite
def authorities(draw, ca: CA) -> ServingAuthority:
    """A CA with random CRLs and policy."""
    points = draw(st.lists(POINTS, max_size=3, unique_by=lambda one: one.scope.scope_id))
    named = {"signer": draw(st.sampled_from(["one", "later"])) if ca is ONE else "two"}
    made = serving(ca, *points, issued=draw(ISSUED), **draw(POLICY), **named)
    return replace(made, behind=draw(st.sampled_from([False, False, False, True])))


STATES = st.builds(state, authorities(ONE)) | st.builds(state, authorities(ONE), authorities(TWO)) | st.just(state())


@st.composite
def questions(draw) -> bytes:
    """A request for one or two certificates, with a nonce or without, and what else clients send along."""
    ids = []
    for ca in draw(st.lists(st.sampled_from([ONE, ONE, ONE, TWO, ELSEWHERE]), min_size=1, max_size=2)):
        digest = draw(st.sampled_from(["SHA-1", "SHA-256", "SHA-512"]))
        parts = (der.tlv(der.OCTET_STRING, part) for part in issuer_hashes(ca.certificate, digest))
        identifier = digest_identifier(digest, null=draw(st.booleans()))
        octets = serial_octets(draw(st.sampled_from(NUMBERS)))
        ids.append(der.tlv(der.SEQUENCE, identifier, *parts, der.tlv(der.INTEGER, octets)))
    size = draw(st.sampled_from([0, 0, 1, 16, 32, 112, 113, 128]))
    preferred = extension(der.oid_octets("1.3.6.1.5.5.7.48.1.8"), der.tlv(der.SEQUENCE))
    fill = draw(st.sampled_from([b"a", b"b", b"\x30\x04"]))
    extensions = [nonce((fill * size)[:size])] if size else []
    extensions = draw(st.sampled_from([extensions, [preferred, *extensions], [*extensions, preferred]]))
    return request(*ids, extensions=extensions)


STEPS = st.lists(st.tuples(questions(), MOMENTS) | STATES | st.booleans(), min_size=1, max_size=12)
POLICIES = st.fixed_dictionaries(
    {}, optional={"nonce": st.sampled_from(NoncePolicy), "unknown_issuer": st.sampled_from(UnknownIssuerPolicy)}
)


@given(STATES, POLICIES, STEPS)
def test_answers_one_after_another_are_those_that_each_question_gets_alone(first, policy, steps):
    """Whatever was asked before, in whatever states: each answer is that of a responder that is asked for the first time."""
    ours, present, withheld = responder(first, *SIGNERS, **policy), first, frozenset[str]()
    for step in steps:
        if isinstance(step, ServingState):
            present = step
            ours.replace(step)
        elif isinstance(step, bool):
            withheld = frozenset(one.authority.id for one in present.authorities[:1]) if step else frozenset()
            ours.withhold(withheld)
        else:
            alone = responder(present, *SIGNERS, **policy)
            alone.withhold(withheld)
            for _ in range(2):
                assert ours.answer(*step) == alone.answer(*step)


def drafted_from_a_template(ours: Responder, request_der: bytes, monkeypatch) -> bool:
    """Whether the request is answered without being parsed."""
    parsed = []
    with monkeypatch.context() as patched:
        patched.setattr(
            "vouchd.service.answering.parse_request",
            lambda data, **limits: parsed.append(data) or parse_request(data, **limits),
        )
        assert isinstance(ours.answer(request_der, NOW), Answer)
    return not parsed


def test_serials_and_nonces_that_are_new_are_answered_without_the_parser(monkeypatch):
    """One question of a kind is parsed; others of that kind are put together, but for serials that a CRL lists."""
    ours = responder(state(serving(ONE, point(ONE, entry(1002)))), SIGNERS[0])
    for octets in (None, b"n" * 16):
        assert not drafted_from_a_template(ours, request_for(ONE, 1001, nonce=octets), monkeypatch)
        other = None if octets is None else b"m" * 16
        assert drafted_from_a_template(ours, request_for(ONE, 1003, nonce=other), monkeypatch)
        assert not drafted_from_a_template(ours, request_for(ONE, 1002, nonce=other), monkeypatch)
    assert drafted_from_a_template(ours, request_for(ONE, 1002, nonce=b"o" * 16), monkeypatch)
    negative = request_for(ONE, 1001).replace(serial_octets(1001), serial_octets(-1001))
    assert not drafted_from_a_template(ours, negative, monkeypatch)


def test_what_one_ca_changes_leaves_what_was_prepared_for_the_others(monkeypatch):
    """A CRL costs the CA that it is of: for the others nothing is parsed anew."""
    first, second = serving(ONE, point(ONE)), serving(TWO, point(TWO), signer="two")
    ours = responder(state(first, second), *SIGNERS)
    sent = [request_for(ca, 5, nonce=b"n" * 16) for ca in (ONE, TWO)]
    bases = [ours.answer(one, NOW).terms.basis for one in sent]
    ours.replace(state(serving(ONE, point(ONE, entry(7))), second, version=2))
    assert [basis.current for basis in bases] == [False, True]
    assert [drafted_from_a_template(ours, one, monkeypatch) for one in sent] == [False, True]
    ours.withhold(frozenset({second.authority.id}))
    assert not bases[1].current
    ours.withhold(frozenset())
    ours.replace(state(serving(ONE, point(ONE, entry(7))), version=3))
    assert ours.answer(sent[1], NOW).cause == "unauthorized"


def test_signer_that_is_a_ca_of_ours_is_sent_along_again_when_the_ca_is_removed():
    """What depends on all CAs together follows them: here whether clients have a signer's certificate."""
    authority = serving(ONE, point(ONE), signer="two")
    cross = signer(ONE.issue_signer("CA two", key=TWO.key), "two")
    both = state(authority, serving(TWO, point(TWO), signer="two"))
    ours = responder(both, cross)
    sizes = []
    for each in (both, state(authority), both):
        ours.replace(each)
        sizes.append(len(ours.answer(request_for(ONE, 5), NOW).response_der))
        assert ours.answer(request_for(ONE, 5), NOW) == responder(each, cross).answer(request_for(ONE, 5), NOW)
    assert sizes[0] == sizes[2] < sizes[1]


@given(questions())
def test_up_to_serial_and_nonce_tell_what_the_parser_finds(request_der):
    """Where they name a place, it is that of the parser."""
    parsed = parse_request(request_der)
    start = up_to_serial(request_der)
    assert start
    assert request_der[start : start + request_der[start - 1]] == parsed.cert_ids[0].serial
    octets = request_der[up_to_nonce(request_der) :]
    assert octets in {b"", parsed.nonce}


@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests_are_answered_as_the_parser_reads_them(seed):
    """No change of octets makes a template serve what the parser refuses, or reads otherwise."""
    chance = random.Random(seed)
    for _ in range(500):
        alike.compare(alike.mutated(chance))


def test_template_of_a_request_that_is_cut_short_or_goes_on_is_not_taken():
    """A template is found by the size of the request as well: what is missing or follows is malformed."""
    ours = responder(state(serving(ONE, point(ONE))), SIGNERS[0])
    for sent in (request_for(ONE, 1001), request_for(ONE, 1001, nonce=b"n" * 8)):
        assert not ours.answer(sent, NOW).cause
        for other in (sent[:-1], sent + b"\x00", sent[: up_to_serial(sent)]):
            assert ours.answer(other, NOW).cause == "malformed"


def test_cert_id_that_is_no_cert_id_leaves_no_place_for_a_serial():
    """What the pattern does not take is parsed."""
    assert not up_to_serial(request(cert_id(algorithm=der.tlv(der.SEQUENCE, der.oid_tlv("1.2.840.113549.2.5")))))
    assert not up_to_serial(b"")
