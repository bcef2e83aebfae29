"""An answer in two halves: what is prepared once, and the signature and nonce that each request adds.

The responder decides what is said; here it is only put together, from pieces that depend on the signer or on sizes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from vouchd.core.facts import CertStatus
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import Signer
from vouchd.core.response import certs_field, envelope, responder_id
from vouchd.pkix import certs, der
from vouchd.pkix.ocsp import NONCE
from vouchd.pkix.signatures import ALGORITHMS

ENVELOPE_LIMIT = 4096

_NONCE_START = der.tlv(der.OID, NONCE) + b"\x04"  # up to the tag of extnValue


@dataclass(frozen=True, slots=True, eq=False)
class Signing:
    """A signer with the pieces of a response that depend on it alone."""

    signer: Signer
    responder_id: bytes
    certs_der: bytes
    not_before: int
    not_after: int
    envelopes: dict[tuple[int, int, str], tuple[bytes, bytes]] = field(default_factory=dict)


class Prepared(NamedTuple):
    """All of an answer but producedAt, the nonce and the signature.

    `tbs_head` is ResponseData up to producedAt, made for a nonce of the request's size; `tbs_rest` follows producedAt.
    `produced_at` is None where it is the moment of the answer, which a nonce asks for. `fresh_until` is the last second
    in which it may be given, None for ever; `ends_at` the moment that is told to caches.
    """

    signing: Signing
    algorithm: str
    tbs_head: bytes
    tbs_rest: bytes
    cert_statuses: tuple[CertStatus, ...]
    produced_at: int | None
    this_update: int
    fresh_until: int
    ends_at: int | None
    cacheable: bool
    authority_id: str
    unusual: bool = False  # its request will hardly come again

    def is_fresh(self, at: int) -> bool:
        """Whether it may still be given at POSIX time `at`."""
        return at <= self.fresh_until

    def signed(self, produced_at: int, nonce_der: bytes) -> bytes:
        """DER of the OCSPResponse with producedAt and the nonce's Extension (may be empty). Raises: SigningError."""
        signing, algorithm = self.signing, self.algorithm
        tbs = b"".join((self.tbs_head, der.generalized_time(produced_at), self.tbs_rest, nonce_der))
        signature = signing.signer.sign(tbs, algorithm)
        sizes = (len(tbs), len(signature), algorithm)
        frame = signing.envelopes.get(sizes)
        if frame is None:
            frame = envelope(len(tbs), ALGORITHMS[algorithm].identifier_der, len(signature), signing.certs_der)
            if len(signing.envelopes) < ENVELOPE_LIMIT:
                signing.envelopes[sizes] = frame
        return b"".join((frame[0], tbs, frame[1], signature, signing.certs_der))


def prepare_signing(signer: Signer, policy: ResponsePolicy, own: Collection[tuple[bytes, bytes]]) -> Signing:
    """Prepare a signer; its certificate is sent along with its chain unless it is that of a CA, which clients have.

    So they have a root, or do not trust it: it stays away unless the policy says otherwise. `own` are the names and
    keys of the CAs (`certs.name_and_key`).
    """
    certificate = certs.load_certificate(signer.certificate_der)
    own_key = certs.name_and_key(signer.certificate_der) in own
    return Signing(
        signer=signer,
        responder_id=responder_id(certificate, by_name=policy.by_name),
        certs_der=b"" if own_key else certs_field((signer.certificate_der, *_sent(signer.chain_der, policy))),
        not_before=certs.not_before(certificate),
        not_after=certs.not_after(certificate),
    )


def _sent(chain_der: tuple[bytes, ...], policy: ResponsePolicy) -> tuple[bytes, ...]:
    return chain_der if policy.send_root else tuple(one for one in chain_der if not certs.is_self_signed(one))


def split_nonce(request_der: bytes) -> tuple[bytes, bytes]:
    """The request up to the octets of a nonce that ends it, and the nonce's Extension; (request, b"") otherwise.

    Two requests of one length that agree up to there agree in every DER length, so they differ in nothing but their
    nonce. The length stands at the front of the key through the outermost element's own length octets. Only lengths
    below 128 are looked for; a longer nonce takes the ordinary way.
    """
    oid = request_der.rfind(_NONCE_START)
    start = oid + len(_NONCE_START) - 1
    size = len(request_der) - start
    if oid < 2 or not 5 <= size < 0x82:
        return request_der, b""
    _, outer, tag, inner = request_der[start : start + 4]
    if outer != size - 2 or tag != der.OCTET_STRING or inner != size - 4:
        return request_der, b""
    return request_der[: start + 4], request_der[oid - 2 :]


def choose_algorithm(signer: Signer, preferred: tuple[bytes, ...]) -> str:
    """The first algorithm the client prefers that the signer can make, else its default (RFC 6960 section 4.4.7.2)."""
    for identifier in preferred:
        for name in signer.algorithms:
            if ALGORITHMS[name].identifier_der == identifier:
                return name
    return signer.algorithms[0]
