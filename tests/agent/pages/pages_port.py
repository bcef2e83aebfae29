"""The agent pages over an agent port in this process, and a client that fills in their forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from tests.agent.agent_port import AgentPort, Reply
from tests.api.conftest import EVERYBODY, opened
from tests.pki import CA


@dataclass
class PagesPort:
    """A port that answers for one CA, which has revoked serial 12."""

    port: AgentPort
    site: CA

    def show(self, path: str, *, user: str = EVERYBODY) -> Reply:
        """A page."""
        return self.port.ask("GET", path, user)

    def send(self, path: str, form: dict[str, str], *, at: str = "/agent/check-certificate", user=EVERYBODY) -> Reply:
        """What a form leads to: sent with the token of the page `at`, the page that it leads to is fetched."""
        token = re.search(r'name="token" value="([0-9a-f]{64})"', self.show(at, user=user).text)[1]
        reply = self.port.ask("POST", path, user, body={**form, "token": token})
        return self.show(reply.headers["Location"], user=user) if reply.status == 303 else reply


def words(reply: Reply) -> str:
    """The text of a page, without its tags and runs of blanks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", reply.text)).split())


@contextmanager
def pages_port(folder: Path, **values: str) -> Iterator[PagesPort]:
    """The pages of an instance made in `folder`; `values` are CS.cfg keys."""
    with opened(folder, **values) as api:
        yield PagesPort(api.port, api.site)
