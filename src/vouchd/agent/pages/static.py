"""The files of the agent pages that are the same for everybody: style, script, icon."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from aiohttp import web

from vouchd.core.facts import Caller
from vouchd.errors import NotFound

PATH = "/static/{name}"
_TYPES = {
    "agent.css": "text/css",
    "agent.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@cache
def content(name: str) -> bytes:
    """The bytes of one file. Raises: NotFound."""
    if name not in _TYPES:
        raise NotFound("no such file")
    return (files("vouchd.agent.pages") / "static" / name).read_bytes()


@cache
def address(name: str) -> str:
    """Where a page finds the file; the address changes with its content, so that it may be kept for ever."""
    return f"/static/{name}?{hashlib.sha256(content(name)).hexdigest()[:12]}"


async def static(request: web.Request, _: Caller) -> web.Response:
    """GET of a file."""
    name = request.match_info["name"]
    return web.Response(
        body=content(name), content_type=_TYPES[name], charset="utf-8", headers={"Cache-Control": _FOR_EVER}
    )
