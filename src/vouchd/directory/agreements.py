"""What a server says of one of its replication agreements."""

from __future__ import annotations

import json
import re
from calendar import timegm
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from time import strptime

from vouchd.directory.connection import Connection, Entry
from vouchd.errors import NotFound

OUR_PREFIX = "vouchd "
BUSY = 1  # "can't acquire busy replica": ordinary while another server sends its changes there
_UNDER_WAY = "in progress"
_ABORTED = "is aborting"  # the server's words for what it never tries again by itself
_NEVER = {"", "19700101000000Z", "0"}
_CODE = re.compile(r"\((-?\d+)\)")


class State(StrEnum):
    """How an agreement does, in the server's colours."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Agreement:
    """One agreement: where changes are sent, and how that went. Times are POSIX seconds, None: never."""

    name: str
    host: str
    port: int
    transport: str  # LDAP, SSL, TLS as the server names them
    enabled: bool
    state: State
    code: int  # LDAP's or the replication protocol's; 0: none
    message: str
    last_update_start: int | None
    last_update_end: int | None
    changes_sent: int
    refreshing: bool  # an initialisation is asked for or under way
    init_start: int | None
    init_end: int | None
    init_ok: bool
    init_code: int
    init_message: str

    @property
    def ours(self) -> bool:
        """Whether this program made it."""
        return self.name.startswith(OUR_PREFIX)

    @property
    def initialising(self) -> bool:
        """Whether the other server is being filled now."""
        return _UNDER_WAY in self.init_message  # stays a moment longer than `refreshing`

    @property
    def aborted(self) -> bool:
        """Whether the server has given up for good, as when the other one was no replica at that moment.

        Not while it fills the other one: its words are old then, and a filling that is cut short may never end.
        """
        return self.state is State.RED and _ABORTED in self.message and not self.refreshing


def remedy(words: str) -> str:
    """What to do about a failure in the servers' wording, by what was seen to cause it."""
    rows = (
        ("aborted", "the other server went away meanwhile; when it is back, do it again"),
        ("generation ID", "ordinary while a clone is being made: `vouchd clone create` there fills its server"),
        ("(49)", "the replication password there is another one; `vouchd directory setup` there sets it"),
        ("(-11)", "TLS failed: its certificate must have that host name and come from a CA that this server trusts"),
        ("(-1)", "nothing listens there in that transport: check host, port and transport"),
        ("permission", "the replication account may not write there; `vouchd directory setup` there allows it"),
        ("(401)", "the other server is no replica of that suffix"),
    )
    return next((hint for mark, hint in rows if mark in words), "the error logs of both directory servers say more")


def read_agreement(connection: Connection, dn: str) -> Agreement:
    """The agreement at `dn`. Raises: NotFound."""
    entry = connection.read(dn)
    if entry is None:
        raise NotFound(f"no agreement {dn}")
    return agreement_of(entry)


def agreement_of(entry: Entry) -> Agreement:
    """The agreement of an entry."""
    state, code, message = _status(entry, "nsds5replicalastupdatestatus")
    init_state, init_code, init_message = _status(entry, "nsds5replicalastinitstatus")
    return Agreement(
        name=entry.text("cn"),
        host=entry.text("nsds5replicahost"),
        port=_number(entry.text("nsds5replicaport")),
        transport=entry.text("nsds5replicatransportinfo", "LDAP"),
        enabled=entry.text("nsds5replicaenabled", "on").lower() != "off",
        state=state,
        code=code,
        message=message,
        last_update_start=_moment(entry.text("nsds5replicalastupdatestart")),
        last_update_end=_moment(entry.text("nsds5replicalastupdateend")),
        changes_sent=_sent(entry.text("nsds5replicachangessentsincestartup")),
        refreshing=bool(entry.all("nsds5beginreplicarefresh")),
        init_start=_moment(entry.text("nsds5replicalastinitstart")),
        init_end=_moment(entry.text("nsds5replicalastinitend")),
        init_ok=init_code == 0
        and init_state is not State.RED
        and bool(init_message)
        and _UNDER_WAY not in init_message,
        init_code=init_code,
        init_message=init_message,
    )


def _status(entry: Entry, attribute: str) -> tuple[State, int, str]:
    """Colour, code and words; the JSON form knows the colour, the other one is there always."""
    words = entry.text(attribute)
    match = _CODE.search(words)
    code = int(match[1]) if match else 0
    with suppress(ValueError):
        status = json.loads(entry.text(attribute + "json", "{}"))
        if isinstance(status, dict) and status.get("state") in set(State):
            return State(status["state"]), code, words
    return (State.RED if code else State.GREEN), code, words


def _sent(text: str) -> int:
    """`1:5/0 2:3/0`: of each replica, changes sent and changes passed over."""
    return sum(_number(part.partition(":")[2].partition("/")[0]) for part in text.split())


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _moment(text: str) -> int | None:
    if text in _NEVER:
        return None
    try:
        return timegm(strptime(text, "%Y%m%d%H%M%SZ"))
    except ValueError:
        return None
