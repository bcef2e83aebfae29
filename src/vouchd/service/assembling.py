"""Answers but for holes (templates) or a signature (drafts): what depends on signer or sizes alone is made once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import Signer
from vouchd.core.response import certs_field, envelope, responder_id
from vouchd.errors import TokenUnavailable, TryLater
from vouchd.pkix import certs, der
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.service.statements import Statements
from vouchd.service.terms import Answer, Terms, error_answer

ENVELOPE_LIMIT = 4096
_OBJECT_BYTES = 1000  # what a template takes beside its octets

# What stands before what is signed, between it and the signature, and behind that; and the size of all.
Envelope = tuple[bytes, bytes, bytes, int]


@dataclass(frozen=True, slots=True, eq=False)
class Signing:
    """A signer with the pieces of a response that depend on it alone; `is_slow` tells whether its signatures are.

    `chain` are the certificates (DER) that are sent along.
    """

    signer: Signer
    responder_id: bytes
    chain: tuple[bytes, ...]
    not_before: int
    not_after: int
    is_slow: bool
    envelopes: dict[tuple[int, int, str], Envelope] = field(default_factory=dict)  # by the two sizes

    def enclose(self, tbs_size: int, signature_size: int, algorithm: str) -> Envelope:
        """Make the envelope for these sizes; of many signers few are asked for, so nothing is made before."""
        certs_der = next((known[2] for known in self.envelopes.values()), None) or certs_field(self.chain)
        head, middle = envelope(tbs_size, ALGORITHMS[algorithm].identifier_der, signature_size, certs_der)
        size = len(head) + tbs_size + len(middle) + signature_size + len(certs_der)
        made = head, middle, certs_der, size
        if len(self.envelopes) < ENVELOPE_LIMIT:
            self.envelopes[tbs_size, signature_size, algorithm] = made
        return made


class Template:
    """A prepared answer: ResponseData is `head`, producedAt, `before`, the serial, `after` and the nonce's Extension.

    `produced_at` is None where it is the moment of the answer, which a nonce asks for. It may be given in the seconds
    `since` to `until`. `size` is that of its requests. Its hole for a serial is at `start` of them, and whether one is
    listed is for `statements` to say; 0 and None where it has no such hole.
    """

    __slots__ = (
        "_after",
        "_before",
        "_front",
        "_head",
        "_produced_at",
        "_second",
        "algorithm",
        "basis",
        "signing",
        "since",
        "size",
        "start",
        "statements",
        "terms",
        "until",
    )

    def __init__(
        self,
        signing: Signing,
        algorithm: str,
        terms: Terms,
        pieces: tuple[bytes, bytes, bytes],
        *,
        produced_at: int | None,
        since: int,
        until: int,
        size: int,
        statements: Statements | None,
    ) -> None:
        self.signing, self.algorithm, self.terms, self.basis = signing, algorithm, terms, terms.basis
        self._head, self._before, self._after = pieces
        self._produced_at = produced_at
        self._second, self._front = -1, b""
        self.start = 0
        self.since, self.until, self.size, self.statements = since, until, size, statements

    @property
    def cost(self) -> int:
        """Bytes that it takes."""
        return _OBJECT_BYTES + 2 * (len(self._head) + len(self._before)) + len(self._after)

    def serves(self, size: int, at: int) -> bool:
        """Whether it may be given at POSIX second `at` to a request of so many octets that finds it."""
        return self.basis.current and size == self.size and self.since <= at <= self.until

    def draft(self, at: int, serial: bytes, nonce_der: bytes) -> Draft:
        """The answer at POSIX second `at` with what belongs in the holes."""
        second = at if self._produced_at is None else self._produced_at
        if second != self._second:
            self._second = second
            self._front = b"".join((self._head, der.generalized_time(second), self._before))
        return Draft(self, b"".join((self._front, serial, self._after, nonce_der)), second)


class Draft:
    """An answer that wants its signature alone: `tbs` is DER of ResponseData, all else is that of its `template`."""

    __slots__ = ("produced_at", "tbs", "template")

    def __init__(self, template: Template, tbs: bytes, produced_at: int) -> None:
        self.template = template
        self.tbs = tbs
        self.produced_at = produced_at

    @property
    def terms(self) -> Terms:
        """Those on which the answer will be given."""
        return self.template.terms

    def signed(self) -> Answer:
        """The answer, made with the signer's key; may be called in another thread. Raises: SigningError."""
        template = self.template
        try:
            signature = template.signing.signer.sign(self.tbs, template.algorithm)
        except TokenUnavailable as error:
            return _later(error)
        return self.signed_with(signature)

    def signed_with(self, signature: bytes) -> Answer:
        """The answer with that signature."""
        head, middle, certs_der, size = self.envelope(signature)
        return Answer((head, self.tbs, middle, signature, certs_der), self.template.terms, self.produced_at, size)

    def envelope(self, signature: bytes) -> Envelope:
        """What goes around it and that signature, the same for all of its template whose signatures are as long."""
        template = self.template
        sizes = len(self.tbs), len(signature), template.algorithm
        return template.signing.envelopes.get(sizes) or template.signing.enclose(*sizes)


def signatures(drafts: Iterable[Draft]) -> list[bytes]:
    """A signature for each draft, in their order, by signers that are quick. Raises: SigningError."""
    return [draft.template.signing.signer.sign(draft.tbs, draft.template.algorithm) for draft in drafts]


def signed_together(drafts: Sequence[Draft]) -> list[Answer]:
    """The answers to drafts of one signer and algorithm, asked of it at once; may be called in another thread.

    Raises: SigningError.
    """
    template = drafts[0].template
    try:
        made = template.signing.signer.sign_all([draft.tbs for draft in drafts], template.algorithm)
    except TokenUnavailable as error:
        return [_later(error) for _ in drafts]
    return [draft.signed_with(signature) for draft, signature in zip(drafts, made, strict=True)]


def _later(error: TokenUnavailable) -> Answer:
    return error_answer(TryLater(str(error), cause="token"))


def prepare_signing(signer: Signer, policy: ResponsePolicy, *, own_key: bool) -> Signing:
    """Prepare a signer; its certificate is sent along with its chain unless it is that of a CA, which clients have.

    So they have a root, or do not trust it: it stays away unless the policy says otherwise. `own_key`: it has the name
    and the key of a CA.
    """
    certificate = certs.load_certificate(signer.certificate_der)
    return Signing(
        signer=signer,
        responder_id=responder_id(certificate, by_name=policy.by_name),
        chain=() if own_key else (signer.certificate_der, *_sent(signer.chain_der, policy)),
        not_before=certs.not_before(certificate),
        not_after=certs.not_after(certificate),
        is_slow=signer.is_slow,
    )


def _sent(chain_der: tuple[bytes, ...], policy: ResponsePolicy) -> tuple[bytes, ...]:
    return chain_der if policy.send_root else tuple(one for one in chain_der if not certs.is_self_signed(one))


def choose_algorithm(signer: Signer, preferred: tuple[bytes, ...]) -> str:
    """The first algorithm the client prefers that the signer can make, else its default (RFC 6960 section 4.4.7.2)."""
    for identifier in preferred:
        for name in signer.algorithms:
            if ALGORITHMS[name].identifier_der == identifier:
                return name
    return signer.algorithms[0]
