"""What templates take is counted and bounded (law 3), and what only one client would ask for leaves nothing behind."""

from __future__ import annotations

import random

import pytest
from tests.pki import CA, NOW, shared_key
from tests.pkix.test_ocsp import extension, nonce, request
from tests.service.test_answering import ours_id
from tests.serving import entry, point, request_for, responder, serving, signer, state

from vouchd.pkix import der
from vouchd.service import templates
from vouchd.service.answering import Responder

ONE = CA.create("CA one")
TWO = CA.create("CA two", key=shared_key("EC", 2))
LISTED = tuple(entry(number) for number in range(2000, 2100))


@pytest.fixture
def ours() -> Responder:
    """A responder for two CAs, of which one lists a hundred serials."""
    served = state(serving(ONE, point(ONE, *LISTED)), serving(TWO, point(TWO), signer="two"))
    return responder(served, signer(ONE.issue_signer()), signer(TWO.issue_signer(key=shared_key("EC", 3)), "two"))


def size_of(kept: templates.Templates) -> int:
    """What the templates that are there take, counted afresh."""
    around, whole = kept._around, kept._whole
    own = sum(one.cost for one in around.values()) + sum(one.cost for one in whole.values() if not one.start)
    return own + sum(templates._KEY_BYTES + len(key) for key in (*around, *whole))


@pytest.mark.parametrize("limit", [1 << 30, 20_000])
def test_bytes_of_templates_are_counted_and_never_more_than_the_limit(ours, monkeypatch, limit: int):
    """Whatever is asked: what is counted is what is there, and all is dropped before it would be too much."""
    monkeypatch.setattr(templates, "TEMPLATE_BYTES", limit)
    chance, most = random.Random(7), 0
    for step in range(600):
        ca = chance.choice((ONE, TWO))
        number = chance.choice((1, 2, 2000 + step % 100, step))
        octets = chance.choice((None, bytes(8), bytes(16), chance.randbytes(16)))
        answer = ours.answer(request_for(ca, number, nonce=octets), NOW + step // 200)
        assert not answer.cause
        kept = ours._templates
        assert kept._bytes == size_of(kept) <= limit
        most = max(most, kept._bytes)
    assert most > min(limit, 20_000) // 2
    ours._templates.clear()
    assert (ours._templates._bytes, size_of(ours._templates)) == (0, 0)


def test_template_that_takes_the_place_of_another_is_counted_once(ours):
    """The same request in another second, of another state: what was there before is not counted any more."""
    for at in (NOW, NOW + 10**6):
        for octets in (None, bytes(16)):
            for number in (5, 2000):
                ours.answer(request_for(ONE, number, nonce=octets), at)
        assert ours._templates._bytes == size_of(ours._templates)


def test_request_of_one_client_alone_leaves_no_template(ours):
    """One with a name or an odd extension, or that is longer than those that come again."""
    odd = extension(der.oid_octets("1.3.6.1.4.1.99999.1"), b"x")
    long = extension(der.oid_octets("1.3.6.1.5.5.7.48.1.4"), b"\x30\x00" + bytes(templates.MAX_REQUEST_BYTES))
    for extensions in ([odd], [odd, nonce(bytes(16))], [long]):
        ours.answer(request(ours_id(ONE), extensions=extensions), NOW)
        assert ours._templates._bytes == 0
    ours.answer(request(ours_id(ONE), extensions=[nonce(bytes(16))]), NOW)
    assert ours._templates._bytes > 0


@pytest.mark.parametrize("size", [1, 2, 111, 112])
def test_nonce_of_up_to_112_octets_is_found_at_the_end(size: int):
    """So its Extension has a length below 128; of none, or a longer one, there is nothing to find."""
    sent = request_for(ONE, 5, nonce=b"n" * size)
    start = templates.up_to_nonce(sent)
    expected = len(sent) - size if size <= templates._MAX_OCTETS else len(sent)
    assert start == expected
    assert templates.up_to_nonce(sent + b"\0") == len(sent) + 1
    assert templates.up_to_nonce(request_for(ONE, 5)) == len(request_for(ONE, 5))
