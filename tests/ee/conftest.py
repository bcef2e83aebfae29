"""Tests of the EE port run on the event loop that its workers run on."""

from __future__ import annotations

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    """Uvloop for the EE port; the manager process runs on asyncio's own loop."""
    if item.path.name in ("test_ee.py", "test_connection.py"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop}
