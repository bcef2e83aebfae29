"""Who may be connected to the agent port: no crowd of strangers keeps out those who have a certificate.

A client shows its certificate in the handshake, so everybody is a stranger at first and takes a stranger's place. Of
all places a share is kept for those who have shown one; they leave the strangers' places when they do. Where the
strangers' places are all taken, the one who came first and has no request under way makes room: a handshake that is
slow or was only begun to hold a place, or an idle connection. So a newcomer gets to show its certificate, however many
hold on. One address has a bounded number of strangers' places; who has shown a certificate does not count there.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Protocol

from vouchd.ee.client_groups import ClientGroups
from vouchd.settings.tcp_ports import AgentPort
from vouchd.sockets import connection_room

# One in so many places is kept for those who have shown a certificate.
KEPT_SHARE = 4
# An IPv6 host has a network of its own.
_IPV4_BITS, _IPV6_BITS = 32, 64

TOO_MANY = "too many connections"
TOO_MANY_OF_ADDRESS = "too many connections of one address"
GAVE_WAY = "gave way to a newer connection"


class Placed(Protocol):
    """A connection, as far as it has a place."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""

    @property
    def awaited(self) -> bool:
        """Whether its first request is still to come."""

    def give_way(self) -> None:
        """End now: the place goes to another one."""


class Places:
    """The places of one port."""

    def __init__(self, port: AgentPort) -> None:
        self._port = port
        self._groups = ClientGroups(_IPV4_BITS, _IPV6_BITS)
        self._strangers: OrderedDict[Placed, str] = OrderedDict()  # with their address, in the order they came
        self._by_address: Counter[str] = Counter()
        self._identified: set[Placed] = set()

    def __len__(self) -> int:
        return len(self._strangers) + len(self._identified)

    def __iter__(self) -> Iterator[Placed]:
        yield from self._strangers
        yield from self._identified

    def enter(self, connection: Placed, address: str) -> str:
        """Give a place to one that has shown no certificate yet; why it gets none, empty when it did."""
        group = self._groups.of(address)
        if self._by_address[group] >= self._port.max_per_address:
            return TOO_MANY_OF_ADDRESS
        room = min(self._port.max_connections, connection_room(len(self)))
        for_strangers = max(1, room - room // KEPT_SHARE)
        if (len(self._strangers) >= for_strangers or len(self) >= room) and not self._make_room():
            return TOO_MANY
        self._strangers[connection] = group
        self._by_address[group] += 1
        return ""

    def identify(self, connection: Placed) -> None:
        """It has shown a certificate that is trusted."""
        if self._leave_strangers(connection):
            self._identified.add(connection)

    def leave(self, connection: Placed) -> None:
        """It has ended."""
        self._identified.discard(connection)
        self._leave_strangers(connection)

    def _make_room(self) -> bool:
        oldest = next((one for one in self._strangers if not one.is_busy), None)
        if oldest is None:
            return False
        self._leave_strangers(oldest)
        oldest.give_way()
        return True

    def _leave_strangers(self, connection: Placed) -> bool:
        group = self._strangers.pop(connection, None)
        if group is None:
            return False
        self._by_address[group] -= 1
        if not self._by_address[group]:
            del self._by_address[group]
        return True
