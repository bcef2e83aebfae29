"""What one operation of the REST API is: a row of the table that routes and OpenAPI document are made from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from vouchd.api.schema import Schema
from vouchd.api.services import AgentServices
from vouchd.core.facts import Caller
from vouchd.service.permission import Action

T = TypeVar("T")

JSON = "application/json"
PREFIX = "/api/v1"
SMALL_BODY_BYTES = 1 << 20


class Access(Enum):
    """What a route needs where no action stands for it."""

    PUBLIC = "public"  # no certificate is asked for; the caller is ANYONE
    IDENTIFIED = "identified"  # any user that is let in, whatever its groups


@dataclass(frozen=True, slots=True)
class Call:
    """One request as an operation gets it: admitted, its parameters and its body checked.

    `body` is the value of a JSON body, the bytes of any other, None where there is none.
    """

    services: AgentServices
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Awaitable[T]) -> T:
        """The result of what runs on the loop; an operation itself runs in a thread."""

        async def done() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self.loop).result()

    def settle(self) -> bool:
        """Wait a little until all workers answer from what the store holds now; whether they do."""
        return self.wait(self.services.running.settle())


@dataclass(frozen=True, slots=True)
class Download:
    """A body that is sent piece by piece."""

    chunks: Callable[[], AsyncIterator[bytes]]
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the path or in the query; those in the path are always required."""

    name: str
    schema: Schema
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path below PREFIX.

    `run` is called in a thread and returns the JSON value of the answer, or a Download. `answer` is the schema of that
    value, None for an answer without a body. `body` is the schema of a JSON body; `upload` says that the body is the
    bytes of a file instead, of one of these media types. `refusals` are the HTTP statuses, besides those that any
    operation may give, with their meaning.
    """

    method: str
    path: str
    name: str
    about: str
    access: Action | Access
    run: Callable[[Call], Any]
    answer: Schema | None = None
    status: int = 200
    tag: str = ""
    query: tuple[Parameter, ...] = ()
    body: Schema | None = None
    upload: tuple[str, ...] = ()
    media_type: str = JSON
    refusals: Mapping[int, str] = field(default_factory=dict)
    max_body_bytes: int = SMALL_BODY_BYTES
