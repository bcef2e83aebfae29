"""What an operation is: a row of the table that REST, its document, the pages and the command line go by.

JSON in, JSON out (see `model`), and no HTTP: `run` is a plain function that any thread may call, in the manager process
or in a command that works on the folder. Method and path say where REST has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from importlib import import_module
from typing import Annotated, Any

from msgspec import Meta, Struct

from vouchd.api.model import about, checked, checked_words
from vouchd.api.services import SETTLE_SECONDS, Running, Services
from vouchd.clock import SystemClock
from vouchd.core.facts import Caller, Epoch
from vouchd.core.ports import Clock
from vouchd.service.permission import Action
from vouchd.settings.layout import Layout

JSON = "application/json"
PREFIX = "/api/v1"
SMALL_BODY_BYTES = 1 << 20
PENDING_STATUS = 202
UNCHANGED_STATUS = 200


class Access(Enum):
    """What a route needs where no action stands for it."""

    PUBLIC = "public"  # no certificate is asked for; the caller is ANYONE
    IDENTIFIED = "identified"  # any user that is let in, whatever its groups


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation; the caller is let in.

    `opened()` gives the services; what asks `running` alone works where they cannot be opened. `query` and a JSON body
    are JSON values as they were sent, and the models that the operation names when it runs; `body` is the bytes of any
    other, None where there is none. `origin` is where a file comes from.
    """

    opened: Callable[[], Services]
    layout: Layout
    running: Running
    caller: Caller
    path: Mapping[str, str]
    query: Any
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
        return self.running.settle(getattr(self.query, "wait", SETTLE_SECONDS), epochs)


@dataclass(frozen=True, slots=True)
class Download:
    """A body that is given piece by piece."""

    chunks: Callable[[], Iterator[bytes]]
    media_type: str
    file_name: str


class NoParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameter in the query."""


LONGEST_WAIT_SECONDS = 100


class Waiting(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a change waits until it is answered by."""

    wait: Annotated[
        int, Meta(ge=0, le=LONGEST_WAIT_SECONDS), about("Seconds to wait until all workers answer by it.", 5)
    ] = int(SETTLE_SECONDS)


_NAME = Annotated[str, Meta(min_length=1, max_length=300)]
PATHS: Mapping[str, Any] = {
    "authority": Annotated[
        _NAME, about("A CA: its id or the first 8 or more digits of it, or its label.", "Example Root")
    ],
    "scope": Annotated[_NAME, about("`complete`, or the id of a partitioned CRL's scope.", "complete")],
    "serial": Annotated[_NAME, about("A serial number, hexadecimal, with or without `0x`.", "0x52a1c7")],
    "user": Annotated[_NAME, about("The user's id.", "alice")],
    "certificate": Annotated[
        _NAME, about("The SHA-256 (hex) of a certificate, or its first 8 or more digits.", "9f2c6a01")
    ],
    "name": Annotated[_NAME, about("The name of a system certificate, or of a group.", "sslserver")],
    "nickname": Annotated[_NAME, about("The nickname of a signer.", "ocspSigningCert")],
    "token": Annotated[_NAME, about("The label of a token, or its name in settings.", "hardware-ocsp")],
    "source": Annotated[_NAME, about("The name of a source of CRLs.", "root")],
    "join_token": Annotated[_NAME, about("A join token: 8 or more of the first digits of its SHA-256.", "4f2a91c0")],
    "crl": Annotated[_NAME, about("A CRL that is kept: its CRL number, or 8 or more digits of its SHA-256.", "42")],
    "approval": Annotated[
        _NAME, about("What waits for a second agent: its id, or 4 or more digits of it.", "9f2c6a01")
    ],
    "seq": Annotated[_NAME, about("The number of a record.", "1207")],
    "member": Annotated[
        _NAME,
        about(
            "A member: HOST:PORT of its agent port, or its host where that has one member.", "ocsp2.example.org:8443"
        ),
    ],
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, `name`d `module.verb`, at one method of one path below PREFIX.

    `run` returns the answer: what `answer` names, a model or a list of one, or a Download; nothing where that is None.
    `query` is the model of the parameters in the query, `body` that of a JSON body; `upload` says that the body is the
    bytes of a file instead, of one of these media types. `refusals` are the HTTP statuses, besides those that any
    operation may give, with their meaning. `pending` says of an answer that its effect is still to come: such a one has
    PENDING_STATUS instead of `status`. `may_be_there`: what it adds may be there just so already; then the answer's
    `changes` are none and it has UNCHANGED_STATUS.
    """

    method: str
    path: str
    name: str
    about: str
    access: Action | Access
    run: Callable[[Call], Any]
    answer: Any = None
    status: int = 200
    tag: str = ""
    query: type[Struct] = NoParameters
    body: type[Struct] | None = None
    upload: tuple[str, ...] = ()
    media_type: str = JSON
    refusals: Mapping[int, str] = field(default_factory=dict)
    max_body_bytes: int = SMALL_BODY_BYTES
    pending: Callable[[Any], bool] | None = None
    may_be_there: bool = False

    def status_of(self, answer: Any) -> int:
        """The HTTP status of that answer."""
        if self.may_be_there and not answer.changes:
            return UNCHANGED_STATUS
        return PENDING_STATUS if self.pending is not None and self.pending(answer) else self.status

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names of the parameters in the path, in their order."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    def perform(self, call: Call) -> Any:
        """The answer, a model or a Download, to a call whose parameters and body are as they were sent.

        Raises: BadInput when they are not as described; as `carry_out`.
        """
        return self.carry_out(self.read(call))

    def carry_out(self, call: Call) -> Any:
        """The answer to a call that was read, unless that waits for a second agent. Raises: ApprovalPending."""
        from vouchd.api.four_eyes import require_second  # noqa: PLC0415  not for who asks over the port

        require_second(self.name, self.access, call)
        return self.run(call)

    def read(self, call: Call) -> Call:
        """The call with its models in place of what was sent. Raises: BadInput."""
        for name, text in call.path.items():
            checked_words(text, PATHS[name], name)
        query = checked_words(call.query, self.query, "the query")
        body = checked(call.body, self.body, "the body") if self.body is not None else call.body
        return replace(call, query=query, body=body)


def operation_of(name: str) -> Operation:
    """The operation of that name; loads the module that has it and no other. Raises: KeyError."""
    rows: Iterable[Operation] = import_module(f"vouchd.api.{name.partition('.')[0]}").OPERATIONS
    return {row.name: row for row in rows}[name]
