"""Who is on the other end of a TLS connection: its client certificate -> Caller.

A member of the set proves itself by two keys: that of the certificate all members share, and its own (cloning/proof).
The first alone lets nobody do more than join, which takes a token too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from weakref import WeakSet

from aiohttp import web

from vouchd.cloning.proof import BINDING, HEADER, proven
from vouchd.core.facts import Caller, Group, Member
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import Clock
from vouchd.core.status import ServingState
from vouchd.errors import PermissionDenied
from vouchd.service.permission import KEY_HOLDERS, MEMBER_GROUPS
from vouchd.service.users import Users
from vouchd.threads import in_thread

NO_CERTIFICATE = "You did not provide a valid certificate for this operation"


class Identity:
    """Identifies the caller of each request, so that a change of users or a revocation counts at once.

    `state` is what the instance answers from now: where it serves the certificate's CA, the certificate's own status
    is asked. `members` is the registry.
    """

    def __init__(
        self,
        users: Users,
        members: Callable[[], Iterable[Member]],
        state: Callable[[], ServingState],
        policy: ResponsePolicy,
        clock: Clock,
    ) -> None:
        self._users = users
        self._members = members
        self._state = state
        self._policy = policy
        self._clock = clock
        self._greeted: WeakSet[object] = WeakSet()  # connections whose success is recorded

    async def caller(self, request: web.Request) -> Caller:
        """The user who sends `request`. Raises: PermissionDenied, also without a certificate; BadInput."""
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
        if Group.OCSP_ADMINISTRATORS not in caller.groups:
            return caller
        value, binding = request.headers.get(HEADER, ""), channel_binding(request)
        return await in_thread(lambda: self._member(caller, value, binding))

    def _member(self, caller: Caller, value: str, binding: bytes) -> Caller:
        """The caller as the member whose own key it has proven; one that has proven none of them may only join."""
        own = proven(value, binding) if value else ""
        member = next((one for one in self._members() if own and own in one.pins), None)
        groups = caller.groups & MEMBER_GROUPS if member else frozenset({KEY_HOLDERS})
        return replace(caller, groups=groups, key_sha256=own, member=member.id if member else "")


def peer_certificate(request: web.Request) -> bytes | None:
    """DER of the certificate that the client's TLS side has proved to hold, None when it brought none."""
    connection = request.get_extra_info("ssl_object")
    return connection.getpeercert(binary_form=True) if connection is not None else None


def channel_binding(request: web.Request) -> bytes:
    """What only the two ends of this TLS connection know alike; empty without one."""
    connection = request.get_extra_info("ssl_object")
    return (connection.get_channel_binding(BINDING) or b"") if connection is not None else b""
