"""Which of the CAs that are served has issued a certificate, found by its name: users come with each request."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress

from cryptography import x509

from vouchd.core.facts import Authority
from vouchd.core.key_history import Issuer, issuer_of
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.pkix import certs, names


class IssuersByName:
    """The CAs of the state that was asked last, by the names of their certificates; any thread may ask.

    Following another state costs what changed of the CAs, and nothing where only their CRLs did.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = -1
        self._serving: Mapping[str, ServingAuthority] = {}
        self._authorities: dict[str, Authority] = {}  # by id, those that `_ids` has
        self._ids: dict[bytes, tuple[str, ...]] = {}  # by name, as `names.canonical` has it

    def issuer_of(self, certificate: x509.Certificate, state: ServingState) -> Issuer | None:
        """The CA of the state that issued the certificate, and by which of its keys; None: none of them did."""
        try:
            name = names.canonical(certs.issuer_der(certificate))
        except ValueError:
            return None
        with self._lock:
            self._follow(state)
            candidates = [self._authorities[each] for each in self._ids.get(name, ())]
        return issuer_of(certificate, sorted(candidates, key=lambda one: (one.label, one.id)))

    def _follow(self, state: ServingState) -> None:
        serving = state.by_id
        if serving is self._serving:
            return
        changed = state.changed_since(self._version)
        for each in changed if changed is not None else self._authorities.keys() | serving.keys():
            former, now = self._authorities.get(each), serving[each].authority if each in serving else None
            if former is now:
                continue
            for name in _names(former):
                self._ids[name] = tuple(one for one in self._ids[name] if one != each)
                if not self._ids[name]:
                    del self._ids[name]
            for name in _names(now):
                self._ids[name] = (*self._ids.get(name, ()), each)
            self._authorities.pop(each, None)
            if now is not None:
                self._authorities[each] = now
        self._version, self._serving = state.version, serving


def _names(authority: Authority | None) -> Iterator[bytes]:
    """Each name of the CA's certificates once, of those that can be read."""
    known: set[bytes] = set()
    for one in authority.certificates if authority is not None else ():
        with suppress(ValueError):
            known.add(names.canonical(certs.name_and_key(one)[0]))
    yield from known
