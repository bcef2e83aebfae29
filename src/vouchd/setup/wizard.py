"""The wizard without its pages: what was answered, what passed its checks, how far it is, and what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Struct

from vouchd.api.model import about
from vouchd.client.fingerprints import shown_fingerprint
from vouchd.cloning.client import TIMEOUT_SECONDS
from vouchd.cloning.verdicts import read_verification
from vouchd.errors import ConfigError, VouchdError
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.setup.carrying_out import CarryingOut, Request, Tools, end_set_up, install, steps_done
from vouchd.setup.carrying_out import waiting_requests as waiting
from vouchd.setup.checks import Checks
from vouchd.setup.fields import section_of
from vouchd.setup.panels import ASKING, DONE, PANELS, REVIEW, WELCOME, Panel, check_all
from vouchd.setup.plans import member_address
from vouchd.setup.questionnaire import Answers
from vouchd.setup.state import KeptAnswers
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)


class Outcome(Struct, frozen=True):
    """An instance that was set up."""

    instance: Annotated[str, about("Its folder.")]
    role: Annotated[str, about("`master`, or `clone`.")]
    domain: Annotated[str, about("The security domain.")]
    listed: Annotated[str, about("The Certificate System's CA in whose domain it is listed; empty: in none.")]
    member: Annotated[str, about("HOST:PORT, as the domain knows it.")]
    ocsp: Annotated[str, about("Where clients ask.")]
    agents: Annotated[str, about("Where agents come in.")]
    process: Annotated[int | None, about("The process that serves it.")]
    database: Annotated[str, about("Where its facts are.")]
    exported: Annotated[str, about("The file with its keys; empty: none.")]
    browser: Annotated[str, about("The administrator's file; empty: there is none here.")]
    compared: Annotated[str, about("What the comparison of a clone with its master said; empty: it is none.")]


def outcome_of(layout: Layout, answers: Answers) -> Outcome:
    """What came of setting up the instance in this folder with these answers."""
    settings, here = read_settings(layout), answers.subsystem
    server = settings.directory.server if settings.directory else None
    database = f"{server.host}:{server.port}/{server.suffix} ({server.transport})" if server else "embedded"
    return Outcome(
        instance=str(layout.root),
        role="clone" if answers.is_clone else "master",
        domain=settings.of_set.domain,
        listed=answers.security_domain.url if answers.enters_certsystem else "",
        member=f"{here.host}:{here.agent_port}",
        ocsp=f"http://{here.host}:{here.port}/",
        agents=f"https://{here.host}:{here.agent_port}/",
        process=lifecycle.status(layout).pid,
        database=database,
        exported=answers.export_keys.path if answers.export_keys.kind == "file" else "",
        browser=str(layout.admin_pkcs12) if layout.admin_pkcs12.exists() and not answers.is_clone else "",
        compared=_compared(layout),
    )


def _compared(layout: Layout) -> str:
    verification = read_verification(layout.verification)
    if verification is None:
        return ""
    questions = sum(member.questions for member in verification.members)
    others = ", ".join(member.id for member in verification.members)
    if not verification.identical:
        return f"differs from {others}"
    return f"lists and {questions} answers are those of {others}, byte for byte"


@dataclass(slots=True)
class Progress:
    """The last act: what it said, and how it ended, if it did."""

    running: bool = False
    said: list[str] = field(default_factory=list)
    act: CarryingOut | None = None
    error: VouchdError | None = None
    outcome: Outcome | None = None


class Wizard:
    """Sets the instance in the folder `layout` up; one request at a time changes it (`changing`)."""

    def __init__(
        self, layout: Layout, tools: Tools, checks: Checks | None = None, ended: Callable[[], None] = lambda: None
    ) -> None:
        """`ended` is called when the instance is set up. Raises: ConfigError when what was kept is damaged."""
        self.layout = layout
        self.checks = checks or Checks(layout)
        self.progress = Progress()
        self.changing = asyncio.Lock()
        self._tools = tools
        self._ended = ended
        self._kept = KeptAnswers(layout)
        self.answers, self._passed = self._kept.read()
        self._act: asyncio.Task[None] | None = None

    # Which panel is open.

    def is_passed(self, panel: Panel) -> bool:
        """Whether the panel was gone through."""
        return panel.slug in self._passed or self.is_settled(panel) or self.progress.outcome is not None

    def is_settled(self, panel: Panel) -> bool:
        """Whether another answer there would have no effect any more."""
        return self.layout.setup.is_dir() and panel.is_settled(self.answers, steps_done(self.layout))

    def skipped(self, panel: Panel) -> str:
        """Why the panel has nothing to ask."""
        return panel.skipped(self.answers)

    def first_open(self) -> Panel:
        """The first panel that was not gone through."""
        if self.progress.running or self.progress.outcome is not None:
            return DONE
        for panel in (WELCOME, *ASKING):
            if not self.skipped(panel) and not self.is_passed(panel):
                return panel
        return REVIEW

    def is_reachable(self, panel: Panel) -> bool:
        """Whether the panel can be gone to now."""
        if self.progress.running or self.progress.outcome is not None:
            return panel is DONE
        if panel is DONE:
            return self.progress.error is not None
        return PANELS.index(panel) <= PANELS.index(self.first_open())

    def neighbour(self, panel: Panel, step: int) -> Panel:
        """The next panel (1) or the one before (-1) that is not skipped."""
        place = PANELS.index(panel) + step
        while 0 < place < len(PANELS) and self.skipped(PANELS[place]):
            place += step
        return PANELS[max(0, min(place, len(PANELS) - 1))]

    # What is answered.

    async def answer(self, panel: Panel, values: Mapping[str, Any]) -> None:
        """Keep what was answered at the panel, and check it. Raises: BadInput, and nothing is kept; of a check, all."""
        if self.progress.running:
            raise ConfigError("the set-up is under way", hint="wait for its end, or for the step that fails")
        if self.is_settled(panel):
            raise ConfigError("this was carried out already: another answer has no effect", hint="go on")
        if panel.section:
            self.answers = section_of(self.answers, panel.section, values)
        await self._keep(self._passed - {panel.slug})
        answers = self.answers
        await in_thread(lambda: panel.check(self.checks, answers))
        await self._keep(self._passed | {panel.slug})

    async def keep(self, panel: Panel, values: Mapping[str, Any]) -> None:
        """Keep what was answered at the panel, which is not gone through yet. Raises: BadInput."""
        self.answers = section_of(self.answers, panel.section, values)
        await self._keep(self._passed - {panel.slug})

    async def _keep(self, passed: frozenset[str]) -> None:
        self._passed = passed
        answers = self.answers
        await in_thread(lambda: self._kept.keep(answers, passed))

    def keep_file(self, name: str, content: bytes) -> str:
        """Keep what was uploaded; returns its path."""
        return str(self._kept.keep_file(name, content))

    async def fingerprint(self) -> str:
        """What the member or CA shows now whose domain is to be joined. Raises: ConfigError, ClientError."""
        host, port = member_address(self.answers)
        return await in_thread(lambda: shown_fingerprint(host, port, TIMEOUT_SECONDS))

    async def masters(self) -> tuple[str, ...]:
        """The members that may be cloned, the master first; none where no domain is joined, or it does not answer."""
        answers = self.answers
        if answers.security_domain.kind != "join":
            return ()
        try:
            info = await in_thread(lambda: self.checks.info(answers))
        except VouchdError:
            return ()
        return tuple(one.id for one in sorted(info.members, key=lambda one: (one.clone, one.id)))

    async def proposals(self, panel: Panel) -> dict[str, Any]:
        """What the domain says that a clone's answers have to be, for a panel that nobody has answered yet."""
        answers = self.answers
        if answers.security_domain.kind != "join" or self.is_passed(panel):
            return {}
        masters = await self.masters()
        if not masters:
            return {}
        if panel.section == "subsystem":
            return {"kind": "clone", "master": answers.subsystem.master or masters[0]}
        info = await in_thread(lambda: self.checks.info(answers))
        server = next((one.directory for one in info.members if one.id == masters[0]), None)
        if panel.section == "internal_database" and server is not None and not answers.internal_database.host:
            connection = server.transport.value
            return {"kind": "directory", "suffix": server.suffix, "connection": connection, "port": server.port}
        return {}

    # The requests, and the last act.

    def waiting(self) -> tuple[Request, ...]:
        """The certificate requests that wait."""
        return waiting(self.layout) if self.layout.setup.is_dir() else ()

    async def install(self, name: str, certificate: str) -> None:
        """Take in the certificate of one of them. Raises: BadInput, ConfigError."""
        await in_thread(lambda: install(self.layout, self._tools, name, certificate))

    def stages(self) -> list[tuple[str, str, bool]]:
        """The steps of the last act, each with what it is about and whether it was done; none before it begins."""
        act = self.progress.act
        done = steps_done(self.layout) if self.layout.setup.is_dir() else None
        return [(name, about, done is None or name in done) for name, about in (act.plan if act else ())]

    async def begin(self) -> None:
        """Check everything once more, and carry it out, or go on with that. Raises: PanelRefused."""
        if self.progress.running or self.progress.outcome is not None:
            return
        answers = self.answers
        await in_thread(lambda: check_all(self.checks, answers, steps_done(self.layout)))
        self.progress = Progress(running=True)
        self._act = asyncio.create_task(self._carry_out())

    async def _carry_out(self) -> None:
        progress = self.progress
        progress.act = CarryingOut(self.layout, self.answers, self.checks, self._tools, progress.said.append)
        try:
            await in_thread(progress.act.run)
            progress.outcome = await in_thread(self._end)
            self._ended()
        except VouchdError as error:
            progress.error = error
        except Exception as error:  # noqa: BLE001  a bug of ours must not look like a step under way for ever
            _log.exception("set-up: a step failed")
            progress.error = VouchdError(f"internal error: {type(error).__name__}", hint="see the wizard's log")
        finally:
            progress.running = False

    def _end(self) -> Outcome:
        outcome = outcome_of(self.layout, self.answers)
        end_set_up(self.layout)
        return outcome
