"""What members are asked when they are compared: certificates of each CA that the set itself knows, and an unknown CA.

Each in the three ways in which most clients ask, and one of each CA in every form there is (`cloning/forms.py`).

Drawn at random, so that what one comparison did not ask about another one will.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from vouchd.client.inquiry import Question, build_request, encode_cert_id, new_nonce, question
from vouchd.client.response_facts import CertID
from vouchd.client.transport import Method
from vouchd.cloning.comparison import Probe
from vouchd.cloning.forms import forms
from vouchd.core.ports import RevocationIndex, SerialSet
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.pkix.reasons import Reason

MAX_SAMPLE = 10_000
FORMS_OF = 20  # what a form makes different is seldom different by CA
_LOOKED_AT = 20_000  # entries of one index that a sample is drawn from
_RANDOM = secrets.SystemRandom()

CHOSEN, REVOKED, HELD, ISSUED, NEVER_ISSUED = "chosen", "revoked", "held", "issued", "never issued"
UNKNOWN_CA = "of an unknown CA"


def probes(state: ServingState, sample: int, chosen: Sequence[bytes]) -> Iterator[Probe]:
    """Of each CA at most `sample` certificates of each kind and one that was never issued, or those `chosen` alone.

    Each is asked about by GET and POST without a nonce, and by POST with one; so is one of a CA that nobody knows. Of
    `FORMS_OF` CAs at most some are asked about in every form.
    """
    in_all_forms = set(_RANDOM.sample(range(len(state.authorities)), min(FORMS_OF, len(state.authorities))))
    for number, served in enumerate(state.authorities):
        der, label = served.authority.certificate_der, served.authority.label
        known = ((CHOSEN, serial) for serial in chosen) if chosen else _known(served, sample)
        asked_about: dict[str, bytes] = {}  # one serial of each kind
        for kind, serial in known:
            asked_about.setdefault(kind, serial)
            yield from _three(kind, label, question(der, [serial]), question(der, [serial], nonce=new_nonce()))
        if number in in_all_forms:
            others = chosen[1:] if chosen else ()
            yield from forms(der, label, {**asked_about, **{f"{CHOSEN} {one.hex()}": one for one in others}})
    if not chosen:
        stranger = CertID("SHA-256", secrets.token_bytes(32), secrets.token_bytes(32), b"\x01")
        yield from _three(UNKNOWN_CA, "", _of_stranger(stranger, None), _of_stranger(stranger, new_nonce()))


def _known(served: ServingAuthority, sample: int) -> Iterator[tuple[str, bytes]]:
    """Kind and serial; what is issued is known of a CA that keeps a list of it."""
    indexes = [point.index for point in served.points]
    for index in indexes:
        yield from _listed(index, sample)
    if served.issued is not None:
        yield from ((ISSUED, serial) for serial in _issued(served.issued, indexes, sample))
    yield NEVER_ISSUED, b"\x01" + secrets.token_bytes(15)


def _listed(index: RevocationIndex, sample: int) -> Iterator[tuple[str, bytes]]:
    wanted = {HELD: sample, REVOKED: sample}
    for position in _positions(len(index)):
        entry = index.at(position)
        kind = HELD if entry.reason is Reason.CERTIFICATE_HOLD else REVOKED
        if wanted[kind]:
            wanted[kind] -= 1
            yield kind, entry.serial
        if not any(wanted.values()):
            return


def _issued(serials: SerialSet, indexes: Sequence[RevocationIndex], sample: int) -> Iterator[bytes]:
    """Of those that were issued some that no CRL lists."""
    for position in _positions(len(serials)):
        if not sample:
            return
        serial = serials.at(position)
        if not any(index.find(serial) for index in indexes):
            sample -= 1
            yield serial


def _positions(count: int) -> list[int]:
    return _RANDOM.sample(range(count), min(count, _LOOKED_AT))


def _of_stranger(stranger: CertID, nonce: bytes | None) -> Question:
    return Question(None, (stranger,), nonce, build_request([encode_cert_id(stranger)], nonce))


def _three(kind: str, authority: str, plain: Question, with_nonce: Question) -> Iterator[Probe]:
    yield Probe(kind, plain, Method.GET, authority)
    yield Probe(kind, plain, Method.POST, authority)
    yield Probe(kind, with_nonce, Method.POST, authority)
