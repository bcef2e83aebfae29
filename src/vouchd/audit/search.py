"""Reading the audit log: search over all its files, newest first.

Who may read is decided by the caller (`Action.READ_AUDIT`); whether what is read is genuine by `audit.proof`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vouchd.audit.chain import AuditRecord, decode, is_traffic
from vouchd.audit.log_files import lines_backwards, log_files
from vouchd.errors import NotFound, StoreUnavailable

MAX_LIMIT = 10_000
_SLACK_SECONDS = 86400  # records stand in the order they were made in, but for clocks that were set meanwhile


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What a record must be like to be found; an empty field asks for nothing.

    `caller`, `event` and `outcome` are compared whole, without regard to case; `text` is looked for anywhere in
    caller, origin and detail. Times are POSIX seconds, both inclusive. `before` is the `seq` that a page starts below.
    Without `traffic` records of connections and signatures are left out, unless `event` asks for them.
    """

    event: str = ""
    outcome: str = ""
    caller: str = ""
    text: str = ""
    since: int | None = None
    until: int | None = None
    before: int | None = None
    traffic: bool = True

    def matches(self, record: AuditRecord) -> bool:
        """Whether the record is asked for."""
        if self.before is not None and record.seq >= self.before:
            return False
        if self.since is not None and record.time < self.since:
            return False
        if self.until is not None and record.time > self.until:
            return False
        if not self.traffic and not self.event and is_traffic(record):
            return False
        return self._says(record)

    def _says(self, record: AuditRecord) -> bool:
        wanted = ((self.event, record.event), (self.outcome, record.outcome), (self.caller, record.caller))
        if any(expected and expected.casefold() != actual.casefold() for expected, actual in wanted):
            return False
        if not self.text:
            return True
        values = (record.caller, record.origin, *map(str, record.detail.values()))
        return any(self.text.casefold() in value.casefold() for value in values)


class AuditReader:
    """Reads the log whose growing file is `path`, together with its rotated files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def search(self, query: AuditQuery | None = None, *, limit: int = 100) -> tuple[AuditRecord, ...]:
        """At most `limit` (and MAX_LIMIT) records that match, newest first; lines that are not intact are left out.

        The next page is asked for with `before` = `seq` of the last record. Raises: StoreUnavailable.
        """
        criteria = query or AuditQuery()
        limit = max(0, min(limit, MAX_LIMIT))
        matches: list[AuditRecord] = []
        for record in self._backwards(criteria.event):
            if len(matches) == limit or (criteria.since is not None and record.time < criteria.since - _SLACK_SECONDS):
                break
            if criteria.matches(record):
                matches.append(record)
        return tuple(matches)

    def record(self, seq: int) -> AuditRecord:
        """The record of that number. Raises: NotFound, StoreUnavailable."""
        for record in self._backwards():
            if record.seq == seq:
                return record
        raise NotFound(f"the audit log has no record {seq}", hint="`vouchd audit search` lists those there are")

    def _backwards(self, event: str = "") -> Iterator[AuditRecord]:
        """The intact records, newest first; of `event` only, if given, but for a few others."""
        wanted = json.dumps(event.upper()).encode() if event else b""
        try:
            for path in reversed(log_files(self._path)):
                for line in lines_backwards(path):
                    if wanted in line:  # far quicker than to decode what is not asked for
                        with suppress(ValueError):
                            yield decode(line)
        except OSError as error:
            raise StoreUnavailable(
                f"the audit log {self._path} cannot be read: {error.strerror}", hint="mend its permissions"
            ) from error
