"""Which events are recorded, by the keys that the Certificate System has for that.

`log.instance.SignedAudit.events` names, of the events that it knows, those that are recorded; absent, all are. What it
has no word for is ours and always recorded, and so is whatever holds the log itself together. A filter keeps of one
event the records that it matches, such as `(Outcome=Failure)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vouchd.audit.chain import Entry
from vouchd.core.record_filter import matches

# Those that an administrator may do without; AUDIT_LOG_* and CONFIG_SIGNED_AUDIT are not among them.
OPTIONAL = frozenset({
    *("ACCESS_SESSION_ESTABLISH", "ACCESS_SESSION_TERMINATED", "AUTH", "AUTHZ", "ROLE_ASSUME"),
    *("CONFIG_OCSP_PROFILE", "CONFIG_ROLE", "CONFIG_TRUSTED_PUBLIC_KEY", "CRL_RETRIEVAL", "CRL_VALIDATION"),
    *("KEY_GEN_ASYMMETRIC", "OCSP_ADD_CA_REQUEST", "OCSP_ADD_CA_REQUEST_PROCESSED", "OCSP_GENERATION"),
    *("OCSP_REMOVE_CA_REQUEST", "OCSP_REMOVE_CA_REQUEST_PROCESSED", "OCSP_SIGNING_INFO", "SELFTESTS_EXECUTION"),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Selection:
    """`events` are those that are on, None: all; `filters` are by event."""

    events: frozenset[str] | None = None
    filters: Mapping[str, str] = field(default_factory=dict)

    def wants(self, entry: Entry) -> bool:
        """Whether the record is written."""
        if entry.event not in OPTIONAL:
            return True
        if self.events is not None and entry.event not in self.events:
            return False
        text = self.filters.get(entry.event, "")
        return not text or matches(text, _facts(entry))


def _facts(entry: Entry) -> dict[str, str]:
    """What a filter may name: the detail, and as there Outcome and SubjectID, our outcome and caller."""
    detail = {name.lower(): str(value) for name, value in entry.detail.items()}
    return detail | {"outcome": entry.outcome, "subjectid": entry.caller.name}
