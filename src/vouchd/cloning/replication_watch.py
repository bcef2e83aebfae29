"""How the directory servers of the set replicate, looked at again and again while the instance runs.

Nothing here brings an LDAP library along: an instance with the embedded store has none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from vouchd.core.facts import Member
from vouchd.core.ports import Clock
from vouchd.errors import VouchdError
from vouchd.instance.report import ReplicationReport, ServerReport

if TYPE_CHECKING:
    from vouchd.directory.health import PeerHealth, ReplicationHealth


class ReplicationWatch:
    """`look` asks all servers by `health(members)`; `report` is what was seen last, None while it cannot be seen."""

    def __init__(
        self,
        members: Callable[[], Iterable[Member]],
        health: Callable[[tuple[Member, ...]], ReplicationHealth],
        clock: Clock,
    ) -> None:
        self._members = members
        self._health = health
        self._clock = clock
        self.report: ReplicationReport | None = None

    def look(self) -> bool:
        """Ask them; never a reason to publish anew. Raises: StoreError, ConfigError when the own server is away."""
        try:
            members = tuple(self._members())
            self.report = _report(self._health(members), members, self._clock.now())
        except VouchdError:
            self.report = None
            raise
        return False


def _report(health: ReplicationHealth, members: Iterable[Member], at: int) -> ReplicationReport:
    names = {member.directory.address: member.id for member in members if member.directory is not None}
    servers = tuple(_server(peer, names.get(peer.server.address, "")) for peer in health.peers)
    return ReplicationReport(at, servers, health.conflicts, health.stale_replicas)


def _server(peer: PeerHealth, member_id: str) -> ServerReport:
    agreement = peer.agreement
    why, hint = peer.why
    return ServerReport(
        member=member_id,
        server=peer.server.address,
        state=peer.state.value,
        lag_seconds=peer.lag_seconds,
        ahead=peer.ahead,
        code=agreement.code if agreement else 0,
        sent_at=(agreement.last_update_end or agreement.last_update_start) if agreement else None,
        why=why,
        hint=hint,
    )
