"""A wizard in this process, on a port of its own, and the visitor that fills in its forms."""

from __future__ import annotations

import asyncio
import runpy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.conftest import ROOT

from vouchd.instance.unconfigured import make_unconfigured
from vouchd.settings.layout import Layout
from vouchd.setup.checks import Checks
from vouchd.setup.door import Door
from vouchd.setup.pages import LOGIN, WizardPages
from vouchd.setup.serving import Place, wizard_server
from vouchd.setup.wizard import Wizard
from vouchd.sockets import bind
from vouchd.wiring.setup import tools

PIN = "the-pin-of-this-test"
Visitor = runpy.run_path(str(ROOT / "scripts" / "wizard_visitor.py"))["Visitor"]


@dataclass
class OpenWizard:
    """A wizard that is open; `closed` counts how often it was to close."""

    layout: Layout
    visitor: Visitor
    wizard: Wizard
    pages: WizardPages
    closed: list[str] = field(default_factory=list)

    def another(self) -> Visitor:
        """A visitor who has not come in."""
        return Visitor(f"https://127.0.0.1:{self.visitor.port}{LOGIN}?pin={PIN}", self.visitor._fingerprint)


@contextmanager
def open_wizard(folder: Path, ask=None) -> Iterator[OpenWizard]:
    """The wizard of the instance in `folder`, made so if need be, which nobody has entered yet."""
    layout = Layout(folder)
    make_unconfigured(layout)
    loop, closed = asyncio.new_event_loop(), []
    checks = Checks(layout, ask) if ask else Checks(layout)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = bind(("127.0.0.1", 0))

    async def begin():
        wizard = Wizard(layout, tools(lambda _: None), checks)
        door = Door(PIN, lambda: closed.append("too many wrong PINs"))
        pages = WizardPages(wizard, door, lambda: closed.append("left"))
        server = wizard_server(layout, Place("127.0.0.1", 0, ("localhost",)), listener, pages, door)
        await server.start(listener)
        return wizard, pages, server

    try:
        wizard, pages, server = asyncio.run_coroutine_threadsafe(begin(), loop).result(60)
        certificate = x509.load_pem_x509_certificate((layout.setup / "wizard.pem").read_bytes())
        url = f"https://127.0.0.1:{listener.getsockname()[1]}{LOGIN}?pin={PIN}"
        visitor = Visitor(url, certificate.fingerprint(hashes.SHA256()).hex())
        yield OpenWizard(layout, visitor, wizard, pages, closed)
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(60)
    finally:
        listener.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
