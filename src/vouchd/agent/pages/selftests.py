"""Self Tests: which there are, how they went, and running them."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.pages.acts import act, carry_out
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import read_form
from vouchd.agent.pages.rendering import Pages
from vouchd.api.selftests import SelfTest, SelfTestResult, SelfTestRun
from vouchd.api.services import Services
from vouchd.api.shapes import posix
from vouchd.core.facts import Caller
from vouchd.errors import VouchdError
from vouchd.threads import in_thread

NOT_RUN = Condition(Tone.NEUTRAL, "Not run")


@dataclass(frozen=True, slots=True)
class TestRow:
    """One test with its newest result, None when it has not been run since the start."""

    info: SelfTest
    result: SelfTestResult | None
    condition: Condition

    @property
    def ran_at(self) -> int:
        """When it ran last, POSIX seconds, 0: never."""
        return posix(self.result.at, "at") if self.result else 0


@dataclass(frozen=True, slots=True)
class SelfTestPages:
    """One page, and the runs that it starts."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All tests with their newest results."""
        return await self._page(request, caller)

    async def run(self, request: web.Request, caller: Caller) -> web.Response:
        """Run the one named test, or without a name the whole order."""
        form = await read_form(request, self.pages.tokens)
        run = SelfTestRun(names=[name] if (name := form.text("name")) else [])
        try:
            results: list[SelfTestResult] = await act(self.services, caller, "selftests.run", {}, body=run)
        except VouchdError as error:
            return await self._page(request, caller, error=error)
        failed = sum(not result.ok for result in results)
        done = f"{len(results)} run, {failed} failed." if failed else f"{len(results)} run, all passed."
        return await self._page(request, caller, done=done, failed=failed)

    async def _page(
        self,
        request: web.Request,
        caller: Caller,
        *,
        error: VouchdError | None = None,
        done: str = "",
        failed: int = 0,
    ) -> web.Response:
        rows = await in_thread(lambda: self._rows(caller))
        return self.pages.page(request, caller, "selftests.html", error=error, rows=rows, done=done, failed=failed)

    def _rows(self, caller: Caller) -> tuple[TestRow, ...]:
        tests: list[SelfTest] = carry_out(self.services, caller, "selftests.list", {})
        results: list[SelfTestResult] = carry_out(self.services, caller, "selftests.results", {})
        latest = {result.name: result for result in results}
        return tuple(TestRow(info, latest.get(info.name), _condition(latest.get(info.name))) for info in tests)


def _condition(result: SelfTestResult | None) -> Condition:
    if result is None:
        return NOT_RUN
    if result.ok:
        return Condition(Tone.GOOD, "Passed")
    return Condition(Tone.BAD, "Failed") if result.critical else Condition(Tone.WARNING, "Failed")
