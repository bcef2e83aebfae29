"""The serving report: what the running instance serves now, as one small JSON file that other processes read.

The manager process writes it whenever something in it changes; `vouchd crl add` waits on it and `vouchd status` shows
it. It is replaced by rename, so a reader sees a whole report or none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vouchd.core.facts import Epoch, IssuingPointId
from vouchd.files import PUBLIC, replace_file

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  where the instance is asked, not bound


@dataclass(frozen=True, slots=True)
class ServedPoint:
    """One CRL issuing point as the workers serve it; numbers and times are of its newest CRL."""

    authority_id: str
    scope_id: str
    label: str
    sequence: int
    crl_number: int | None
    this_update: int
    next_update: int | None
    accepted_at: int
    entries: int
    index_bytes: int

    @classmethod
    def of(cls, epoch: Epoch, label: str, entries: int, index_bytes: int) -> ServedPoint:
        """The point that `epoch` is the present state of."""
        point = epoch.issuing_point
        return cls(
            point.authority_id,
            point.scope_id,
            label,
            epoch.sequence,
            epoch.newest.crl_number,
            epoch.this_update,
            epoch.next_update,
            epoch.accepted_at,
            entries,
            index_bytes,
        )


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker process; `loaded` is the manifest version it answers from (0: none yet)."""

    slot: int
    pid: int
    loaded: int


@dataclass(frozen=True, slots=True)
class MemberReport:
    """Another member of the set as it was seen last (POSIX seconds, None: never).

    `lags` are of the issuing points where it differs from this instance, (authority id, scope id, seconds): for how
    long it has had an older CRL, or a newer one (negative); `crls` are the numbers of those it answers from,
    (authority id, scope id, CRL number). `skew_seconds`: its clock before ours. `error` tells why it
    is not reachable.
    """

    id: str
    role: str
    reachable: bool
    seen_at: int | None = None
    skew_seconds: int = 0
    lags: tuple[tuple[str, str, int], ...] = ()
    error: str = ""
    crls: tuple[tuple[str, str, int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The directory server of another member, seen from this instance's own.

    `state` is green (it has all changes), amber (some are under way) or red (they do not flow; `why` and `hint` tell
    more). `lag_seconds` is the age of the newest change that it lacks, None when it could not be asked; `ahead`: it has
    changes that are not here. `code` is the error of the last attempt to send to it (0: none), `sent_at` when that was.
    """

    member: str
    server: str
    state: str
    lag_seconds: int | None = None
    ahead: bool = False
    code: int = 0
    sent_at: int | None = None
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ReplicationReport:
    """How the directory servers of the set replicated at POSIX time `at`.

    `conflicts` counts entries that two servers made at one time; `stale_replicas` are ids of servers that left the set
    and were not cleaned up.
    """

    at: int
    servers: tuple[ServerReport, ...] = ()
    conflicts: int = 0
    stale_replicas: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServingReport:
    """State of the instance; `version` is the serving manifest's, 0 before the first one.

    `acknowledged` says that every living worker answers from `version`. `store_error` is empty while the store can be
    reached. `ee`, `health` and `agent` are (address, port), the last one None while the agent port is off. `halted`
    tells which self test keeps all workers from answering; empty: they answer. `refusals` counts the restarts that this
    process refused, `refused` says why it did the last time. `members` are the other ones of the set; `behind` the
    labels of the CAs of which one of them has had a newer CRL for too long; `upkeep` the work for the set that fails,
    (name, error); `replication` how the directory servers replicate, None where there are none or this is not known.
    `index_repairs` counts the index files that were damaged and made again.
    """

    pid: int
    started_at: int
    ee: tuple[str, int]
    health: tuple[str, int]
    version: int = 0
    acknowledged: bool = False
    issuing_points: tuple[ServedPoint, ...] = ()
    workers: tuple[WorkerReport, ...] = ()
    restarts: int = 0
    store_error: str = ""
    sources: tuple[dict[str, Any], ...] = ()
    agent: tuple[str, int] | None = None
    halted: str = ""
    refusals: int = 0
    refused: str = ""
    members: tuple[MemberReport, ...] = ()
    behind: tuple[str, ...] = ()
    upkeep: tuple[tuple[str, str], ...] = ()
    replication: ReplicationReport | None = None
    index_repairs: int = 0

    @property
    def ee_url(self) -> str:
        """Where this host asks for OCSP answers."""
        host, port = self.ee
        host = _LOOPBACK.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def serves(self, issuing_point: IssuingPointId, sequence: int) -> bool:
        """Whether every living worker answers from epoch `sequence` of the issuing point, or a later one."""
        return self.acknowledged and any(
            (point.authority_id, point.scope_id) == (issuing_point.authority_id, issuing_point.scope_id)
            and point.sequence >= sequence
            for point in self.issuing_points
        )


def write_serving(path: Path, report: ServingReport) -> None:
    """Replace the report file atomically (0644: it holds no secret)."""
    text = json.dumps(asdict(report), indent=1) + "\n"
    replace_file(path, text.encode(), PUBLIC, durable=False)  # the next start writes it anew


def read_serving(path: Path) -> ServingReport | None:
    """The report, None when there is none or it is of another version of this program."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["ee"] = tuple(found["ee"])
        found["health"] = tuple(found["health"])
        found["agent"] = tuple(found["agent"]) if found.get("agent") else None
        found["issuing_points"] = tuple(ServedPoint(**point) for point in found["issuing_points"])
        found["workers"] = tuple(WorkerReport(**worker) for worker in found["workers"])
        found["sources"] = tuple(found["sources"])
        found["members"] = tuple(_member(one) for one in found.get("members", ()))
        found["behind"] = tuple(found.get("behind", ()))
        found["upkeep"] = tuple((name, error) for name, error in found.get("upkeep", ()))
        found["replication"] = _replication(found.get("replication"))
        return ServingReport(**found)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _member(found: dict[str, Any]) -> MemberReport:
    lists = {name: tuple(tuple(one) for one in found.get(name, ())) for name in ("lags", "crls")}
    return MemberReport(**{**found, **lists})


def _replication(found: dict[str, Any] | None) -> ReplicationReport | None:
    if found is None:
        return None
    servers = tuple(ServerReport(**one) for one in found["servers"])
    return ReplicationReport(**{**found, "servers": servers, "stale_replicas": tuple(found["stale_replicas"])})


def remove_serving(path: Path) -> None:
    """Take the report away: nothing is served any more."""
    path.unlink(missing_ok=True)
