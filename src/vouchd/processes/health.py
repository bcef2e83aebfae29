"""The health port: `/healthz`, `/readyz` and `/metrics`, for this host only (loopback by default).

`/healthz` says that the manager process reacts. `/readyz` is 200 while at least one worker answers from the current
manifest, 503 otherwise, and tells each check. Nothing here names a client.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from vouchd.api.checks import Check
from vouchd.processes.metrics import content_type

_STOP_SECONDS = 2.0


class HealthServer:
    """Serves the health port on a socket that somebody else bound."""

    def __init__(self, checks: Callable[[], tuple[Check, ...]], metrics: Callable[[str], Awaitable[bytes]]) -> None:
        self._checks = checks
        self._metrics = metrics
        application = web.Application(client_max_size=1024)
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metricsz),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=_STOP_SECONDS)

    async def start(self, listener: socket.socket) -> None:
        """Begin to serve on `listener`."""
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Stop serving; the listener is closed."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "alive"}, 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        checks = self._checks()
        ready = all(check.ok for check in checks if check.required)
        body = {"status": "ready" if ready else "not ready", "checks": [asdict(check) for check in checks]}
        return _json(body, 200 if ready else 503)

    async def _metricsz(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        async with asyncio.timeout(30):
            text = await self._metrics(accept)
        headers = {"Content-Type": content_type(accept), "Cache-Control": "no-store", "Vary": "Accept"}
        return web.Response(body=text, headers=headers)


def _json(body: dict[str, Any], status: int) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})
