"""Which of the instance's signers answers for what was issued under one key of a CA.

First the signer that the CA's policy names, or the default, when the key of the CertID itself certified it or is its
own: clients ask for just that (RFC 6960 4.2.2.2), and after a key rollover the old key and the new one have signers of
their own. Then any other signer of the instance of which that is true. Then the named one when it is fit under another
key of the CA. One that has expired, or whose CA has, is passed over for the next.

Of several CAs in one request the first that may answer for all of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from vouchd.core.facts import Authority
from vouchd.core.status import ServingAuthority
from vouchd.errors import TryLater, Unauthorized
from vouchd.pkix import certs
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.service.assembling import Signing
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.signer_revocations import SignerRevocations, revocation


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA that CertIDs name by one of its keys; `key` is its `certs.key_id`."""

    serving: ServingAuthority
    key: str


class _Prepared(dict[str, Signing]):
    def __init__(self, prepare: Callable[[str], Signing]) -> None:
        super().__init__()
        self._prepare = prepare

    def __missing__(self, name: str) -> Signing:
        signing = self[name] = self._prepare(name)
        return signing


class SignerChoice:
    """Chooses among signers (`certificates`: theirs); the choice for a CA is kept until it is to be forgotten.

    Each of them is prepared by `prepare` when it is wanted first: of many, few are asked for.
    """

    def __init__(
        self,
        certificates: SignerCertificates,
        prepare: Callable[[str], Signing],
        default: str,
        revocations: SignerRevocations,
    ) -> None:
        self._certificates = certificates
        self._signings = _Prepared(prepare)
        self._default = default
        self._revocations = revocations
        self._known: dict[str, dict[str, dict[str, int]]] = {}  # by id and key of the CA
        self._shortened: dict[tuple[str, int], Signing] = {}  # those whose CA ends before they do

    def renew(self, name: str) -> None:
        """Prepare that signer anew."""
        self._signings.pop(name, None)
        self._shortened = {key: one for key, one in self._shortened.items() if key[0] != name}

    def forget(self, authority_id: str) -> None:
        """Choose anew for that CA."""
        self._known.pop(authority_id, None)

    def signing(self, issuers: Iterable[Issuer | None], at: int, preferred: tuple[bytes, ...] = ()) -> Signing:
        """The signer for all these; of None, a CA that is not ours, every signer may say so.

        Of several that may answer the first that makes an algorithm (AlgorithmIdentifier, DER) that is `preferred`, in
        that order, does (RFC 6960 section 4.4.7); else the best one.

        Raises: Unauthorized when none may answer for all; TryLater when one that is needed is away or has expired.
        """
        choices = self._choices(issuers)
        if len(choices) == 1:
            return self._valid(choices[0], at, preferred)
        common = [name for name in choices[0] if all(name in others for others in choices[1:])]
        if not common:
            raise Unauthorized("the CertIDs are of CAs that different signers answer for")
        return self._valid({name: min(ends[name] for ends in choices) for name in common}, at, preferred)

    def steady_until(self, issuers: Iterable[Issuer | None], at: int) -> int | None:
        """The last second in which none of the signers that may answer for all these begins to count, None for ever."""
        begins = {self._signings[name].not_before for choice in self._choices(issuers) for name in choice}
        return min((begin - 1 for begin in begins if begin > at), default=None)

    def _choices(self, issuers: Iterable[Issuer | None]) -> list[dict[str, int]]:
        by_key = {(one.serving.authority.id, one.key): one for one in issuers if one is not None}
        return [self._candidates(one) for one in by_key.values()] or [self._of_nobody()]

    def _of_nobody(self) -> dict[str, int]:
        """Where no CA of ours is concerned."""
        if self._default not in self._certificates:
            raise TryLater("the default signer cannot sign", cause="no_signer")
        if self._revocations.is_revoked(self._default):
            raise revocation()
        return {self._default: self._signings[self._default].not_after}

    def _candidates(self, issuer: Issuer) -> dict[str, int]:
        by_key = self._known.setdefault(issuer.serving.authority.id, {})
        known = by_key.get(issuer.key)
        if known is None:
            known = candidates(issuer.serving.authority, issuer.key, self._certificates, self._default)
            named = issuer.serving.authority.policy.signer or self._default
            revoked = {name for name in known if self._revocations.is_revoked(name)}
            if named in revoked:
                raise revocation()
            known = {name: end for name, end in known.items() if name not in revoked}
            by_key[issuer.key] = known
        if not known:
            named = issuer.serving.authority.policy.signer or self._default
            if named not in self._certificates:
                raise TryLater("the signer of this CA cannot sign", cause="no_signer")
            raise TryLater("the signer may not answer for this CA", cause="unfit_signer")
        return known

    def _valid(self, ends: Mapping[str, int], at: int, preferred: tuple[bytes, ...]) -> Signing:
        valid = [name for name, end in ends.items() if self._signings[name].not_before <= at <= end]
        if valid:
            name = self._preferred(valid, preferred) if preferred and len(valid) > 1 else valid[0]
            signing, end = self._signings[name], ends[name]
            return signing if end == signing.not_after else self._until(name, end)
        name, end = next(iter(ends.items()))
        if at < self._signings[name].not_before:
            raise TryLater("the signing certificate is not valid yet", cause="expired_signer")
        raise expiry(end, self._signings[name].not_after)

    def _preferred(self, signers: list[str], preferred: tuple[bytes, ...]) -> str:
        for identifier in preferred:
            for name in signers:
                able = self._signings[name].signer.algorithms
                if any(ALGORITHMS[algorithm].identifier_der == identifier for algorithm in able):
                    return name
        return signers[0]

    def _until(self, name: str, end: int) -> Signing:
        if (name, end) not in self._shortened:
            self._shortened[name, end] = replace(self._signings[name], not_after=end)
        return self._shortened[name, end]


def expiry(end: int, not_after: int) -> TryLater:
    """Why nothing is signed after `end`, by a signer whose certificate ends at `not_after`."""
    if end < not_after:
        return TryLater("the CA's certificate has expired", hint="add the CA's renewed certificate", cause="expired_ca")
    return TryLater("the signing certificate has expired", hint="have the CA issue a new one", cause="expired_signer")


def candidates(authority: Authority, key: str, certificates: SignerCertificates, default: str) -> dict[str, int]:
    """The signers (`certificates`: theirs, DER) that may answer for that key of the CA, best first, until when.

    None when the one that is named for the CA is away or may not answer for it: what is not as it was said to be is
    no reason to take another one.
    """
    named = authority.policy.signer or default
    if named not in certificates:
        return {}
    of_key = tuple(one for one in authority.certificates if certs.key_id(one) == key)
    under_any = certs.signing_end_of(
        certificates[named], authority.certificates, trusted=authority.policy.trusted_responder
    )
    if under_any is None:
        return {}
    in_order = [named, *(name for name in certificates.near(authority) if name != named)]
    under_key = {name: certs.signing_end_of(certificates[name], of_key) for name in in_order}
    fit = {name: end for name, end in under_key.items() if end is not None}
    return fit if named in fit else {**fit, named: under_any}
