"""The tokens that keys of an instance are on, as this host reaches them: looked at, and tried.

What is tried here opens a session of its own and ends it. Where the process signs with the token it has a launcher of
its sessions already, and that one is asked, since it knows which PIN was refused: nobody locks a token by looking.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import load_der_public_key

from vouchd.core.facts import Caller
from vouchd.errors import NotFound, SigningError, VouchdError
from vouchd.instance.certificates.tokens import NamedToken, named_token, named_tokens
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for, verify
from vouchd.service.permission import Action, Permission
from vouchd.settings.layout import Layout
from vouchd.signing.token.pool import OPEN_SECONDS
from vouchd.signing.token.reference import TokenPlace
from vouchd.signing.token.session import Launcher, Session

GOOD = "good"
_TRIALS = 20
_TRIAL = b"a trial signature of vouchd token test"
_NO_LAUNCHERS: Mapping[TokenPlace, Launcher] = {}


@dataclass(frozen=True, slots=True)
class TokenContent:
    """A token as it describes itself, with the private keys on it; `present` says of each key named here if it is."""

    token: NamedToken
    description: Mapping[str, Any]
    keys: tuple[Mapping[str, Any], ...]
    present: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class KeyTrial:
    """How signing with one key went: GOOD or what failed, and milliseconds a signature, None where it failed."""

    key: str
    algorithm: str
    result: str
    milliseconds: float | None


class HostTokens:
    """Looks at tokens and tries them; `launchers` are those that this process has for signing."""

    def __init__(
        self, layout: Layout, permission: Permission, launchers: Mapping[TokenPlace, Launcher] = _NO_LAUNCHERS
    ) -> None:
        self._layout = layout
        self._permission = permission
        self._launchers = dict(launchers)

    def named(self, caller: Caller) -> tuple[NamedToken, ...]:
        """The tokens that key files name. Raises: PermissionDenied; SigningError."""
        self._permission.allow(caller, Action.LIST_CERTIFICATES, "tokens")
        return named_tokens(self._layout)

    def state(self, place: TokenPlace) -> str:
        """GOOD when one can log in to the token now, else why not."""
        try:
            self._open(place).close()
        except SigningError as error:
            return str(error)
        return GOOD

    def content(self, label: str, caller: Caller) -> TokenContent:
        """What is on the token of that label. Raises: PermissionDenied; NotFound; SigningError."""
        self._permission.allow(caller, Action.LIST_CERTIFICATES, f"token {label}")
        token = named_token(self._layout, label)
        until = time.monotonic() + OPEN_SECONDS
        with closing(self._open(token.place)) as session:
            keys = tuple(session.keys(until))
            present = {name: _has(session, public_der, until) for name, public_der in token.public_keys()}
            return TokenContent(token, session.description, keys, present)

    def trial(self, label: str, caller: Caller, *, last_try: bool = False) -> tuple[KeyTrial, ...]:
        """Log in to the token of that label and sign with each key named there; `last_try` as in `Launcher.open`.

        Raises: PermissionDenied; NotFound; SigningError when nobody can log in.
        """
        self._permission.allow(caller, Action.TEST_TOKENS, label)
        token = named_token(self._layout, label)
        results = []
        for name, public_der in token.public_keys():
            with closing(self._open(token.place, last_try=last_try)) as session:  # one that failed serves no other key
                results.append(_tried(session, name, public_der))
        return tuple(results)

    def _open(self, place: TokenPlace, *, last_try: bool = False) -> Session:
        launcher = self._launchers.setdefault(place, Launcher(place))
        return launcher.open(OPEN_SECONDS, last_try=last_try)


def _has(session: Session, public_der: bytes, until: float) -> bool:
    try:
        session.find(public_der, until)
    except NotFound:
        return False
    return True


def _tried(session: Session, name: str, public_der: bytes) -> KeyTrial:
    public_key = load_der_public_key(public_der)
    algorithm = algorithms_for(public_key)[0]
    started = time.monotonic()
    try:
        for _ in range(_TRIALS):
            signature = session.sign(public_der, algorithm, _TRIAL, time.monotonic() + OPEN_SECONDS)
            verify(public_key, ALGORITHMS[algorithm].identifier_der, signature, _TRIAL)
    except (VouchdError, ValueError) as error:
        return KeyTrial(name, algorithm, str(error), None)
    milliseconds = (time.monotonic() - started) * 1000 / _TRIALS
    return KeyTrial(name, algorithm, GOOD, round(milliseconds, 2))
