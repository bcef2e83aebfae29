"""What members are asked when they are compared: of each CA good, revoked and held certificates, and an unknown CA."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from vouchd.client.comparison import Probe
from vouchd.client.ocsp import Question, build_request, encode_cert_id, new_nonce, question
from vouchd.client.response import CertID
from vouchd.client.transport import Method
from vouchd.core.facts import Reason
from vouchd.core.status import ServingAuthority, ServingState

MAX_SAMPLE = 10_000
_SCANNED = 200_000  # entries that a sample is drawn from
_UNKNOWN_CA = "unknown CA"


def probes(state: ServingState, sample: int, chosen: Sequence[bytes]) -> Iterator[Probe]:
    """`sample` certificates of each kind of each CA, those of the serials `chosen`, and one of an unknown CA.

    Each is asked about by GET and POST without a nonce, and by POST with one.
    """
    for served in state.authorities:
        for about, serial in _serials(served, sample, chosen):
            der = served.authority.certificate_der
            named = f"{about} of {served.authority.label}"
            yield from _three(named, question(der, [serial]), question(der, [serial], nonce=new_nonce()))
    stranger = CertID("SHA-256", secrets.token_bytes(32), secrets.token_bytes(32), b"\x01")
    yield from _three(_UNKNOWN_CA, _of_stranger(stranger, None), _of_stranger(stranger, new_nonce()))


def _serials(served: ServingAuthority, sample: int, chosen: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    for serial in chosen:
        yield "chosen", serial
    held: list[bytes] = []
    revoked: list[bytes] = []
    for point in served.points:
        index = point.index
        for entry in islice(index, _SCANNED) if isinstance(index, Iterable) else ():
            (held if entry.reason is Reason.CERTIFICATE_HOLD else revoked).append(entry.serial)
    for about, serials in (("held", held), ("revoked", revoked)):
        for serial in _drawn(serials, sample):
            yield about, serial
    for _ in range(sample):
        yield "good", b"\x01" + secrets.token_bytes(15)


def _drawn(serials: list[bytes], sample: int) -> list[bytes]:
    return serials if len(serials) <= sample else secrets.SystemRandom().sample(serials, sample)


def _of_stranger(stranger: CertID, nonce: bytes | None) -> Question:
    return Question(None, (stranger,), nonce, build_request([encode_cert_id(stranger)], nonce))


def _three(about: str, plain: Question, with_nonce: Question) -> Iterator[Probe]:
    yield Probe(f"{about}, GET", plain, Method.GET)
    yield Probe(f"{about}, POST", plain, Method.POST)
    yield Probe(f"{about}, nonce", with_nonce, Method.POST)
