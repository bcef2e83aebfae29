"""The connections of the agent port: each taken, its TLS handshake, its place among others, its time to a request."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

from vouchd.agent.places import GAVE_WAY, Places
from vouchd.audit.traffic import SessionRecords
from vouchd.pkix.certs import load_certificate
from vouchd.service.usercertificates import subject_text
from vouchd.settings.tcp_ports import AgentPort

_LINGER_SECONDS = 3.0  # to read on after a refusal, so that a client that is still sending gets to see it
_log = logging.getLogger(__name__)

_AT_ONCE = 64
_PAUSE_SECONDS = 1.0  # when descriptors or memory are out: connections wait in the socket meanwhile


class AgentConnection(web.RequestHandler):
    """Counts from the first packet on, so handshakes under way take a place too; `refused` says why it gets none.

    `sessions` is told when it begins, once its handshake is complete, and when it ends.
    """

    def __init__(
        self,
        server: web.Server,
        port: AgentPort,
        places: Places,
        sessions: SessionRecords,
        loop: asyncio.AbstractEventLoop,
        address: str,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=port.idle_seconds,
            access_log=None,  # type: ignore[arg-type]  # as AppRunner allows
            max_line_size=port.max_header_bytes,
            max_field_size=port.max_header_bytes,
            lingering_time=_LINGER_SECONDS,
            auto_decompress=False,
        )
        self._wait_seconds = port.header_seconds
        self._late: asyncio.TimerHandle | None = None
        self._over = False
        self.end_handshake: Callable[[], object] = lambda: None  # whoever shakes hands fills it in
        self._sessions = sessions
        self._address, self._subject = address, ""
        self._places = places
        self.refused = places.enter(self, address)

    def failed(self, why: str) -> None:
        """Its handshake came to nothing, so it was never made."""
        self._places.leave(self)
        self._sessions.refused(self._address, why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._subject = _subject(transport)
        if self._subject:
            self._places.identify(self)
        self._sessions.established(self._address, self._subject)
        super().connection_made(transport)
        self._late = self._loop.call_later(self._wait_seconds, self._hurry)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.Protocol."""
        self._over = True
        self._places.leave(self)
        if self._late is not None:
            self._late.cancel()
        self._sessions.terminated(self._address, self._subject)
        super().connection_lost(exc)

    @property
    def awaited(self) -> bool:
        """Whether its first request is still to come: it may be in the middle of its handshake."""
        return not (self._over or self._request_count)

    @property
    def is_busy(self) -> bool:
        """See Placed."""
        return self._current_request is not None

    def give_way(self) -> None:
        """See Placed."""
        self.end_handshake()
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP is told so, without a word on the software underneath; the cause goes to aiohttp's log."""
        super().handle_error(request, status, exc, message)
        response = web.Response(status=status, text="not an HTTP request\n", headers={"Server": "vouchd"})
        response.force_close()
        return response

    def _hurry(self) -> None:
        """The headers of the first request should have come by now."""
        if self._request_count == 0 and self._waiter is not None:
            self.force_close()


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


def _subject(transport: asyncio.BaseTransport) -> str:
    """The subject of the client's certificate; empty when it brought none."""
    der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return subject_text(load_certificate(der)) if der else ""
