"""What an operation is: a row of the table that REST, its document, the pages and the command line go by.

JSON in, JSON out, and no HTTP: `run` is a plain function that any thread may call, in the manager process or in a
command that works on the folder. Method and path say where REST has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from typing import Any

from vouchd.api.schema import Schema, check
from vouchd.api.services import SETTLE_SECONDS, Running, Services
from vouchd.clock import SystemClock
from vouchd.core.facts import Caller, Epoch
from vouchd.core.ports import Clock
from vouchd.errors import BadInput
from vouchd.service.permission import Action
from vouchd.settings.layout import Layout

JSON = "application/json"
PREFIX = "/api/v1"
SMALL_BODY_BYTES = 1 << 20
PENDING_STATUS = 202


class Access(Enum):
    """What a route needs where no action stands for it."""

    PUBLIC = "public"  # no certificate is asked for; the caller is ANYONE
    IDENTIFIED = "identified"  # any user that is let in, whatever its groups


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation: the caller is let in, parameters and body are checked.

    `opened()` gives the services; what asks `running` alone works where they cannot be opened. `body` is the value of a
    JSON body, the bytes of any other, None where there is none. `origin` is where a file comes from.
    """

    opened: Callable[[], Services]
    layout: Layout
    running: Running
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    origin: str

    @property
    def services(self) -> Services:
        """The services over the instance's store. Raises: ConfigError, StoreError."""
        return self.opened()

    @property
    def clock(self) -> Clock:
        """The clock of this host."""
        return SystemClock()

    def settle(self, epochs: Sequence[Epoch] = ()) -> bool:
        """Wait, as long as the parameter `wait` says, until all workers answer from what the store holds now.

        Whether they do, and from these epochs.
        """
        return self.running.settle(self.query.get(WAIT.name, SETTLE_SECONDS), epochs)


@dataclass(frozen=True, slots=True)
class Download:
    """A body that is given piece by piece."""

    chunks: Callable[[], Iterator[bytes]]
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the path or in the query; those in the path are always required."""

    name: str
    schema: Schema
    about: str
    required: bool = False


PATH_SCHEMA: Schema = {"type": "string", "minLength": 1, "maxLength": 300}
LONGEST_WAIT_SECONDS = 100
WAIT = Parameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS},
    f"Seconds to wait until all workers answer by it; {SETTLE_SECONDS:.0f}.",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, `name`d `module.verb`, at one method of one path below PREFIX.

    `run` returns the JSON value of the answer, or a Download. `answer` is the schema of that
    value, None for an answer without a body. `body` is the schema of a JSON body; `upload` says that the body is the
    bytes of a file instead, of one of these media types. `refusals` are the HTTP statuses, besides those that any
    operation may give, with their meaning. `pending` says of an answer that its effect is still to come: such a one has
    PENDING_STATUS instead of `status`.
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
    pending: Callable[[Any], bool] | None = None

    def status_of(self, answer: Any) -> int:
        """The HTTP status of that answer."""
        return PENDING_STATUS if self.pending is not None and self.pending(answer) else self.status

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names of the parameters in the path, in their order."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    def check(
        self, path: Mapping[str, str], query: Mapping[str, Any], body: Any, schemas: Mapping[str, Schema]
    ) -> None:
        """Return when parameters and JSON body are as described. Raises: BadInput."""
        for name, text in path.items():
            check(text, PATH_SCHEMA, schemas, name)
        known = {parameter.name: parameter for parameter in self.query}
        for name, value in query.items():
            if name not in known:
                raise BadInput(f"no parameter {name[:80]!r}", hint=f"known are: {', '.join(known) or 'none'}")
            check(value, known[name].schema, schemas, name)
        missing = [name for name, parameter in known.items() if parameter.required and name not in query]
        if missing:
            raise BadInput(f"the parameter {missing[0]} is missing")
        if self.body is not None:
            check(body, self.body, schemas)


def operation_of(name: str) -> Operation:
    """The operation of that name; loads the module that has it and no other. Raises: KeyError."""
    rows: Iterable[Operation] = import_module(f"vouchd.api.{name.partition('.')[0]}").OPERATIONS
    return {row.name: row for row in rows}[name]


def schemas_of(name: str) -> Mapping[str, Schema]:
    """The schemas that the operation of that name refers to."""
    own: Mapping[str, Schema] = import_module(f"vouchd.api.{name.partition('.')[0]}").SCHEMAS
    return {**import_module("vouchd.api.shapes").SCHEMAS, **own}
