"""The certificates of the instance's signers, of which the few that concern a CA are looked up by name."""

from __future__ import annotations

from collections.abc import Mapping

from vouchd.core.facts import Authority
from vouchd.core.key_history import name_of
from vouchd.pkix import certs, names


class SignerCertificates(dict[str, bytes]):
    """The certificates (DER) of signers by nickname; the few that a CA may have certified are found by name."""

    def __init__(self, certificates: Mapping[str, bytes]) -> None:
        super().__init__(certificates)
        by_name: dict[bytes, list[str]] = {}
        for nickname, certificate_der in certificates.items():
            naming = certs.naming(certificate_der)
            for name in (naming.issuer, naming.subject):
                named = by_name.setdefault(name, [])
                if named[-1:] != [nickname]:  # its issuer and its own name may be one
                    named.append(nickname)
        self._by_name = {name: tuple(named) for name, named in by_name.items()}  # half as large as lists

    def near(self, authority: Authority) -> list[str]:
        """The nicknames, in order, of those issued under the CA's name or of that name: no other can be fit for it."""
        known = {names.canonical(certs.name_and_key(one)[0]) for one in authority.certificates}
        return sorted({nickname for name in known for nickname in self._by_name.get(name, ())})

    def issued_by(self, authority: Authority) -> list[str]:
        """The nicknames of those that say that the CA, by the name of its newest certificate, has issued them."""
        name = names.canonical(name_of(authority))
        return [one for one in self._by_name.get(name, ()) if certs.naming(self[one]).issuer == name]

    def of_key(self, certificate_der: bytes) -> list[str]:
        """The nicknames of those with the subject, as it is spelt, and the key of that certificate."""
        identity = certs.name_and_key(certificate_der)
        name = names.canonical(identity[0])
        named = [one for one in self._by_name.get(name, ()) if certs.naming(self[one]).subject == name]
        return [one for one in named if certs.name_and_key(self[one]) == identity]
