"""What bears upon the answers for some CAs, found without a look at all others.

An answer for a CA rests on more than that CA: on the signers that may sign for it, which are those that its policy
names and those issued under its name or of its name; on what CAs say of these signers, which only those do under whose
name they were issued; on whether a signer is a CA's own key, which only a CA of its name can have; and on other CAs
that have a name and a key in common with it, of which the last one answers. All of that goes by names, as
`names.canonical` has them. So a responder over the CAs and signers found here says of these CAs what one over all says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from vouchd.core.facts import Authority
from vouchd.core.ports import Signer
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.pkix import certs, names
from vouchd.service.signer_certificates import SignerCertificates


class Surroundings:
    """Of the CAs in `state`, answered for with `signers`, whose certificates are among these."""

    def __init__(
        self,
        state: ServingState,
        signers: Mapping[str, Signer],
        certificates: SignerCertificates,
        default_signer: str,
    ) -> None:
        self._state = state
        self._signers = signers
        self._certificates = certificates
        self._default = default_signer

    @cached_property
    def _places(self) -> Mapping[bytes, list[int]]:
        """Where in the state CAs are, by the names of their certificates."""
        places: dict[bytes, list[int]] = {}
        for place, serving in enumerate(self._state.authorities):
            for name in _names(serving.authority):
                places.setdefault(name, []).append(place)
        return places

    def of(self, cas: Iterable[ServingAuthority]) -> tuple[ServingState, dict[str, Signer]]:
        """The CAs that bear upon answers for these, which are among them, in their order; and the signers."""
        cas_names, nicknames = set[bytes](), set[str]()
        for serving in cas:
            cas_names |= _names(serving.authority)
            nicknames.add(serving.authority.policy.signer or self._default)
            nicknames.update(self._certificates.near(serving.authority))
        signers = {nickname: self._signers[nickname] for nickname in sorted(nicknames) if nickname in self._signers}
        for signer in signers.values():
            naming = certs.naming(signer.certificate_der)
            cas_names |= {naming.issuer, naming.subject}
        places = {place for name in cas_names for place in self._places.get(name, ())}
        near = tuple(self._state.authorities[place] for place in sorted(places))
        return ServingState(self._state.version, near), signers


def _names(authority: Authority) -> set[bytes]:
    return {names.canonical(certs.name_and_key(one)[0]) for one in authority.certificates}
