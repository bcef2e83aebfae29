"""What a page does is an operation of the one table, carried out for the caller of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.rendering import done_address
from vouchd.api.model import Changes, checked_words, plain
from vouchd.api.operation import Call, operation_of
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import ApprovalPending
from vouchd.threads import in_thread

ORIGIN = "agent page"


def carry_out(
    services: Services, caller: Caller, name: str, path: Mapping[str, str], *, query: Any = None, body: Any = None
) -> Any:
    """The answer of the operation of that name; it may block.

    What a form brought, a model or its words, is held to the same bounds as what REST brings. What waits for a
    second agent then goes on at the page that shows it. Raises: VouchdError, HTTPSeeOther.
    """
    operation = operation_of(name)
    if operation.body is not None:
        body = checked_words(plain(body), operation.body, "the form")
    parameters = operation.query() if query is None else query
    call = Call(lambda: services, services.layout, services.running, caller, path, parameters, body, ORIGIN)
    try:
        return operation.carry_out(call)
    except ApprovalPending as pending:  # no error: the page of approvals says so
        raise web.HTTPSeeOther(
            done_address(menu.APPROVALS, f"{str(pending)[:1].upper()}{str(pending)[1:]}.")
        ) from pending


def sentence(changes: Changes, done: str) -> str:
    """`done` of what an operation has added, else what it has changed instead."""
    if not changes:
        return "Nothing was changed: it was there already, just so."
    if len(changes) == 1 and changes[0].endswith(" was added"):
        return done
    return f"It was there already: {'; '.join(changes)}."


async def act(
    services: Services, caller: Caller, name: str, path: Mapping[str, str], *, query: Any = None, body: Any = None
) -> Any:
    """As `carry_out`, for the handler of a page: the loop goes on meanwhile. Raises: as that."""
    return await in_thread(lambda: carry_out(services, caller, name, path, query=query, body=body))
