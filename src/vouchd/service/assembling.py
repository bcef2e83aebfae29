"""An answer but for its signature, and the signature: what depends on the signer or on sizes alone is made once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import Signer
from vouchd.core.response import certs_field, envelope, responder_id
from vouchd.errors import TokenUnavailable, TryLater
from vouchd.pkix import certs
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.service.terms import Answer, Terms, error_answer

ENVELOPE_LIMIT = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Signing:
    """A signer with the pieces of a response that depend on it alone; `is_slow` tells whether its signatures are."""

    signer: Signer
    responder_id: bytes
    certs_der: bytes
    not_before: int
    not_after: int
    is_slow: bool
    # By the sizes of what is signed and of the signature: what stands before and between them, and the size of all.
    envelopes: dict[tuple[int, int, str], tuple[bytes, bytes, int]] = field(default_factory=dict)


class Draft:
    """An answer that wants its signature alone: `tbs` is DER of ResponseData."""

    __slots__ = ("_produced_at", "algorithm", "signing", "tbs", "terms")

    def __init__(self, signing: Signing, algorithm: str, tbs: bytes, terms: Terms, produced_at: int) -> None:
        self.signing = signing
        self.algorithm = algorithm
        self._produced_at = produced_at
        self.tbs = tbs
        self.terms = terms

    def signed(self) -> Answer:
        """The answer, made with the signer's key; may be called in another thread. Raises: SigningError."""
        try:
            signature = self.signing.signer.sign(self.tbs, self.algorithm)
        except TokenUnavailable as error:
            return _later(error)
        return self.signed_with(signature)

    def signed_with(self, signature: bytes) -> Answer:
        """The answer with that signature."""
        signing, algorithm, tbs = self.signing, self.algorithm, self.tbs
        sizes = (len(tbs), len(signature), algorithm)
        frame = signing.envelopes.get(sizes)
        if frame is None:
            identifier_der = ALGORITHMS[algorithm].identifier_der
            head, middle = envelope(len(tbs), identifier_der, len(signature), signing.certs_der)
            size = sum(map(len, (head, tbs, middle, signature, signing.certs_der)))
            frame = head, middle, size
            if len(signing.envelopes) < ENVELOPE_LIMIT:
                signing.envelopes[sizes] = frame
        head, middle, size = frame
        return Answer((head, tbs, middle, signature, signing.certs_der), self.terms, self._produced_at, size)


def signed_together(drafts: Sequence[Draft]) -> list[Answer]:
    """The answers to drafts of one signer and algorithm, asked of it at once; may be called in another thread.

    Raises: SigningError.
    """
    first = drafts[0]
    try:
        signatures = first.signing.signer.sign_all([draft.tbs for draft in drafts], first.algorithm)
    except TokenUnavailable as error:
        return [_later(error) for _ in drafts]
    return [draft.signed_with(signature) for draft, signature in zip(drafts, signatures, strict=True)]


def _later(error: TokenUnavailable) -> Answer:
    return error_answer(TryLater(str(error), cause="token"))


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
