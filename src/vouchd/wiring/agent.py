"""The agent port put together: services -> handlers -> routes -> server. Loaded by the manager process only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vouchd.agent import rest
from vouchd.agent.admission import Admission
from vouchd.agent.certsystem import servlets
from vouchd.agent.domain import routes as domain
from vouchd.agent.identity import Identity
from vouchd.agent.pages import pages
from vouchd.agent.routes import Route
from vouchd.agent.server import AgentPart, AgentServer
from vouchd.api.services import AgentServices, Running
from vouchd.audit.traffic import SessionRecords
from vouchd.core.ports import Store
from vouchd.errors import StoreUnavailable
from vouchd.instance.certificates.tls import AgentTLS
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords

# Each gives the routes of one part of the port.
PARTS: tuple[Callable[[AgentServices], tuple[Route, ...]], ...] = (
    servlets.routes,
    rest.routes,
    domain.routes,
    pages.routes,
)


def routes(services: AgentServices) -> tuple[Route, ...]:
    """Everything that the agent port answers."""
    return tuple(route for part in PARTS for route in part(services))


def agent_part(
    layout: Layout,
    settings: Settings,
    store: Store,
    services: Callable[[Running], AgentServices],
    changed: Callable[[], None],
    sessions: SessionRecords,
    known: Callable[[], Iterable[bytes]],
) -> AgentPart:
    """The agent port of the instance, to be opened by its manager process.

    `services` makes what the handlers stand on; `sessions` is told who comes and goes; `known` are the
    certificates of the users known last, for while the store is away.
    Raises: SigningError when key and certificate do not serve.
    """

    def trusted() -> Iterator[bytes]:
        for user in store.users():
            yield from user.certificates
        for authority in store.authorities():
            yield from authority.certificates

    def trusted_at_start() -> tuple[bytes, ...]:
        try:
            return tuple(trusted())
        except StoreUnavailable:  # the users known last may come in to read
            return tuple(known())

    def build(running: Running) -> AgentServer:
        found = services(running)
        identity = Identity(found.users, store.members, found.state, settings.responder, found.clock)
        agent = settings.agent
        admission = Admission(identity, found.permission, agent.body_seconds, agent.header_seconds)
        return AgentServer(settings.agent, tls, trusted, admission, routes(found), sessions)

    tls = AgentTLS(settings.agent, read_passwords(layout.password_conf).get(INTERNAL), trusted_at_start())
    return AgentPart((settings.agent.host, settings.agent.port), build, changed)
