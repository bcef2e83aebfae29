"""What the CAs that are served say of the signers that they have certified.

A signer answers for more than its own CA where it is a trusted responder, and for what is nobody's. So what counts is
the word of the CA that issued its certificate, wherever that stands, and of no other: serials are each CA's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vouchd.core.status import ServingAuthority, speaking
from vouchd.errors import IndexFileError, TryLater
from vouchd.pkix import certs
from vouchd.service.signer_certificates import SignerCertificates

_NONE: Final[Mapping[str, bool]] = {}


class SignerRevocations:
    """Which signers (`certificates`: theirs) are revoked, as far as their CAs were heard."""

    def __init__(self, certificates: SignerCertificates, authorities: Iterable[ServingAuthority] = ()) -> None:
        self._certificates = certificates
        # By the id of a CA, what it says against signers: true, or why that cannot be read.
        self._words: dict[str, Mapping[str, bool | IndexFileError]] = {}
        for serving in authorities:
            self.hear(serving)

    def hear(self, serving: ServingAuthority) -> bool:
        """Take a CA's word on the signers that it has issued; whether it says other than before."""
        return self._take(serving.authority.id, self._words_of(serving))

    def forget(self, authority_id: str) -> bool:
        """That CA says nothing any more; whether that makes a difference."""
        return self._take(authority_id, _NONE)

    def is_revoked(self, nickname: str) -> bool:
        """Whether its CA says so. Raises: IndexFileError when that could not be read."""
        words = [said[nickname] for said in self._words.values() if nickname in said]
        for word in words:
            if isinstance(word, IndexFileError):
                raise word
        return any(words)

    def _take(self, authority_id: str, words: Mapping[str, bool | IndexFileError]) -> bool:
        former = self._words.pop(authority_id, _NONE)
        if words:
            self._words[authority_id] = words
        return former != words

    def _words_of(self, serving: ServingAuthority) -> Mapping[str, bool | IndexFileError]:
        issued = self._certificates.issued_by(serving.authority)
        if not issued:
            return _NONE
        certificates = {name: self._certificates[name] for name in issued}
        words = {name: word for name, one in certificates.items() if (word := _word(serving, one))}
        if not words:  # most say nothing against any
            return _NONE
        # The CA's own key: its word on that is not in its own CRL.
        own = {certs.key_id(one) for one in serving.authority.certificates}
        return {name: word for name, word in words.items() if certs.key_id(certificates[name]) not in own}


def _word(serving: ServingAuthority, certificate_der: bytes) -> bool | IndexFileError:
    serial = certs.naming(certificate_der).serial
    try:
        return any(
            point.index.find(serial) is not None for point in speaking(serving) if not point.scope.only_attribute
        )
    except IndexFileError as error:
        return error


def revocation() -> TryLater:
    """Why nothing is signed by a signer that its own CA has revoked."""
    return TryLater(
        "the signing certificate is revoked by its CA",
        hint="have the CA certify a new key: vouchd certs request, then certs install",
        cause="revoked_signer",
    )
