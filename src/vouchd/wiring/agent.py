"""The agent port put together: services -> handlers -> routes -> server. Loaded by the manager process only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

from vouchd.agent import rest
from vouchd.agent.admission import Admission
from vouchd.agent.certsystem import ocsp, servlets
from vouchd.agent.certsystem import rest as certsystem_rest
from vouchd.agent.domain import routes as domain
from vouchd.agent.identity import Identity
from vouchd.agent.pages import pages
from vouchd.agent.routes import Route
from vouchd.agent.running import OnLoop
from vouchd.agent.server import AgentPart, AgentServer
from vouchd.api.services import Services
from vouchd.audit.traffic import SessionRecords
from vouchd.cloning.peers import Peers
from vouchd.ee.in_process import InProcessAnswers
from vouchd.errors import StoreUnavailable
from vouchd.instance.certificates.places import SSLSERVER
from vouchd.instance.certificates.tls import AgentTLS
from vouchd.service.users import with_members
from vouchd.settings.passwords import INTERNAL, read_passwords


def routes(
    services: Services,
    answers: InProcessAnswers,
    peers: Peers,
    news: Callable[[int], Awaitable[None]],
) -> tuple[Route, ...]:
    """Everything that the agent port answers."""
    return (
        *servlets.routes(services),
        *ocsp.routes(answers, services.settings.responder.max_request_bytes),
        *certsystem_rest.routes(services),
        *rest.routes(services),
        *domain.routes(services, peers, news),
        *pages.routes(services),
    )


def agent_part(
    opened: Services,
    services: Callable[[OnLoop, asyncio.AbstractEventLoop], Services],
    answers: InProcessAnswers,
    peers: Peers,
    sessions: SessionRecords,
    known: Callable[[], Iterable[bytes]],
) -> AgentPart:
    """The agent port of the instance, to be opened by its manager process.

    `services` makes of those that are `opened` what the handlers stand on, `answers` answers OCSP requests in this
    process, `peers` are the other members as this one knows them; `sessions` is told who comes and goes.
    `known` are the certificates of the users known last, for while the store is away.
    Raises: SigningError when key and certificate do not serve.
    """
    layout, settings, store = opened.layout, opened.settings, opened.store

    def trusted() -> Iterator[bytes]:
        for user in with_members(store.users(), store.members()):
            yield from user.certificates
        for authority in store.authorities():
            yield from authority.certificates

    def trusted_at_start() -> tuple[bytes, ...]:
        try:
            return tuple(trusted())
        except StoreUnavailable:  # the users known last may come in to read
            return tuple(known())

    def build(inside: OnLoop, loop: asyncio.AbstractEventLoop) -> AgentServer:
        running = services(inside, loop)

        async def news(revision: int) -> None:
            await inside.newer_than(revision)

        identity = Identity(running.users, store.members, running.running.state, settings.responder, running.clock)
        agent = settings.agent
        admission = Admission(identity, running.permission, agent.body_seconds, agent.header_seconds)
        table = routes(running, answers, peers, news)
        return AgentServer(settings.agent, tls, trusted, admission, table, sessions)

    tls = AgentTLS(settings.agent, read_passwords(layout.password_conf).get(INTERNAL), trusted_at_start())
    opened.in_use.listen(lambda now: tls.show(now.agent), SSLSERVER)
    return AgentPart((settings.agent.host, settings.agent.port), build, counted=answers.snapshot)
