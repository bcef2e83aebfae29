"""What is given for a request: an OCSPResponse in pieces, the terms on which it is given, and what these rest on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vouchd.core.facts import CertStatus
from vouchd.core.response import ERROR_RESPONSES
from vouchd.errors import OCSPResponseStatus, RequestError, outcome


class Basis:
    """What answers rest on, the state of a CA or of all; `current` until that is another one."""

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current = True


@dataclass(slots=True)
class Terms:
    """What holds of an answer beside its octets; all answers that differ in serial or nonce alone share one.

    `cause` is a stable word for an error, empty for a successful answer. Times are POSIX seconds; `next_update` is the
    moment that caches are told to end at, None when the CRL has no nextUpdate, and `fresh_until` the last second in
    which it may be given, by us too: its signer's life ends all; `begins_at` is the first, before which a time in it
    would lie ahead of a clock that was set back. `slot_end` is the second from which the same request has another
    answer that can be made before, None where there is no such. `repeats` says that the same answer signed again is the
    same octets. `settled_at` is a second since which the same request
    has had no other answer, and `is_dated` says that no other one with this `this_update` is known. `cacheable` says
    that the same request gets the same bytes until then, or until `basis` is not current any more, when nothing that
    rests on it may be given. `unusual` says that its request will hardly come again. `authority_id` is that of the CA
    that the answer speaks of, empty when it is none of ours or there are several. `frame` belongs to whoever sends the
    answers: what goes around them all.
    """

    status: OCSPResponseStatus = OCSPResponseStatus.SUCCESSFUL
    cause: str = ""
    cert_statuses: tuple[CertStatus, ...] = ()
    this_update: int = 0
    next_update: int | None = None
    fresh_until: int | None = None
    begins_at: int = 0
    slot_end: int | None = None
    repeats: bool = True
    settled_at: int = field(default=0, compare=False)
    is_dated: bool = field(default=True, compare=False)
    cacheable: bool = False
    authority_id: str = ""
    unusual: bool = False
    basis: Basis = field(default_factory=Basis, compare=False)
    frame: Any = field(default=None, compare=False, repr=False)

    def hold_at(self, second: int) -> bool:
        """Whether an answer on these terms that was drafted before may be given in that second."""
        return self.basis.current and (self.fresh_until is None or second <= self.fresh_until)


class Answer:
    """One OCSPResponse: `parts` are its DER in pieces, so that whoever sends it joins them once with what goes before.

    `produced_at` is its producedAt in POSIX seconds, 0 for an error; `size` is that of all parts together.
    """

    __slots__ = ("parts", "produced_at", "size", "terms")

    def __init__(self, parts: tuple[bytes, ...], terms: Terms, produced_at: int = 0, size: int = 0) -> None:
        self.parts = parts
        self.terms = terms
        self.produced_at = produced_at
        self.size = size or sum(map(len, parts))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answer):
            return NotImplemented
        mine, others = ((one.response_der, one.produced_at, one.terms) for one in (self, other))
        return mine == others

    __hash__ = None  # type: ignore[assignment]  # equal by what changes

    @property
    def response_der(self) -> bytes:
        """DER of OCSPResponse."""
        return b"".join(self.parts)

    @property
    def signed_octets(self) -> bytes:
        """What is the same however often it is signed: ResponseData and certificates; of an answer with a signature."""
        _, tbs, _, _, certs_der = self.parts
        return tbs + certs_der

    @property
    def status(self) -> OCSPResponseStatus:
        """See Terms."""
        return self.terms.status

    @property
    def cause(self) -> str:
        """See Terms."""
        return self.terms.cause

    @property
    def cert_statuses(self) -> tuple[CertStatus, ...]:
        """See Terms."""
        return self.terms.cert_statuses


def error_answer(error: RequestError) -> Answer:
    """The unsigned answer that tells an OCSP error status."""
    return unsigned_answer(outcome(error).ocsp_status, error.cause)


def unsigned_answer(status: OCSPResponseStatus, cause: str) -> Answer:
    """The same for a status, with a stable word for why."""
    return Answer((ERROR_RESPONSES[status],), Terms(status, cause))
