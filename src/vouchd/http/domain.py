"""The security domain over the agent port: what joining instances, members and administrators' tools ask for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from vouchd.core import records, setrecords
from vouchd.core.facts import Caller, Member
from vouchd.core.joining import info_record, joined_record
from vouchd.domain import shapes
from vouchd.domain.registry import find
from vouchd.errors import BadInput, StoreError, VouchdError
from vouchd.http.agent import AgentServices
from vouchd.http.rest.answering import problem
from vouchd.http.routes import Access, Handler, Route
from vouchd.http.threads import in_thread
from vouchd.service.permission import Action

PREFIX = "/domain/v1"
LONGEST_WAIT_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_JSON = "application/json"
_TOKEN_LIMIT = 200

Work = Callable[[dict[str, Any], Caller], Any]


def routes(services: AgentServices) -> tuple[Route, ...]:
    """The routes of the domain, ours and those of the Certificate System."""
    own = DomainRoutes(services)

    def route(method: str, path: str, access: Action | Access, handler: Handler) -> Route:
        return Route(method, PREFIX + path, access, handler, show_error=problem)

    return (
        route("GET", "/info", Action.READ_DOMAIN, own.info),
        route("POST", "/join/check", Access.PUBLIC, own.working(own.check)),  # the token is the right
        route("POST", "/join", Access.PUBLIC, own.working(own.join)),
        route("POST", "/rejoin", Action.CHANGE_DOMAIN, own.working(own.rejoin)),
        route("POST", "/replicate", Action.CHANGE_DOMAIN, own.replicate),
        route("POST", "/leave", Action.CHANGE_DOMAIN, own.working(own.leave)),
        route("POST", "/promote", Action.CHANGE_DOMAIN, own.working(own.promote)),
        route("GET", "/state", Action.FOLLOW, own.state),
        route("GET", "/documents/{sha256}", Action.FOLLOW, own.document),
        route("GET", "/epochs", Action.FOLLOW, own.epochs),
        *(
            Route("GET", f"/{kind}/{path}", Access.PUBLIC, handler, show_error=problem)
            for kind in ("ocsp", "ca")
            for path, handler in (
                ("v2/securityDomain/domainInfo", own.domain_info),
                (f"admin/{kind}/getDomainXML", own.domain_xml),
            )
        ),
    )


class DomainRoutes:
    """The handlers."""

    def __init__(self, services: AgentServices) -> None:
        self._services = services

    def working(self, work: Work) -> Handler:
        """A handler that gives `work` the JSON object of the body, in a thread, and answers with what it returns."""

        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            body = _object(await request.read())
            return _answer(await in_thread(lambda: work(body, caller)))

        return handle

    async def info(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The set as this member sees it."""
        return _answer(info_record(await in_thread(self._services.membership.info)))

    def check(self, body: dict[str, Any], caller: Caller) -> Any:
        """The same for who has a join token; it stays good."""
        self._services.domain.require_token(_text(body, "token"), caller)
        return info_record(self._services.membership.info())

    def join(self, body: dict[str, Any], caller: Caller) -> Any:
        """Join with a token, which is used up."""
        joined = self._services.domain.join(_member(body), _text(body, "token"), caller)
        return joined_record(self._services.membership.joined(joined))

    def rejoin(self, body: dict[str, Any], caller: Caller) -> Any:
        """Join again with the keys of the set: a join that was cut short goes on."""
        joined = self._services.domain.rejoin(_member(body), caller)
        return joined_record(self._services.membership.joined(joined))

    def leave(self, body: dict[str, Any], caller: Caller) -> Any:
        """Take a member out of the set."""
        left = self._services.domain.leave(_text(body, "member"), caller)
        self._services.retire(left)
        return setrecords.member_record(left)

    def promote(self, body: dict[str, Any], caller: Caller) -> Any:
        """Make a member the master."""
        return setrecords.member_record(self._services.domain.promote(_text(body, "member"), caller))

    async def replicate(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Send this member's directory to a member's that has joined; a line of JSON for each step, `done` last."""
        member_id = _text(_object(await request.read()), "member")
        member = find(await in_thread(self._services.store.members), member_id)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        loop, lines = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()

        def say(step: str) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, {"step": step})

        async def work() -> None:
            try:
                await in_thread(lambda: self._services.replicate(member, caller, say))
                lines.put_nowait({"done": True})
            except VouchdError as error:
                lines.put_nowait({"error": type(error).__name__, "title": str(error), "hint": error.hint})

        task = asyncio.create_task(work())
        while True:
            line = await lines.get()
            await response.write(json.dumps(line).encode() + b"\n")
            if "step" not in line:
                break
        await task
        await response.write_eof()
        return response

    async def state(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """All facts that members share, as soon as they differ from those of the digest `after`."""
        mirror = self._services.mirror
        if mirror is None:
            raise StoreError("this member keeps its facts in a directory", hint="replicate with its directory server")
        after = request.query.get("after", "")
        until = time.monotonic() + min(_seconds(request.query.get("wait", "0")), LONGEST_WAIT_SECONDS)
        seen = -1
        while True:
            revision = await in_thread(self._services.store.revision)
            if revision != seen:
                seen = revision
                facts = await in_thread(mirror.facts)
                digest = setrecords.facts_digest(facts)
                if digest != after:
                    return _answer({"digest": digest, "facts": setrecords.facts_record(facts)})
            if time.monotonic() >= until:
                return web.Response(status=204)
            await asyncio.sleep(_LOOK_SECONDS)

    async def document(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The bytes of a document that the facts name."""
        chunks = await in_thread(lambda: self._services.store.document_chunks(request.match_info["sha256"]))
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        await response.prepare(request)
        while (chunk := await in_thread(lambda: _next(chunks))) is not None:
            await response.write(chunk)
        await response.write_eof()
        return response

    async def epochs(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """What this member answers from now: its epochs, and its clock."""
        state = self._services.state()
        epochs = [point.epoch for served in state.authorities for point in served.points]
        return _answer({"now": self._services.clock.now(), "epochs": [records.epoch_record(epoch) for epoch in epochs]})

    async def domain_info(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The domain in the Certificate System's JSON."""
        return _answer(shapes.domain_info(self._services.settings.of_set.domain, await self._members()))

    async def domain_xml(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The domain in the Certificate System's XML."""
        text = shapes.domain_xml(self._services.settings.of_set.domain, await self._members())
        return web.Response(text=text, content_type="application/xml")

    async def _members(self) -> tuple[Member, ...]:
        return await in_thread(self._services.store.members)


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _answer(value: Any) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), content_type=_JSON)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise BadInput("the body is not JSON") from error
    if not isinstance(found, dict):
        raise BadInput("the body is not a JSON object")
    return found


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _TOKEN_LIMIT + 100:
        raise BadInput(f"the body has no text {name}")
    return value


def _member(body: dict[str, Any]) -> Member:
    try:
        return setrecords.checked_member(body["member"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput("the body has no member that can be read") from error


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError as error:
        raise BadInput("wait is not a number of seconds") from error
