"""Differences planted between the real Dogtag's OCSP manager and an instance of vouchd, and what must be said of each.

Each of the first kind has a CA of its own, for which both answer by the one signer: what differs is what either has of
that CA, or how the instance is set to answer for it. The others lie in the question, which one of the two refuses or
understands in another way.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import field as made_by
from itertools import count, product
from urllib.parse import quote

from cryptography import x509
from tests.client.answers import ask_for
from tests.pki import CA, DAY, HOUR

from vouchd.client.inquiry import build_request, encode_cert_id
from vouchd.client.transport import Method
from vouchd.cloning.probing import forms
from vouchd.pkix.signatures import DIGESTS

REVOKED, HELD, NEVER_ISSUED = 0x51, 0x52, 0x53
Entries = dict[int, x509.ReasonFlags | None]
ENTRIES: Entries = {REVOKED: x509.ReasonFlags.key_compromise, HELD: x509.ReasonFlags.certificate_hold}
# What every answer of the one has and none of the other's: it is no planted difference.
HABITS = frozenset(("producedAt", "chain", "preferred algorithm"))


@dataclass(frozen=True, eq=False)
class List:
    """A CRL of a CA: what it lists, and when it was made; `delta` is what a delta CRL adds a minute later."""

    entries: Entries = made_by(default_factory=lambda: ENTRIES)
    this_update: int = -HOUR
    next_update: int = DAY
    revoked_at: int = -DAY
    delta: Entries | None = None

    def crls(self, ca: CA, now: int) -> Iterator[bytes]:
        """DER of it, and of its delta."""
        made_at, next_update, revoked_at = now + self.this_update, now + self.next_update, now + self.revoked_at
        yield ca.crl(self.entries, number=7, this_update=made_at, next_update=next_update, revoked_at=revoked_at)
        if self.delta is not None:
            times = {"this_update": made_at + 60, "next_update": next_update, "revoked_at": revoked_at}
            yield ca.crl(self.delta, number=8, base=7, **times)


@dataclass(frozen=True, eq=False)
class PlantedCA:
    """A CA about which the two differ; `said` is what names that: an expectation, or the field that none explains.

    Of the lists None means that the CA is not there at all, and an empty one that it has no CRL.
    """

    name: str
    said: str
    ours: tuple[List, ...] | None = (List(),)
    theirs: tuple[List, ...] | None = (List(),)
    policy: tuple[str, ...] = ()
    serial: int = REVOKED


CAS = (
    PlantedCA("Revoked here alone", "certStatus", theirs=(List({HELD: None}),)),
    PlantedCA("Revoked there alone", "certStatus", ours=(List({HELD: None}),)),
    PlantedCA("Released there", "certStatus", theirs=(List({REVOKED: None}),), serial=HELD),
    PlantedCA("Revoked at another time", "revocationTime", theirs=(List(revoked_at=-2 * DAY),)),
    PlantedCA("Older there", "thisUpdate", theirs=(List(this_update=-2 * HOUR),)),
    PlantedCA("Older here", "thisUpdate", ours=(List(this_update=-2 * HOUR),)),
    PlantedCA("Not there", "outcome", theirs=None),
    PlantedCA("Not here", "outcome", ours=None),
    PlantedCA("No CRL here", "outcome", ours=()),
    PlantedCA("Unknown if not listed", "certStatus", policy=("--not-found-as-good", "false"), serial=NEVER_ISSUED),
    PlantedCA("Ended", "certStatus", policy=("compromised",), serial=NEVER_ISSUED),
    PlantedCA("Closed", "outcome", policy=("compromised", "--answer", "tryLater")),
    PlantedCA("Tells the next CRL", "nextUpdate", policy=("--include-next-update", "true")),
    PlantedCA("Tells reasons", "reason", policy=("--reasons", "true")),
    PlantedCA("Names its CRL", "extensions", policy=("--crl-reference",)),
    PlantedCA("Cuts off", "extensions", policy=("--archive-cutoff", "31536000")),
    PlantedCA("By the clock", "live times", policy=("--live-times", "--live-this-update")),
    PlantedCA("Delta", "delta CRL", ours=(List({HELD: None}, delta={REVOKED: None}),), theirs=(List({HELD: None}),)),
    PlantedCA(
        "Expired",
        "expired CRL",
        ours=(List(next_update=-60),),
        theirs=(List(next_update=-60),),
        serial=NEVER_ISSUED,
    ),
    PlantedCA("No CRL at all", "no CRL", ours=(), theirs=()),
)


@dataclass(frozen=True, eq=False)
class PlantedForm:
    """A way of asking about a CA that is the same on both sides, which they treat differently."""

    name: str
    said: str
    request: Callable[[CA], bytes]
    method: Method = Method.POST
    names_the_ca: bool = True  # so that it can be told of which CA it is


def _of_another_name(ca: CA) -> bytes:
    cert_ids = ask_for(ca, REVOKED).cert_ids
    return build_request([encode_cert_id(one._replace(issuer_name_hash=secrets.token_bytes(32))) for one in cert_ids])


def _of_nobody(ca: CA) -> bytes:
    (cert_id,) = ask_for(ca, REVOKED).cert_ids
    unknown = {"issuer_name_hash": secrets.token_bytes(32), "issuer_key_hash": secrets.token_bytes(32)}
    return build_request([encode_cert_id(cert_id._replace(**unknown))])


def _large(ca: CA) -> bytes:
    return ask_for(ca, *range(REVOKED, REVOKED + 60)).request_der


def _with_slashes(ca: CA) -> bytes:
    requests = (ask_for(ca, 0xFFFFFFFFFFFF << 20 | serial).request_der for serial in count())
    return next(filter(_has_slashes, requests))


def _has_slashes(request_der: bytes) -> bool:
    return b"//" in base64.b64encode(request_der)


def _with_nonce(size: int) -> Callable[[CA], bytes]:
    return lambda ca: ask_for(ca, REVOKED, nonce=secrets.token_bytes(size)).request_der


FORMS = (
    PlantedForm("another name of the CA", "issuer name", _of_another_name),
    PlantedForm("a CA of nobody", "errors", _of_nobody, names_the_ca=False),
    PlantedForm("more than 5,000 bytes", "request size", _large),
    PlantedForm("two slashes", "slashes", _with_slashes, Method.GET),
    PlantedForm("a long nonce", "odd request", _with_nonce(200), names_the_ca=False),
    PlantedForm("an empty nonce", "odd request", _with_nonce(0), names_the_ca=False),
)


def alike(ca: CA) -> list[tuple[bytes, Method]]:
    """Questions about a CA that is the same on both sides, in every form in which clients ask.

    By POST alone where a GET would happen to have two slashes in a row.
    """
    serials = [serial.to_bytes(1 + (serial > 127), "big") for serial in (REVOKED, HELD, NEVER_ISSUED)]
    every = [
        (one.question.request_der, one.method) for one in forms(ca.der, "", dict(zip("rhn", serials, strict=True)))
    ]
    for serial, digest in product((REVOKED, HELD, NEVER_ISSUED), DIGESTS):
        nonce = secrets.token_bytes(32)
        request = ask_for(ca, serial, digest=digest).request_der
        every += [(request, Method.GET), (request, Method.POST)]
        every += [(ask_for(ca, serial, digest=digest, nonce=nonce).request_der, Method.POST)]
    return [one for one in every if one[1] is Method.POST or not _has_slashes(one[0])]


def as_sent(request_der: bytes, method: Method) -> bytes:
    """The request as a client sends it over HTTP."""
    if method is Method.GET:
        path = quote(base64.b64encode(request_der).decode(), safe="")
        return f"GET /ocsp/ee/ocsp/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    head = f"POST /ocsp/ee/ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: {len(request_der)}\r\n\r\n"
    return head.encode() + request_der
