"""How an instance joins the set, at the member that it asks: with a token that is good once, and a key of its own.

A token is the right of who has it, so whoever comes with a wrong one may only try so often. The registry is changed
where it is kept, never in a follower's copy of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vouchd.cloning.needs import MemberServices
from vouchd.cloning.proof import member_keys, succession
from vouchd.cloning.set_info import Joined, SetInfo
from vouchd.cloning.token_keys import KeyRequest, handed_keys
from vouchd.core.facts import Caller, Member
from vouchd.errors import NotFound, TryLater
from vouchd.settings.passwords import INTERNAL, read_passwords

# How often a stranger may be wrong: guesses cost the host little, and leave few records.

LIMIT = 10
SECONDS = 60.0
_MOST_ORIGINS = 1000


class Attempts:
    """Counts, for each address that strangers come from, what was refused to it lately. Used in several threads.

    Only counts are kept, and of so many addresses at most; the oldest is forgotten first.
    """

    def __init__(self) -> None:
        self._refused: dict[str, tuple[float, int]] = {}  # address: since when, how often
        self._lock = threading.Lock()

    @contextmanager
    def by(self, origin: str) -> Iterator[None]:
        """Run an attempt; one that ends with NotFound counts. Raises: TryLater when there were too many."""
        with self._lock:
            _, count = self._lately(origin)
        if count >= LIMIT:
            raise TryLater("too many wrong attempts from this address", hint="try again in a minute")
        try:
            yield
        except NotFound:
            with self._lock:
                since, count = self._lately(origin)
                self._refused.pop(origin, None)
                self._refused[origin] = (since, count + 1)
                if len(self._refused) > _MOST_ORIGINS:
                    del self._refused[next(iter(self._refused))]
            raise

    def _lately(self, origin: str) -> tuple[float, int]:
        now = time.monotonic()
        since, count = self._refused.get(origin, (now, 0))
        return (since, count) if now - since < SECONDS else (now, 0)


def check(services: MemberServices, attempts: Attempts, token: str, caller: Caller) -> SetInfo:
    """The set as this member sees it, for who has a join token; it stays good.

    Raises: NotFound for a wrong token, TryLater after too many; ConfigError where the registry is a copy.
    """
    _admit(services, attempts, token, caller)
    return services.membership.info()


def keys(
    services: MemberServices, attempts: Attempts, token: str, request: KeyRequest, caller: Caller
) -> dict[str, bytes]:
    """The keys of the set that are on no token, sealed, for who has a join token and reaches the token of the set.

    Raises: as `check`; BadInput when the set's signing key has not signed for it; SigningError.
    """
    _admit(services, attempts, token, caller)
    return handed_keys(services.layout, services.audit, caller, token, request)


def join(services: MemberServices, attempts: Attempts, member: Member, token: str, caller: Caller) -> Joined:
    """Let an instance in with a token, which is used up, the keys of the set and a key of its own.

    Raises: as `check`; PermissionDenied, AlreadyExists.
    """
    _admit(services, attempts, token, caller)
    return services.membership.joined(services.domain.join(member, token, caller))


def rejoin(services: MemberServices, member: Member, caller: Caller) -> Joined:
    """Say anew what is known of the member that asks: a join goes on, a renewed certificate counts.

    Raises: ConfigError where the registry is a copy; PermissionDenied.
    """
    services.membership.require_registrar()
    return services.membership.joined(services.domain.rejoin(member, caller))


def _admit(services: MemberServices, attempts: Attempts, token: str, caller: Caller) -> None:
    with attempts.by(caller.origin):
        services.domain.require_token(token, caller)
    services.membership.require_registrar()


class Succession:
    """The word of each key that this instance had before for the one that it has now."""

    def __init__(self, services: MemberServices) -> None:
        self._services = services
        self._words: tuple[tuple[str, int], list[str]] = (("", 0), [])  # of which certificate file, and the words

    def words(self) -> list[str]:
        """They are signed once for each certificate, not for each stranger. Raises: OSError."""
        tls = self._services.in_use.now().agent.tls
        stamp = str(tls.certificate_file), tls.certificate_file.stat().st_mtime_ns
        if self._words[0] != stamp:
            password = read_passwords(self._services.layout.password_conf).get(INTERNAL)
            keys = member_keys(self._services.layout.alias, tls, password)
            self._words = (stamp, succession(keys) if keys else [])
        return self._words[1]
