"""Filling a new member's directory server from this one's: work that goes on when whoever asked for it is gone.

Who asks again for the same member while it is under way hears of the same work, so a clone creation that was killed
takes up the thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from aiohttp import web

from vouchd.agent.admission import secured
from vouchd.agent.domain.bodies import read_object, read_text
from vouchd.api.services import Services
from vouchd.cloning.registry import find
from vouchd.cloning.replication import replicating
from vouchd.core.facts import Caller, Member
from vouchd.errors import VouchdError
from vouchd.service.permission import Action
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)

_SILENCE_SECONDS = 5.0  # an empty line so often, so that nobody takes a long step for a broken connection


class Filling:
    """The initialisation of one member; `lines` are what was told of it so far, the last one of its end."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._more = asyncio.Condition()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return bool(self.lines) and "step" not in self.lines[-1]

    async def tell(self, line: dict[str, Any]) -> None:
        """Add a line."""
        async with self._more:
            self.lines.append(line)
            self._more.notify_all()

    async def beyond(self, count: int) -> bool:
        """Wait for more than `count` lines; False when nothing was told for a while."""
        try:
            async with asyncio.timeout(_SILENCE_SECONDS), self._more:
                await self._more.wait_for(lambda: len(self.lines) > count)
        except TimeoutError:
            return False
        return True


class DomainFilling:
    """The handler, and the work that it began."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._under_way: dict[str, Filling] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def replicate(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Send this member's directory to a member's that has joined; a line of JSON for each step, the end last."""
        member_id = read_text(read_object(await request.read()), "member")
        member = find(await in_thread(self._services.store.members), member_id)
        # Granted already; it is recorded, as what the other server has is replaced.
        await in_thread(lambda: self._services.permission.allow_for(member.id, caller, Action.CHANGE_DOMAIN))
        filling = self._of(member, caller)
        response = secured(web.StreamResponse(headers={"Content-Type": "application/x-ndjson"}))
        await response.prepare(request)
        sent = 0
        while True:
            if not await filling.beyond(sent):
                await response.write(b"{}\n")
            for line in filling.lines[sent:]:
                sent += 1
                await response.write(json.dumps(line).encode() + b"\n")
            if filling.over and sent == len(filling.lines):
                await response.write_eof()
                return response

    def _of(self, member: Member, caller: Caller) -> Filling:
        filling = self._under_way.get(member.id)
        if filling is None:
            filling = self._under_way[member.id] = Filling()
            task = asyncio.ensure_future(self._work(member, caller, filling))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return filling

    async def _work(self, member: Member, caller: Caller, filling: Filling) -> None:
        loop = asyncio.get_running_loop()
        replicate = replicating(self._services.layout, self._services.settings)

        def say(step: str) -> None:
            asyncio.run_coroutine_threadsafe(filling.tell({"step": step}), loop)

        try:
            await in_thread(lambda: replicate(member, caller, say))
            end: dict[str, Any] = {"done": True}
        except VouchdError as error:
            end = {"error": type(error).__name__, "title": str(error), "hint": error.hint}
        except Exception:  # noqa: BLE001  outermost: who waits for the end must hear of it
            _log.exception("domain: filling the directory server of %s failed", member.id)
            end = {"error": VouchdError.__name__, "title": "internal error, see the log there", "hint": ""}
        del self._under_way[member.id]
        await filling.tell(end)
