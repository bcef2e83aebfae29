"""What a request has to pass tells the log of our own faults alone."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from unittest import mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from vouchd.agent.admission import Admission
from vouchd.agent.routes import Intake, Route
from vouchd.agent.uploads import CRLUpload
from vouchd.api.operation import Access


def broken_off(intake: Callable[[], Intake] | None) -> int:
    """The status of a request whose client goes away amid its body."""

    async def reached(*_: object) -> web.StreamResponse:
        raise AssertionError("a part of a body is none")

    async def ask() -> int:
        body = StreamReader(mock.Mock(_reading_paused=False), 1 << 16, loop=asyncio.get_running_loop())
        body.feed_data(b"\x30")
        body.set_exception(ConnectionResetError("Connection lost"))
        request = make_mocked_request("POST", "/", {"Content-Length": "100"}, payload=body)
        route = Route("POST", "/", Access.PUBLIC, reached, intake=intake)
        return (await Admission(mock.Mock(), mock.Mock(), 60, 60).guarded(route)(request)).status

    return asyncio.run(ask())


@pytest.mark.parametrize("intake", [None, CRLUpload])
def test_request_that_is_broken_off_is_no_fault_of_ours(intake, caplog):
    """A client that goes away amid its body leaves no trace of a fault in the log, however the body is taken."""
    with caplog.at_level(logging.WARNING):
        assert broken_off(intake) == web.HTTPBadRequest.status_code
    assert not caplog.records


def test_upload_that_is_broken_off_is_given_back():
    """What was taken in goes with its connection: no collection of garbage is waited for."""
    gone: list[weakref.ref[CRLUpload]] = []

    def intake() -> CRLUpload:
        upload = CRLUpload()
        gone.append(weakref.ref(upload))
        return upload

    broken_off(intake)
    assert gone[0]() is None
