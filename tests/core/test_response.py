"""What stands in a SingleResponse (RFC 6960 sections 4.2 and 4.4), octet for octet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pki import CA, DAY, HOUR, NOW, moment, serial_octets
from tests.serving import entry, point, serving

from vouchd.core.policy import ResponsePolicy
from vouchd.core.response import certs_field, statement_of, unknown_statement
from vouchd.core.status import ServingPoint, decide
from vouchd.core.times import Moment, times_of
from vouchd.pkix.scope import Scope

ONE = CA.create("CA one")
REVOKED = 1002
INVALID_SINCE = NOW - 9 * DAY
ENTRY = entry(REVOKED, invalidity_date=INVALID_SINCE)
PRODUCED_AT = NOW - HOUR + 60  # of the point that `point` makes
OCSP = b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01"  # OBJECT IDENTIFIER of id-pkix-ocsp and one more arc


def tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return bytes((tag, len(body)) if len(body) < 0x80 else (tag, 0x81, len(body))) + body


def time(seconds: int) -> bytes:
    return tlv(0x18, moment(seconds).strftime("%Y%m%d%H%M%SZ").encode())


def crl_id(this_update: int, number: bytes = b"") -> bytes:
    return tlv(0x30, OCSP + b"\x03", tlv(0x04, tlv(0x30, number, tlv(0xA2, time(this_update)))))


def archive_cutoff(seconds: int) -> bytes:
    return tlv(0x30, OCSP + b"\x06", tlv(0x04, time(seconds)))


def statement(*points: ServingPoint, number: int = REVOKED, **policy) -> bytes:
    ours = serving(ONE, *points, **policy)
    own = ours.authority.policy
    decision = decide(ours, serial_octets(number), ResponsePolicy(), NOW)
    return statement_of(decision, own, times_of(decision, own, Moment(NOW, NOW + 30 * DAY, is_now=False)), reasons=True)


def numbered(made: ServingPoint, number: int | None) -> ServingPoint:
    return replace(made, epoch=replace(made.epoch, base=replace(made.epoch.base, crl_number=number)))


NUMBER = tlv(0xA1, b"\x02\x01\x07")
INVALIDITY = tlv(0x30, b"\x06\x03\x55\x1d\x18", tlv(0x04, time(INVALID_SINCE)))


@pytest.mark.parametrize(
    ("policy", "extensions"),
    [
        ({}, b""),
        ({"crl_reference": True}, crl_id(NOW - HOUR, NUMBER)),
        ({"archive_cutoff_seconds": DAY}, archive_cutoff(PRODUCED_AT - DAY)),
        ({"archive_cutoff_seconds": 2 * PRODUCED_AT}, archive_cutoff(0)),
        ({"invalidity_date": True}, INVALIDITY),
        (
            {"crl_reference": True, "archive_cutoff_seconds": DAY, "invalidity_date": True},
            crl_id(NOW - HOUR, NUMBER) + archive_cutoff(PRODUCED_AT - DAY) + INVALIDITY,
        ),
    ],
)
def test_statement_has_status_times_and_the_extensions_of_the_policy(policy, extensions):
    """4.4.2, 4.4.4, 4.4.5: number and time of the CRL, what is kept for how long, since when the key was in doubt."""
    revoked = tlv(0xA1, time(NOW - DAY), tlv(0xA0, b"\x0a\x01\x01"))
    expected = revoked + time(NOW - HOUR) + tlv(0xA0, time(NOW + DAY))
    expected += tlv(0xA1, tlv(0x30, extensions)) if extensions else b""
    assert statement(point(ONE, ENTRY), **policy) == expected


def test_crl_reference_of_several_crls_is_to_the_oldest_of_the_newest_of_each_point():
    """4.4.2: one CRL is named; the status is not known to be newer than the oldest that it was concluded from."""
    scopes = (Scope(scope_id="1" * 64, only_user=True), Scope(scope_id="2" * 64, only_ca=True))
    times = (NOW - HOUR, NOW - 2 * HOUR)
    points = [point(ONE, scope=scope, this_update=at) for scope, at in zip(scopes, times, strict=True)]
    numbers = [numbered(points[0], 3), numbered(points[1], 9)]
    expected = tlv(0xA1, tlv(0x30, crl_id(NOW - 2 * HOUR, tlv(0xA1, b"\x02\x01\x09"))))
    assert statement(*numbers, number=1, crl_reference=True).endswith(expected)


def test_crl_reference_without_a_number_has_its_time_alone():
    """4.4.2: each part of CrlID is optional, and a CRL need have no number."""
    made = numbered(point(ONE, ENTRY), None)
    assert statement(made, crl_reference=True).endswith(tlv(0xA1, tlv(0x30, crl_id(NOW - HOUR))))


def test_entry_without_an_invalidity_date_tells_none():
    """The policy is to pass on what the CRL says."""
    assert statement(point(ONE, entry(REVOKED)), invalidity_date=True) == statement(point(ONE, entry(REVOKED)))


def test_unknown_of_a_foreign_issuer_is_the_status_and_its_time():
    """4.2.1: `unknown` has no content, and no nextUpdate as nothing is known to come."""
    assert unknown_statement(NOW) == b"\x82\x00" + time(NOW)


def test_certs_are_left_out_where_none_are_sent_along():
    """4.2.1: the field is optional; an empty SEQUENCE is no absent one."""
    assert certs_field(()) == b""
    assert certs_field((b"\x30\x00", b"\x30\x00")) == b"\xa0\x06\x30\x04\x30\x00\x30\x00"
