"""Who is on the other end of a TLS connection: its client certificate -> Caller."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from aiohttp import web

from vouchd.core.facts import Caller
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import Clock
from vouchd.core.status import ServingState
from vouchd.errors import PermissionDenied
from vouchd.service.users import Users
from vouchd.threads import in_thread

NO_CERTIFICATE = "You did not provide a valid certificate for this operation"


class Identity:
    """Identifies the caller of each request, so that a change of users or a revocation counts at once.

    `state` is what the instance answers from now: where it serves the certificate's CA, the certificate's own status
    is asked.
    """

    def __init__(self, users: Users, state: Callable[[], ServingState], policy: ResponsePolicy, clock: Clock) -> None:
        self._users = users
        self._state = state
        self._policy = policy
        self._clock = clock
        self._greeted: WeakSet[object] = WeakSet()  # connections whose success is recorded

    async def caller(self, request: web.Request) -> Caller:
        """The user who sends `request`. Raises: PermissionDenied, also without a certificate."""
        certificate = peer_certificate(request)
        if certificate is None:
            raise PermissionDenied(NO_CERTIFICATE, hint="connect with the certificate of a registered user")
        connection = request.protocol
        first = connection not in self._greeted
        caller = await in_thread(
            lambda: self._users.identify(
                certificate,
                request.remote or "unknown",
                self._clock.now(),
                state=self._state(),
                policy=self._policy,
                record_success=first,
            )
        )
        self._greeted.add(connection)
        return caller


def peer_certificate(request: web.Request) -> bytes | None:
    """DER of the certificate that the client's TLS side has proved to hold, None when it brought none."""
    connection = request.get_extra_info("ssl_object")
    return connection.getpeercert(binary_form=True) if connection is not None else None
