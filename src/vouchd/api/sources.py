"""The sources of CRLs: how each does, and adding, pausing, removing and asking them.

What they are stands in CS.cfg; a change is written there and a running instance restarts with it, dropping nothing.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, convert

from vouchd.api.model import Count, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.errors import NotFound, StoreConflict
from vouchd.service.permission import Action
from vouchd.service.pulling import SourceState, without_password

PREFIX = "vouchd.source."
_Name = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
_Seconds = Annotated[int, Meta(ge=1, le=31 * 86400)]
_URL = Annotated[str, Meta(min_length=1, max_length=2000)]


class Source(Struct, frozen=True):
    """A source of CRLs; times are seconds since 1970, 0: never."""

    name: Annotated[str, about("Its name in CS.cfg.", "root")]
    url: Annotated[str, about("Where it fetches, without a password.", "http://crl.example.org/root.crl")]
    paused: Annotated[bool, about("Whether it is asked only when somebody says so.")]
    attempts: Annotated[Count, about("How often it was tried.", 20)]
    failures: Annotated[Count, about("How often it has failed in a row.", 0)]
    accepted: Annotated[Count, about("CRLs taken in.", 4)]
    not_modified: Annotated[Count, about("Attempts that found nothing new.", 16)]
    last_attempt: Annotated[Count, about("When it was tried last.", 1795498904)]
    last_success: Annotated[Count, about("When that succeeded last.", 1795498904)]
    last_error: Annotated[Words, about("Why the last attempt failed; empty: it did not.")]
    next_attempt: Annotated[Count, about("When it is tried next.", 1795502504)]
    next_update: Annotated[int | None, about("nextUpdate of its newest CRL.", 1795585304)]


class NewSource(Struct, frozen=True, forbid_unknown_fields=True):
    """A source to add."""

    name: Annotated[_Name, about("What it is called.", "root")]
    url: Annotated[
        _URL,
        about("`http(s)://`, `file://` or a path, `ldap(s)://HOST/DN?ATTRIBUTE`.", "http://crl.example.org/root.crl"),
    ]
    interval_seconds: Annotated[_Seconds, about("It is asked at least this often.", 3600)] = 3600
    paused: Annotated[bool, about("Ask it only when somebody says so.")] = False


class SourceChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What of a source is to be otherwise; null leaves it."""

    url: Annotated[_URL | None, about("Where it fetches.", "http://crl2.example.org/root.crl")] = None
    interval_seconds: Annotated[_Seconds | None, about("It is asked at least this often.", 600)] = None
    paused: Annotated[bool | None, about("Ask it only when somebody says so.")] = None


class SettledSource(Struct, frozen=True):
    """A source as CS.cfg has it now."""

    name: Annotated[str, about("Its name.", "root")]
    diff: Annotated[str, about("What was changed in CS.cfg, as diff -u shows it.", "+vouchd.source.root.paused=true\n")]
    restarting: Annotated[bool, about("Whether the running instance restarts with it; false: it does not run.")]


def _list(call: Call) -> list[Source]:
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "sources")
    return [shape(state) for state in _states(call)]


def shape(state: SourceState) -> Source:
    """A source as it is told."""
    return convert(state, Source, from_attributes=True)


def _states(call: Call) -> tuple[SourceState, ...]:
    """Of the instance as it runs; of one that does not, what it would ask."""
    if call.running.pid():
        return call.running.report().sources
    sources = call.services.settings.sources
    return tuple(SourceState(one.name, without_password(one.url), paused=one.paused) for one in sources)


def _add(call: Call) -> SettledSource:
    wanted: NewSource = call.body
    if _lines(call, wanted.name):
        raise StoreConflict(f"there is a source {wanted.name}", hint="change that one, or take another name")
    return _settle(call, wanted.name, wanted.url, wanted.interval_seconds, paused=wanted.paused or None)


def _change(call: Call) -> SettledSource:
    wanted: SourceChange = call.body
    name = _known(call)
    return _settle(call, name, wanted.url, wanted.interval_seconds, paused=wanted.paused)


def _remove(call: Call) -> None:
    name = _known(call)
    _write(call, name, dict.fromkeys(_lines(call, name)))


def _fetch(call: Call) -> Source:
    name = call.path["source"]
    call.services.permission.allow(call.caller, Action.ADD_CRL, f"source {name}")
    return shape(call.running.fetch(name))


def _settle(call: Call, name: str, url: str | None, seconds: int | None, *, paused: bool | None) -> SettledSource:
    texts = {
        "url": url,
        "intervalInSec": None if seconds is None else str(seconds),
        "paused": None if paused is None else str(paused).lower(),
    }
    return _write(call, name, {f"{PREFIX}{name}.{key}": text for key, text in texts.items() if text is not None})


def _write(call: Call, name: str, changes: dict[str, str | None]) -> SettledSource:
    change = call.services.configuration.change(changes, call.caller)
    restarting = change.applied and call.running.pid() is not None
    if restarting:
        call.running.restart()
    return SettledSource(name=name, diff=change.diff, restarting=restarting)


def _known(call: Call) -> str:
    """The name of the source of the path. Raises: NotFound."""
    name = call.path["source"]
    if not _lines(call, name):
        raise NotFound(f"no source {name}", hint="vouchd source list names them")
    return name


def _lines(call: Call, name: str) -> tuple[str, ...]:
    """The keys of CS.cfg that have a line for the source."""
    settings = call.services.configuration.read(call.caller).settings
    return tuple(one.key for one in settings if one.set and one.key.startswith(f"{PREFIX}{name}."))


OPERATIONS = (
    Operation(
        "GET", "/sources", "sources.list", "How each source of CRLs does", Action.READ_STATISTICS, _list, list[Source]
    ),
    Operation(
        "POST",
        "/sources",
        "sources.add",
        "Have CRLs fetched from a source",
        Action.CHANGE_CONFIGURATION,
        _add,
        SettledSource,
        body=NewSource,
        status=201,
        refusals={409: "There is a source of that name."},
    ),
    Operation(
        "PATCH",
        "/sources/{source}",
        "sources.change",
        "Change where and how often a source fetches, pause it, or have it go on",
        Action.CHANGE_CONFIGURATION,
        _change,
        SettledSource,
        body=SourceChange,
    ),
    Operation(
        "DELETE",
        "/sources/{source}",
        "sources.remove",
        "Fetch from a source no more; the CRLs that came from it stay",
        Action.CHANGE_CONFIGURATION,
        _remove,
        None,
        status=204,
    ),
    Operation(
        "POST",
        "/sources/{source}/fetch",
        "sources.fetch",
        "Ask a source now, paused or not, and tell what came of it",
        Action.ADD_CRL,
        _fetch,
        Source,
        refusals={409: "The instance does not run."},
    ),
)
