"""How a wizard ends by itself, with a clock that is moved."""

from __future__ import annotations

import asyncio

from vouchd.instance.unconfigured import make_unconfigured
from vouchd.settings.layout import Layout
from vouchd.setup import serving
from vouchd.setup.serving import Place, keep_place
from vouchd.setup.wizard import Wizard
from vouchd.wiring.setup import tools


class MovedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is as far ahead as it was moved."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


class Listener:
    """A service manager that is told when the wizard is open."""

    watchdog_seconds = 0.0

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    def ready(self, _: str) -> None:
        self.opened.set()

    def alive(self) -> None: ...


def test_wizard_left_open_at_done_closes_by_itself_after_a_quarter_of_an_hour(tmp_path, monkeypatch):
    """What came of the set-up can be read for fifteen minutes; then the port is closed and the PIN is gone."""
    layout = Layout(tmp_path / "vouchd")
    make_unconfigured(layout)
    keep_place(layout, Place("127.0.0.1", 0, ("localhost",)))
    ends = []

    def wizard(*arguments, ended) -> Wizard:
        ends.append(ended)
        return Wizard(*arguments, ended=ended)

    monkeypatch.setattr(serving, "Wizard", wizard)

    async def watched(loop: MovedLoop) -> None:
        listener = Listener()
        served = loop.create_task(serving._serve(layout, tools(lambda _: None), listener))
        await listener.opened.wait()
        (end,) = ends
        loop.ahead += 7200
        await turns()
        assert not served.done(), "nothing hurries whoever has not come to the end"
        end()
        loop.ahead += 899
        await turns()
        assert not served.done()
        assert serving.open_wizard(layout) is not None
        loop.ahead += 2
        assert await served is False
        assert serving.open_wizard(layout) is None
        assert "pin" not in layout.cs_cfg.read_text()

    loop = MovedLoop()
    try:
        loop.run_until_complete(watched(loop))
    finally:
        loop.close()


async def turns() -> None:
    """Let the loop go round often enough for whatever is due."""
    for _ in range(10):
        await asyncio.sleep(0)
