"""The EE port: OCSP over HTTP (RFC 6960 appendix A, RFC 9919) on any number of listening sockets of one worker.

Start, stop and the tick of the clock; what the connections share is in `port_state`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from vouchd.ee.cache_renewal import Renewal
from vouchd.ee.connection import EEConnection
from vouchd.ee.counters import Summing
from vouchd.ee.port_state import PortState
from vouchd.ee.slots import Slots
from vouchd.sockets import BACKLOG

_log = logging.getLogger(__name__)


class EEServer:
    """OCSP over HTTP for one worker; `state` is what its connections share."""

    def __init__(self, state: PortState) -> None:
        self.state = state
        self._renewal = Renewal(state)
        state.forget = self._renewal.begin
        self._slots = Slots(state)
        self._listeners: list[asyncio.Server] = []
        self._ticking: asyncio.TimerHandle | None = None

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Serve on listening `sockets`, which belong to the server from now on."""
        loop, state = asyncio.get_running_loop(), self.state
        for listener in sockets:
            self._listeners.append(
                await loop.create_server(lambda: EEConnection(state), sock=listener, backlog=BACKLOG)
            )
        state.measure_room()
        self._schedule()

    def forget(self) -> None:
        """Let go of cached answers that rest on a former state, a few at a time: the responder has another one now."""
        self._renewal.begin()
        self.state.measure_room()

    def give_way(self) -> None:
        """Let go of connections that ask for nothing, if the process is out of descriptors."""
        self.state.give_way()

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, answer what is under way, end every connection; what is left after the grace is cut off."""
        for _ in range(2):  # two turns of the loop take in the connections that the kernel has already accepted
            await asyncio.sleep(0)
        state = self.state
        state.stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in state.connections:
            connection.retire()
        if state.connections:
            state.empty.clear()
            try:
                await asyncio.wait_for(state.empty.wait(), grace_seconds)
            except TimeoutError:
                _log.warning("ee: %d connections cut off at stop", len(state.connections))
        for connection in list(state.connections):
            connection.abort()
        self._renewal.stop()
        self._slots.stop()
        state.threads.close()
        if self._ticking is not None:
            self._ticking.cancel()

    def summing(self) -> Summing:
        """The steps in which counters and gauges are made, JSON-ready."""
        return self.state.summing()

    def answer_records(self) -> Iterator[dict[str, Any]]:
        """What the audit log is to be told of the answers since the last call, for the manager process."""
        return self.state.records.take(self.state.second)

    def tick(self) -> None:
        """Read the clocks and end the connections that took too long; the server calls it once a second."""
        self.state.read_clocks()
        self._slots.tick()
        for connection in list(self.state.connections):
            connection.check(self.state.uptime)

    def _schedule(self) -> None:
        wait = 1.0 - self.state.clock() % 1.0  # to the next full second: Date and nextUpdate are kept on time
        self._ticking = asyncio.get_running_loop().call_later(wait, self._tick_on)

    def _tick_on(self) -> None:
        self.tick()
        self._schedule()
