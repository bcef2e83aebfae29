"""An audit sink that remembers, and one that cannot write."""

from __future__ import annotations

from dataclasses import dataclass, field

from vouchd.core.facts import Caller, Group
from vouchd.errors import StoreUnavailable

AGENT = Caller("agent", frozenset({Group.AGENTS}), "192.0.2.1")
ADMIN = Caller("admin", frozenset({Group.ADMINISTRATORS}), "192.0.2.2")
PUBLISHER = Caller("CA", frozenset({Group.TRUSTED_MANAGERS}), "192.0.2.3")
AUDITOR = Caller("auditor", frozenset({Group.AUDITORS}), "192.0.2.5")
NOBODY = Caller("nobody", frozenset(), "192.0.2.4")


@dataclass
class RecordingAudit:
    """Keeps (event, caller's name, outcome, detail) of each record."""

    records: list[tuple[str, str, str, dict]] = field(default_factory=list)

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        self.records.append((event, caller.name, outcome, detail))

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(event, outcome) for event, _, outcome, _ in self.records]


class FullAudit(RecordingAudit):
    """An audit log on a full disk."""

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        raise StoreUnavailable(f"the audit log cannot be written: {event} {caller} {outcome} {detail}")
