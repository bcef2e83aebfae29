"""One site for each kind of signing key, shared by all foreign clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interop.clients import Clients
from tests.interop.site import Site


@pytest.fixture(
    scope="session", params=[("RSA-2048", "SHA256withRSA"), ("P-256", "SHA256withEC")], ids=["RSA", "ECDSA"]
)
def site(request, tmp_path_factory) -> Iterator[Site]:
    """A running instance whose signer and CA have keys of one kind."""
    made = Site(tmp_path_factory.mktemp("site"), *request.param)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def clients(tmp_path_factory) -> Iterator[Clients]:
    """The clients of other makers, compiled."""
    made = Clients(tmp_path_factory.mktemp("clients"))
    made.prepare()
    try:
        yield made
    finally:
        made.end()
