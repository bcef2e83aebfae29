"""One connection of the agent port: aiohttp's, with a place among others and a limit on the time to a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from vouchd.agent.places import Places
from vouchd.audit.traffic import SessionRecords
from vouchd.pkix.certs import load_certificate
from vouchd.service.usercertificates import subject_text
from vouchd.settings.declared import AgentPort

_LINGER_SECONDS = 3.0  # to read on after a refusal, so that a client that is still sending gets to see it


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


def _subject(transport: asyncio.BaseTransport) -> str:
    """The subject of the client's certificate; empty when it brought none."""
    der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return subject_text(load_certificate(der)) if der else ""
