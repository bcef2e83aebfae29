"""The security domain over the agent port: what joining instances, members and administrators' tools ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from vouchd.agent.certsystem import domain
from vouchd.agent.domain.bodies import MAX_BODY_BYTES, json_answer, read_member, read_object, read_text
from vouchd.agent.domain.filling import DomainFilling
from vouchd.agent.domain.state import MAX_NEWER_BYTES, DomainState
from vouchd.agent.rest import problem
from vouchd.agent.routes import Handler, Route
from vouchd.api.operation import Access
from vouchd.api.services import Services
from vouchd.cloning.set_info import info_record, joined_record
from vouchd.cloning.leaving import take_out
from vouchd.cloning.peers import Peers
from vouchd.cloning.proof import member_keys, succession
from vouchd.cloning.replication import retiring
from vouchd.cloning.roles import Handing
from vouchd.core import records
from vouchd.core.facts import Caller, Member
from vouchd.errors import NotFound, TryLater
from vouchd.service.permission import Action
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.threads import in_thread

# How often a stranger may be wrong: guesses cost the host little, and leave few records.

LIMIT = 10
SECONDS = 60.0
_MOST_ORIGINS = 1000


class Attempts:
    """Counts, for each address that strangers come from, what was refused to it lately. Used in several threads.

    Only counts are kept, and of so many addresses at most; the oldest is forgotten first.
    """

    def __init__(self) -> None:
        self._refused: dict[str, tuple[float, int]] = {}  # address: since when, how often
        self._lock = threading.Lock()

    @contextmanager
    def by(self, origin: str) -> Iterator[None]:
        """Run an attempt; one that ends with NotFound counts. Raises: TryLater when there were too many."""
        with self._lock:
            _, count = self._lately(origin)
        if count >= LIMIT:
            raise TryLater("too many wrong attempts from this address", hint="try again in a minute")
        try:
            yield
        except NotFound:
            with self._lock:
                since, count = self._lately(origin)
                self._refused.pop(origin, None)
                self._refused[origin] = (since, count + 1)
                if len(self._refused) > _MOST_ORIGINS:
                    del self._refused[next(iter(self._refused))]
            raise

    def _lately(self, origin: str) -> tuple[float, int]:
        now = time.monotonic()
        since, count = self._refused.get(origin, (now, 0))
        return (since, count) if now - since < SECONDS else (now, 0)


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
        route("POST", "/join", Action.JOIN_DOMAIN, own.working(own.join)),
        route("POST", "/rejoin", Action.FOLLOW, own.working(own.rejoin)),  # members alone: it tells a password
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
        self._attempts = Attempts()
        self._words: tuple[int, list[str]] = (0, [])  # of which certificate file, and the words

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
        return json_answer({"succession": await in_thread(self._succession)})

    def _succession(self) -> list[str]:
        services = self._services
        tls = services.settings.agent.tls.certificate_file
        stamp = tls.stat().st_mtime_ns
        if self._words[0] != stamp:  # signed once for each certificate, not for each stranger
            password = read_passwords(services.layout.password_conf).get(INTERNAL)
            keys = member_keys(services.layout.alias, services.settings.agent.tls, password)
            self._words = (stamp, succession(keys) if keys else [])
        return self._words[1]

    def check(self, body: dict[str, Any], caller: Caller) -> Any:
        """The same for who has a join token; it stays good."""
        token = read_text(body, "token")
        with self._attempts.by(caller.origin):
            self._services.domain.require_token(token, caller)
        self._services.membership.require_registrar()
        return info_record(self._services.membership.info())

    def join(self, body: dict[str, Any], caller: Caller) -> Any:
        """Join with a token, which is used up, the keys of the set and a key of its own."""
        member, token = read_member(body), read_text(body, "token")
        with self._attempts.by(caller.origin):
            self._services.domain.require_token(token, caller)
        self._services.membership.require_registrar()
        return joined_record(self._services.membership.joined(self._services.domain.join(member, token, caller)))

    def rejoin(self, body: dict[str, Any], caller: Caller) -> Any:
        """Say anew what is known of the member that asks: a join goes on, a renewed certificate counts."""
        member = read_member(body)
        self._services.membership.require_registrar()
        return joined_record(self._services.membership.joined(self._services.domain.rejoin(member, caller)))

    def leave(self, body: dict[str, Any], caller: Caller) -> Any:
        """Take a member out of the set."""
        services, member_id = self._services, read_text(body, "member")
        retire = retiring(services.layout, services.settings, services.store)
        return records.member_record(take_out(services.domain, services.membership, retire, member_id, caller))

    def promote(self, body: dict[str, Any], caller: Caller) -> Any:
        """Have this instance, the master, hand its role over."""
        services = self._services
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
