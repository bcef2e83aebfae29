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
        by_issuer: dict[bytes, list[str]] = {}
        by_subject: dict[bytes, list[str]] = {}
        for nickname, certificate_der in certificates.items():
            naming = certs.naming(certificate_der)
            by_issuer.setdefault(naming.issuer, []).append(nickname)
            by_subject.setdefault(naming.subject, []).append(nickname)
        # Half as large as lists.
        self._by_issuer = {name: tuple(named) for name, named in by_issuer.items()}
        self._by_subject = {name: tuple(named) for name, named in by_subject.items()}

    def near(self, authority: Authority) -> list[str]:
        """The nicknames, in order, of those issued under the CA's name or of that name: no other can be fit for it."""
        known = {names.canonical(certs.name_and_key(one)[0]) for one in authority.certificates}
        return sorted({one for by in (self._by_issuer, self._by_subject) for name in known for one in by.get(name, ())})

    def issued_by(self, authority: Authority) -> tuple[str, ...]:
        """The nicknames of those that say that the CA, by the name of its newest certificate, has issued them."""
        return self._by_issuer.get(names.canonical(name_of(authority)), ())

    def of_key(self, certificate_der: bytes) -> list[str]:
        """The nicknames of those with the subject, as it is spelt, and the key of that certificate."""
        identity = certs.name_and_key(certificate_der)
        named = self._by_subject.get(names.canonical(identity[0]), ())
        return [one for one in named if certs.name_and_key(self[one]) == identity]
