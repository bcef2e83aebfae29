"""The open listening sockets of one manager process, bound anew or taken over from its predecessor."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from vouchd.errors import LifecycleError
from vouchd.processes.handover import Handover, socket_of
from vouchd.processes.supervisor import AGENT, HEALTH, OCSP
from vouchd.sockets import Address, add_slots, bind, bind_slots, bound_address, listen, probe


class Listeners:
    """`ee` holds at least one socket a worker; `replaced` are those of an address that the settings no longer name.

    An EE socket is never closed while its address is in use: that would reset the connections waiting in it. With
    `shared`, all workers accept from one socket, which a service manager opened: on its port nobody else may listen.
    What was bound here listens only after `listen`: until this instance may answer, clients are refused at once, and go
    on to another member.
    """

    def __init__(
        self,
        ee: Sequence[socket.socket],
        health: socket.socket,
        agent: socket.socket | None = None,
        replaced: Sequence[socket.socket] = (),
        *,
        shared: bool = False,
        silent: Sequence[socket.socket] = (),
    ) -> None:
        self.ee = tuple(ee)
        self._silent = tuple(silent)
        self.health = health
        self.agent = agent
        self.shared = shared
        self._replaced = tuple(replaced)
        # Kept here: the sockets may be closed when they are asked for last.
        self.ee_address = bound_address(self.ee[0])
        self.health_address = bound_address(health)
        self.agent_address = bound_address(agent) if agent is not None else None

    @classmethod
    def open(
        cls,
        ee: Address,
        health: Address,
        agent: Address | None,
        workers: int,
        handover: Handover | None,
        passed: Mapping[str, socket.socket],
    ) -> Listeners:
        """Sockets on the addresses; what the handover or a service manager holds is used where its address is the same.

        Raises: LifecycleError.
        """
        if handover is None:
            return cls._bound(ee, health, agent, workers, passed)
        sockets = [socket_of(descriptor) for descriptor in handover.sockets]
        old_health = socket_of(handover.health)
        new_health = old_health
        if (handover.health_host, handover.health_port) != health:
            new_health = bind(health)
            old_health.close()
        new_agent = _agent(agent, handover)
        if (handover.ee_host, handover.ee_port) != ee:
            slots = bind_slots(ee, workers)
            return cls(slots, new_health, new_agent, replaced=sockets, silent=slots)
        count = workers - len(sockets)
        if handover.shared:
            return cls([*sockets, *_copies(sockets[0], count)], new_health, new_agent, shared=True)
        more = add_slots(sockets[0], count)
        return cls([*sockets, *more], new_health, new_agent, silent=more)

    @classmethod
    def _bound(
        cls, ee: Address, health: Address, agent: Address | None, workers: int, passed: Mapping[str, socket.socket]
    ) -> Listeners:
        for name, address in ((OCSP, ee), (HEALTH, health), (AGENT, agent)):
            if name in passed:
                _require_port(name, passed[name], address)
        sockets = [passed[OCSP], *_copies(passed[OCSP], workers - 1)] if OCSP in passed else bind_slots(ee, workers)
        agent_socket = passed.get(AGENT) or (bind(agent) if agent else None)
        silent = () if OCSP in passed else sockets
        return cls(sockets, passed.get(HEALTH) or bind(health), agent_socket, shared=OCSP in passed, silent=silent)

    def listen(self) -> None:
        """Have all sockets for OCSP clients listen. Raises: LifecycleError; also when another instance does by now."""
        if set(self._silent) == set(self.ee):
            probe(self.ee_address)  # two whose sockets are only bound are not in each other's way
        listen(self._silent)
        self._silent = ()

    def close_ee(self) -> None:
        """Stop listening for OCSP clients, as far as this process goes."""
        for listener in (*self.ee, *self._replaced):
            listener.close()

    def close_replaced(self) -> None:
        """Stop listening on the address that is no longer ours."""
        for listener in self._replaced:
            listener.close()

    def close_agent(self) -> None:
        """Stop listening for agents."""
        if self.agent is not None:
            self.agent.close()

    def leave_agent(self) -> None:
        """There is no agent port after all: nobody is to wait in its socket."""
        self.close_agent()
        self.agent = self.agent_address = None


def _agent(agent: Address | None, handover: Handover) -> socket.socket | None:
    old = socket_of(handover.agent) if handover.agent >= 0 else None
    if old is not None and (handover.agent_host, handover.agent_port) == agent:
        return old
    if old is not None:
        old.close()
    return bind(agent) if agent else None


def _copies(listener: socket.socket, count: int) -> list[socket.socket]:
    return [listener.dup() for _ in range(count)]


def _require_port(name: str, passed: socket.socket, address: Address | None) -> None:
    """The set and its clients are told the port of the settings. Raises: LifecycleError when a passed one differs."""
    port = bound_address(passed)[1]
    if address is None:
        raise LifecycleError(f"a socket {name} was passed, but CS.cfg has that port off", hint="stop its socket unit")
    if address[1] not in {0, port}:
        raise LifecycleError(
            f"the passed socket {name} is on port {port}, CS.cfg says {address[1]}",
            hint="ListenStream= of the socket unit and CS.cfg name the same port",
        )
