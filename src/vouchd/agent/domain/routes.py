"""The security domain over the agent port: what joining instances, members and administrators' tools ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from vouchd.core import setrecords
from vouchd.core.facts import Caller, Member
from vouchd.cloning.joining import info_record, joined_record
from vouchd.agent.certsystem import domain
from vouchd.agent.server import AgentServices
from vouchd.http.attempts import Attempts
from vouchd.agent.domain.bodies import MAX_BODY_BYTES, json_answer, read_member, read_object, read_text
from vouchd.agent.domain.filling import DomainFilling
from vouchd.agent.domain.state import DomainState
from vouchd.agent.rest import problem
from vouchd.agent.routes import Access, Handler, Route
from vouchd.threads import in_thread
from vouchd.service.permission import Action

PREFIX = "/domain/v1"

Work = Callable[[dict[str, Any], Caller], Any]


def routes(services: AgentServices) -> tuple[Route, ...]:
    """The routes of the domain, ours and those of the Certificate System."""
    own, told, filling = DomainRoutes(services), DomainState(services), DomainFilling(services)

    def route(method: str, path: str, access: Action | Access, handler: Handler) -> Route:
        return Route(method, PREFIX + path, access, handler, max_body_bytes=MAX_BODY_BYTES, show_error=problem)

    return (
        route("GET", "/info", Action.READ_DOMAIN, own.info),
        route("POST", "/join/check", Access.PUBLIC, own.working(own.check)),  # the token is the right
        route("POST", "/join", Access.PUBLIC, own.working(own.join)),
        route("POST", "/rejoin", Action.FOLLOW, own.working(own.rejoin)),  # members alone: it tells a password
        route("POST", "/replicate", Action.CHANGE_DOMAIN, filling.replicate),
        route("POST", "/leave", Action.CHANGE_DOMAIN, own.working(own.leave)),
        route("POST", "/promote", Action.CHANGE_DOMAIN, own.working(own.promote)),
        route("GET", "/state", Action.FOLLOW, told.state),
        route("GET", "/documents/{sha256:[0-9a-f]{64}}", Action.FOLLOW, told.document),
        route("GET", "/epochs", Action.FOLLOW, told.epochs),
        route("GET", "/list", Action.FOLLOW, told.listed),
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
    """The handlers of joining, leaving and looking."""

    def __init__(self, services: AgentServices) -> None:
        self._services = services
        self._attempts = Attempts()

    def working(self, work: Work) -> Handler:
        """A handler that gives `work` the JSON object of the body, in a thread, and answers with what it returns."""

        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            body = read_object(await request.read())
            return json_answer(await in_thread(lambda: work(body, caller)))

        return handle

    async def info(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The set as this member sees it."""
        return json_answer(info_record(await in_thread(self._services.membership.info)))

    def check(self, body: dict[str, Any], caller: Caller) -> Any:
        """The same for who has a join token; it stays good."""
        token = read_text(body, "token")
        with self._attempts.by(caller.origin):
            self._services.domain.require_token(token, caller)
        self._services.membership.require_registrar()
        return info_record(self._services.membership.info())

    def join(self, body: dict[str, Any], caller: Caller) -> Any:
        """Join with a token, which is used up."""
        member, token = read_member(body), read_text(body, "token")
        with self._attempts.by(caller.origin):
            self._services.domain.require_token(token, caller)
        self._services.membership.require_registrar()
        return joined_record(self._services.membership.joined(self._services.domain.join(member, token, caller)))

    def rejoin(self, body: dict[str, Any], caller: Caller) -> Any:
        """Join again with the keys of the set: a join that was cut short goes on."""
        member = read_member(body)
        self._services.membership.require_registrar()
        return joined_record(self._services.membership.joined(self._services.domain.rejoin(member, caller)))

    def leave(self, body: dict[str, Any], caller: Caller) -> Any:
        """Take a member out of the set."""
        member_id = read_text(body, "member")
        self._services.membership.require_registrar()
        left = self._services.domain.leave(member_id, caller)
        self._services.retire(left)
        return setrecords.member_record(left)

    def promote(self, body: dict[str, Any], caller: Caller) -> Any:
        """Make a member the master."""
        return setrecords.member_record(self._services.domain.promote(read_text(body, "member"), caller))

    async def domain_info(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The domain in the Certificate System's JSON."""
        return json_answer(domain.domain_info(self._services.settings.of_set.domain, await self._members()))

    async def domain_xml(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The domain in the Certificate System's XML."""
        text = domain.domain_xml(self._services.settings.of_set.domain, await self._members())
        return web.Response(text=text, content_type="application/xml")

    async def _members(self) -> tuple[Member, ...]:
        return await in_thread(self._services.store.members)
