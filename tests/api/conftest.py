"""The agent port with a CA whose CRL is in, and a client of its REST API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.agent.agent_port import LOCAL, AgentPort, agent_port, crl, issue
from tests.pki import CA, Issued, shared_key

from vouchd.api.services import Services
from vouchd.clock import SystemClock
from vouchd.core.facts import Group

PREFIX = "/api/v1"
EVERYBODY = "everybody"  # a user with all groups
STAFF = (Group.ADMINISTRATORS, Group.AGENTS, Group.AUDITORS)


@dataclass
class Api:
    """A client; `site` is the CA that the port answers for."""

    port: AgentPort
    site: CA

    def ask(self, method: str, path: str, body: Any = None, *, user: str | Issued | None = EVERYBODY, **headers: str):
        """Status and JSON value of the answer to a request with a JSON body (bytes go as a CRL)."""
        sent = dict(headers)
        if isinstance(body, bytes):
            sent.setdefault("Content-Type", "application/pkix-crl")
        elif body is not None:
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        reply = self.port.ask(method, PREFIX + path, user, body=body, headers=sent)
        is_json = "json" in reply.headers.get("Content-Type", "")
        return reply.status, json.loads(reply.body) if is_json else reply.body

    def get(self, path: str, **more):
        """The value of an answer that is as wanted."""
        status, value = self.ask("GET", path, **more)
        assert status == 200, value
        return value


@contextmanager
def opened(folder: Path, **values: str) -> Iterator[Api]:
    """An instance at `folder` that answers for one CA, which has revoked serial 12; `values` are CS.cfg keys."""
    with agent_port(folder, _filled, **values) as port:
        port.publish()
        yield Api(port, replace(_site()))


@cache
def _site() -> CA:
    """To be copied: it counts its CRLs."""
    return CA.create("Site CA", key=shared_key("EC", 21))


def _filled(ca: CA, services: Services) -> dict[str, Issued]:
    everybody, site = issue(ca, EVERYBODY), _site()
    services.users.add(EVERYBODY, LOCAL, groups=STAFF, certificates=[everybody.der])
    services.authorities.add(site.der, LOCAL, label="Site")
    revoked = crl(site, {12: x509.ReasonFlags.key_compromise})
    services.ingesting.accept_crl(revoked, "test", LOCAL, SystemClock().now())
    return {EVERYBODY: everybody}


@pytest.fixture
def api(tmp_path):
    with opened(tmp_path / "vouchd") as port:
        yield port
