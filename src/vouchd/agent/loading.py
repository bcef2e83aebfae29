"""aiohttp, imported for its server alone.

Its client, which nothing here uses, reads all CAs that this host trusts twice when it is imported, and keeps them: a
tenth of what an instance takes to load. Whoever imports aiohttp for a running instance does so within `without_trust`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_trust() -> Iterator[None]:
    """Meanwhile the default contexts of TLS trust no CA; only for imports, before any connection is made."""
    ssl.SSLContext.set_default_verify_paths = _trust_nobody  # type: ignore[method-assign]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths


def _trust_nobody(self: ssl.SSLContext) -> None:
    """In the place of what reads the CAs that this host trusts."""
