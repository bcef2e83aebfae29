"""Who comes in to the wizard: whoever has the PIN, once; from then on the browser that came with it, by a cookie.

A wrong PIN counts; after ten the wizard closes. A PIN that was used opens nothing more, so nobody who sees it later, in
a browser's history or a log, comes in; who lost the cookie has the command make another one.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

from aiohttp import web

from vouchd.core.facts import Caller, Group
from vouchd.errors import PermissionDenied

MOST_WRONG = 10
COOKIE = "__Host-vouchd-setup"
_PIN_BYTES = 15  # twenty characters
_AGAIN = "have the command make another one: vouchd start"


def new_pin() -> str:
    """A PIN of 120 random bits, to be typed or pasted."""
    return secrets.token_urlsafe(_PIN_BYTES)


class Door:
    """The door of one wizard; `close` is called when too many wrong PINs have come."""

    def __init__(self, pin: str, close: Callable[[], None]) -> None:
        self._pin = pin
        self._close = close
        self._wrong = 0
        self._session = b""

    def enter(self, pin: str) -> str:
        """What the cookie of the browser that brings the PIN has. Raises: PermissionDenied, and counts."""
        if not self._pin:
            raise PermissionDenied("the PIN was used, and opens nothing more", hint=_AGAIN)
        if not hmac.compare_digest(pin.strip().encode(), self._pin.encode()):
            self._wrong += 1
            left = MOST_WRONG - self._wrong
            if left <= 0:
                self._pin = ""
                self._close()
                raise PermissionDenied("too many wrong PINs: the wizard closes", hint=_AGAIN)
            raise PermissionDenied(
                "this is not the PIN",
                hint=f"it is in CS.cfg, at preop.pin; after {left} more wrong ones the wizard closes",
            )
        self._pin = ""
        session = secrets.token_urlsafe(32)
        self._session = session.encode()
        return session

    def holder(self, request: web.Request) -> bytes:
        """The session of the request. Raises: PermissionDenied when it has none that counts."""
        cookie = request.cookies.get(COOKIE, "").encode("utf-8", "replace")
        if not self._session or not hmac.compare_digest(cookie, self._session):
            raise PermissionDenied("the wizard is opened with its PIN", hint="as the command has shown it")
        return cookie

    async def caller(self, request: web.Request) -> Caller:
        """Whoever has the session. Raises: PermissionDenied."""
        self.holder(request)
        return Caller("set-up", frozenset({Group.ADMINISTRATORS}), request.remote or "unknown")
