"""The one table of what the agent port answers, and under which right.

A route is registered by adding `Route(method, path, access, handler)` to the tuple that a module's `routes(services)`
returns; `vouchd.wiring.agent.routes` joins those tuples. A handler is `async def handler(request, caller) -> Response`.
Identity, right, body limit and errors are settled before and after it; it runs on the loop, so what blocks goes through
`http.threads.in_thread`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from aiohttp import web

from vouchd.api.operation import SMALL_BODY_BYTES, Access
from vouchd.core.facts import Caller
from vouchd.errors import VouchdError
from vouchd.service.permission import Action

Handler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
ErrorShower = Callable[[web.Request, VouchdError, int], web.StreamResponse]


class Intake(Protocol):
    """Takes the body of a request piece by piece while it comes in, mostly in a thread; one call at a time."""

    def add(self, piece: bytes, /) -> object:
        """The next octets."""


INTAKE = web.RequestKey("intake", Intake)
T = TypeVar("T", bound=Intake)


def intake_of(request: web.Request, kind: type[T]) -> T:
    """What has taken in the body of a request of a route with an intake of that kind."""
    intake = request[INTAKE]
    if not isinstance(intake, kind):  # pragma: no cover  as the route has it
        raise TypeError(f"the route has no {kind.__name__}")
    return intake


ANYONE = Caller("anyone", frozenset(), "unknown")


def plain_error(_: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
    """The error as lines of text: message, then hint."""
    hint = f"hint: {error.hint}\n" if error.hint else ""
    return web.Response(text=f"{error}\n{hint}", status=status)


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path (in aiohttp's syntax) and who may use it; GET answers HEAD too.

    `access` is the action whose groups are let in; the service that the handler calls records what is done. A body
    larger than `max_body_bytes` is refused unread, and no body is read before the caller was let in. `show_error`
    renders an error (with the HTTP status that stands for it) in the form that the clients of this route read. With
    `intake` each request has its own that takes its body, which does not stand in memory then; but a multipart form.
    """

    method: str
    path: str
    access: Action | Access
    handler: Handler
    max_body_bytes: int = SMALL_BODY_BYTES
    show_error: ErrorShower = plain_error
    intake: Callable[[], Intake] | None = None
