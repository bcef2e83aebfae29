"""Which of the instance's signers answers for what was issued under one key of a CA.

First the signer that the CA's policy names, or the default, when the key of the CertID itself certified it or is its
own: clients ask for just that (RFC 6960 4.2.2.2), and after a key rollover the old key and the new one have signers of
their own. Then any other signer of the instance of which that is true. Then the named one in any case: it may be fit
under another key of the CA, or be trusted by the CA's clients. One that has expired is passed over for the next.

Of several CAs in one request the first that may answer for all of them does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vouchd.core.facts import Authority
from vouchd.core.status import ServingAuthority
from vouchd.errors import SigningError, TryLater, Unauthorized
from vouchd.pkix import certs
from vouchd.service.assembling import Signing


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA that CertIDs name by one of its keys; `key` is its `certs.key_id`."""

    serving: ServingAuthority
    key: str


class SignerChoice:
    """Chooses among `signings` by nickname; what was found for a key is kept for as long as the state is served."""

    def __init__(self, signings: Mapping[str, Signing], default: str) -> None:
        self._signings = signings
        self._default = default
        self._known: dict[tuple[str, str], tuple[Signing, ...]] = {}

    def signing(self, issuers: Iterable[Issuer | None], at: int) -> Signing:
        """The signer for all these; of None, a CA that is not ours, every signer may say so.

        Raises: Unauthorized when none may answer for all; TryLater when one that is needed is away or has expired.
        """
        by_key = {(one.serving.authority.id, one.key): one for one in issuers if one is not None}
        choices = [self._candidates(key, one) for key, one in by_key.items()]
        if not choices:
            return self._valid((self._signings[self._default],), at)
        common = tuple(signing for signing in choices[0] if all(signing in others for others in choices[1:]))
        if not common:
            raise Unauthorized("the CertIDs are of CAs that different signers answer for")
        return self._valid(common, at)

    def _candidates(self, key: tuple[str, str], issuer: Issuer) -> tuple[Signing, ...]:
        known = self._known.get(key)
        if known is None:
            certificates = {name: signing.signer.certificate_der for name, signing in self._signings.items()}
            names = nicknames(issuer.serving.authority, issuer.key, certificates, self._default)
            self._known[key] = known = tuple(self._signings[name] for name in names)
        if not known:
            raise TryLater("the signer of this CA is not on this instance", cause="no_signer")
        return known

    def _valid(self, signings: tuple[Signing, ...], at: int) -> Signing:
        for signing in signings:
            if signing.not_before <= at <= signing.not_after:
                return signing
        if at < signings[0].not_before:
            raise TryLater("the signing certificate is not valid yet", cause="expired_signer")
        raise TryLater("the signing certificate has expired", cause="expired_signer")


def nicknames(authority: Authority, key: str, certificates: Mapping[str, bytes], default: str) -> tuple[str, ...]:
    """The nicknames of the signers (`certificates`: theirs, DER) that may answer for that key of the CA, best first.

    None when the one that is named for the CA is not among them.
    """
    named = authority.policy.signer or default
    if named not in certificates:
        return ()
    of_key = [one for one in authority.certificates if certs.key_id(one) == key]
    in_order = [named, *(name for name in sorted(certificates) if name != named)]
    fit = [name for name in in_order if _is_fit(certificates[name], of_key)]
    return tuple(dict.fromkeys([*fit, named]))


def _is_fit(signer_der: bytes, certificates: Iterable[bytes]) -> bool:
    """Whether the signer is fit under this key (RFC 6960 4.2.2.2); its validity is looked at when it is to sign."""
    signer = certs.load_certificate(signer_der)
    try:
        certs.check_signer_of(signer, certificates, certs.not_after(signer))
    except SigningError:
        return False
    return True
