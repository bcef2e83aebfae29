"""What is stored and not believed: shown while it lasts, and logged and recorded once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vouchd.cloning.seals import Record, seal_of
from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink
from vouchd.errors import BadInput
from vouchd.stores.beliefs import digest_of

_log = logging.getLogger(__name__)

EVENT = "SEAL_VALIDATION"
STORE = Caller("store", origin="store")
_SINGLY = 10  # so many doubts of one kind and cause are recorded one by one


@dataclass(frozen=True, slots=True)
class Doubt:
    """A record that is stored and not believed, and why; `by` is SHA-256 (hex) of whose seal it bears, if anybody's."""

    kind: str
    identifier: str
    why: str
    sha256: str
    by: str = ""


class Doubts:
    """Those of the last reading of each kind; `audit` is set by the process that serves, others record nothing."""

    def __init__(self) -> None:
        self.audit: AuditSink | None = None
        self._by_name: dict[tuple[str, str], Doubt] = {}

    def every(self) -> tuple[Doubt, ...]:
        """All of them, by kind and name."""
        return tuple(self._by_name[key] for key in sorted(self._by_name))

    def __contains__(self, name: tuple[str, str]) -> bool:
        """Whether what is stored of that kind and name is not believed."""
        return name in self._by_name

    def show(self, kind: str, doubts: Mapping[str, Doubt]) -> None:
        """Log and record what was not doubted before, and remember what is."""
        before = {key: doubt for key, doubt in self._by_name.items() if key[0] == kind}
        by_cause: dict[str, list[Doubt]] = {}
        for identifier, doubt in doubts.items():
            if before.get((kind, identifier)) != doubt and self.audit is not None:
                by_cause.setdefault(doubt.why, []).append(doubt)
        for why, some in by_cause.items():
            self._record(kind, why, some)
        for _, identifier in before.keys() - {(kind, identifier) for identifier in doubts}:
            _log.warning("%s %s: what the directory has of it is believed again", kind, identifier)
        rest = {key: doubt for key, doubt in self._by_name.items() if key[0] != kind}
        self._by_name = rest | {(kind, identifier): doubt for identifier, doubt in doubts.items()}

    def _record(self, kind: str, why: str, doubts: Sequence[Doubt]) -> None:
        """In the log and the audit log: one by one, or of many what they have in common."""
        audit = self.audit
        if audit is None:
            return
        if len(doubts) > _SINGLY:  # a server that lost its data, or is being filled
            _log.error("%d of kind %s: not believed as the directory has them: %s", len(doubts), kind, why)
            target = f"{kind} {doubts[0].identifier} and {len(doubts) - 1} others"
            audit.record(EVENT, STORE, "failure", target=target, why=why)
            return
        for doubt in doubts:
            _log.error("%s %s: not believed as the directory has it: %s", kind, doubt.identifier, why)
            detail = {"why": why, "sha256": doubt.sha256, "sealed_by": doubt.by}
            audit.record(EVENT, STORE, "failure", target=f"{kind} {doubt.identifier}", **detail)


def doubt_of(kind: str, identifier: str, record: Record, why: str) -> Doubt:
    """What is said of a record that is not believed."""
    try:
        by = seal_of(kind, identifier, record).by
    except BadInput:
        by = ""
    return Doubt(kind, identifier[:200], why, digest_of(record), by)
