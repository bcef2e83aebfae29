"""Taking the connections of the agent port: the TLS handshake of each, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from vouchd.agent.connection import AgentConnection
from vouchd.agent.places import GAVE_WAY

_log = logging.getLogger(__name__)

_AT_ONCE = 64
_PAUSE_SECONDS = 1.0  # when descriptors or memory are out: connections wait in the socket meanwhile


class Accepting:
    """Takes connections from `listener`, which is closed with it, until `close`.

    Each gets a protocol of `protocol(address)`, which is told when the handshake is complete (`connection_made`) or
    comes to nothing (`failed`). Handshakes under way go on after `close`.
    """

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext,
        protocol: Callable[[str], AgentConnection],
        *,
        handshake_seconds: float,
        shutdown_seconds: float,
    ) -> None:
        listener.setblocking(False)  # noqa: FBT003  as the standard library has it
        self._listener = listener
        self._tls = tls
        self._protocol = protocol
        self._handshake_seconds = handshake_seconds
        self._shutdown_seconds = shutdown_seconds
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._go_on()

    def close(self) -> None:
        """Take no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _go_on(self) -> None:
        # Not `sock_accept`: cancelled at the wrong moment it would lose a connection.
        self._pause = None
        self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("agent: no connection can be taken: %s", error.strerror)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._go_on)
                return
            connection.setblocking(False)  # noqa: FBT003  as the standard library has it
            protocol = self._protocol(str(address[0]))
            if protocol.refused:  # before its handshake, which costs more than a connection
                connection.close()
                protocol.failed(protocol.refused)
                continue
            task = self._loop.create_task(self._shake_hands(connection, protocol))
            protocol.end_handshake = task.cancel
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket, protocol: AgentConnection) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=self._shutdown_seconds,
            )
        except OSError as error:  # ssl.SSLError is one, and so is the handshake's timeout
            protocol.failed(_why(error))
        except asyncio.CancelledError:  # perhaps before it began
            connection.close()
            protocol.failed(GAVE_WAY)
            raise


def _why(error: OSError) -> str:
    """In words that are few: they are counted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    return "it took too long" if isinstance(error, ConnectionAbortedError) else "the connection was lost"
