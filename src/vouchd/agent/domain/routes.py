"""The security domain over the agent port: what joining instances, members and administrators' tools ask for."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from vouchd.agent.certsystem import domain
from vouchd.agent.domain.bodies import MAX_BODY_BYTES, json_answer, read_member, read_object, read_octets, read_text
from vouchd.agent.domain.filling import DomainFilling
from vouchd.agent.domain.state import MAX_NEWER_BYTES, DomainState
from vouchd.agent.identity import channel_binding
from vouchd.agent.rest import problem
from vouchd.agent.routes import Handler, Route
from vouchd.api.four_eyes import DOMAIN_LEAVE, DOMAIN_PROMOTE, refuse_alone
from vouchd.api.operation import Access
from vouchd.api.services import Services
from vouchd.cloning import joining
from vouchd.cloning.leaving import take_out
from vouchd.cloning.peers import Peers
from vouchd.cloning.replication import retiring
from vouchd.cloning.roles import Handing
from vouchd.cloning.set_info import info_record, joined_record
from vouchd.cloning.token_keys import KeyRequest
from vouchd.core import records
from vouchd.core.facts import Caller, Member
from vouchd.service.permission import Action
from vouchd.settings.passwords import REPLICATIONDB, read_passwords
from vouchd.threads import in_thread

PREFIX = "/domain/v1"

Work = Callable[[dict[str, Any], Caller], Any]


def routes(services: Services, peers: Peers, news: Callable[[int], Awaitable[None]]) -> tuple[Route, ...]:
    """The routes of the domain, ours and those of the Certificate System; see DomainState."""
    own, state, filling = DomainRoutes(services), DomainState(services, peers, news), DomainFilling(services)

    def route(method: str, path: str, access: Action | Access, handler: Handler) -> Route:
        return Route(method, PREFIX + path, access, handler, max_body_bytes=MAX_BODY_BYTES, show_error=problem)

    return (
        route("GET", "/info", Action.READ_DOMAIN, own.info),
        route("GET", "/succession", Access.PUBLIC, own.succession),  # before it is known who answers
        route("POST", "/join/check", Access.PUBLIC, own.working(own.check)),  # the token is the right
        route("POST", "/join/keys", Access.PUBLIC, own.keys),  # the token, and a signature by the set's key
        route("POST", "/join", Action.JOIN_DOMAIN, own.working(own.join)),
        route("POST", "/rejoin", Action.FOLLOW, own.working(own.rejoin)),  # members alone: it tells a password
        route("GET", "/replication-password", Action.FOLLOW, own.replication_password),
        route("POST", "/replicate", Action.CHANGE_DOMAIN, filling.replicate),
        route("POST", "/leave", Action.CHANGE_DOMAIN, own.working(own.leave)),
        route("POST", "/promote", Action.MOVE_ROLE, own.working(own.promote)),
        route("GET", "/state", Action.FOLLOW, state.state),
        route("GET", "/documents/{sha256:[0-9a-f]{64}}", Action.FOLLOW, state.document),
        route("GET", "/epochs", Action.FOLLOW, state.epochs),
        route("GET", "/list", Action.FOLLOW, state.listed),
        Route(
            "POST", PREFIX + "/newer", Action.FOLLOW, state.newer, max_body_bytes=MAX_NEWER_BYTES, show_error=problem
        ),
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

    def __init__(self, services: Services) -> None:
        self._services = services
        self._attempts = joining.Attempts()
        self._succession = joining.Succession(services)

    def working(self, work: Work) -> Handler:
        """A handler that gives `work` the JSON object of the body, in a thread, and answers with what it returns."""

        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            body = read_object(await request.read())
            return json_answer(await in_thread(lambda: work(body, caller)))

        return handle

    async def info(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The set as this member sees it."""
        return json_answer(info_record(await in_thread(self._services.membership.info)))

    async def succession(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The word of each key that this instance had before for the one that it has now."""
        return json_answer({"succession": await in_thread(self._succession.words)})

    def check(self, body: dict[str, Any], caller: Caller) -> Any:
        """The set, for who has a join token."""
        return info_record(joining.check(self._services, self._attempts, read_text(body, "token"), caller))

    async def keys(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """The keys of the set that are on no token, sealed, for who has a join token and reaches the set's token."""
        body, binding = read_object(await request.read()), channel_binding(request)
        token = read_text(body, "token")
        public, signature = read_octets(body, "public"), read_octets(body, "signature")

        def work() -> Any:
            sealed = joining.keys(self._services, self._attempts, token, KeyRequest(public, signature, binding), caller)
            return {"sealed": {name: base64.b64encode(one).decode() for name, one in sealed.items()}}

        return json_answer(await in_thread(work))

    def join(self, body: dict[str, Any], caller: Caller) -> Any:
        """Join with a token."""
        member, token = read_member(body), read_text(body, "token")
        return joined_record(joining.join(self._services, self._attempts, member, token, caller))

    def rejoin(self, body: dict[str, Any], caller: Caller) -> Any:
        """Join again, by the key that the registry has."""
        return joined_record(joining.rejoin(self._services, read_member(body), caller))

    async def replication_password(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The password of the replication account, which the master renews when a member has left."""
        passwords = await in_thread(lambda: read_passwords(self._services.layout.password_conf))
        return json_answer({"password": passwords.get(REPLICATIONDB, "")})

    def leave(self, body: dict[str, Any], caller: Caller) -> Any:
        """Take a member out of the set."""
        services, member_id = self._services, read_text(body, "member")
        refuse_alone(DOMAIN_LEAVE, caller, services.settings.four_eyes)
        retire = retiring(services.layout, services.settings, services.store)
        left = take_out(services.domain, services.membership, retire, member_id, caller)
        if body.get("renew") is True:
            services.set_renewal.begin(caller, left.id)
        return records.member_record(left)

    def promote(self, body: dict[str, Any], caller: Caller) -> Any:
        """Have this instance, the master, hand its role over."""
        services = self._services
        refuse_alone(DOMAIN_PROMOTE, caller, services.settings.four_eyes)
        handing = Handing(services.layout, services.settings, services.store, services.domain)
        return records.member_record(handing.to(read_text(body, "member"), caller))

    async def domain_info(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The domain in the Certificate System's JSON."""
        return json_answer(domain.domain_info(self._services.settings.of_set.domain, await self._members()))

    async def domain_xml(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The domain in the Certificate System's XML."""
        text = domain.domain_xml(self._services.settings.of_set.domain, await self._members())
        return web.Response(text=text, content_type="application/xml")

    async def _members(self) -> tuple[Member, ...]:
        return await in_thread(self._services.store.members)
