"""The audit log: what is recorded, how it is signed, and how long its files become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vouchd.core.policy import (
    AnswerRecords,
    ClientAddress,
)
from vouchd.settings.keys import KnownKey, key
from vouchd.settings.kinds import (
    FLAG,
    TEXT,
    integer,
    kibibytes,
    word,
)

_DAY = 86400
_MAX_INTEGER = 2**31 - 1

AUDIT_FILTERS = "log.instance.SignedAudit.filters."
AUDIT_FILTER = KnownKey(
    f"{AUDIT_FILTERS}<event>",
    TEXT,
    "",
    "Of that event only the records that match are kept, such as (Outcome=Failure).",
    shared=True,
)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The audit log: when a file is put aside, how it is signed, which answers are in it."""

    max_bytes: int = key(
        "log.instance.SignedAudit.maxFileSize",
        kibibytes(0, 1 << 30),
        2000 << 10,
        "Another file is begun at; 0: never.",
        unit="KiB",
        shared=True,
    )
    max_age_seconds: int = key(
        "log.instance.SignedAudit.rolloverInterval",
        integer(0, _MAX_INTEGER),
        30 * _DAY,
        "Another file is begun so long after the first record of this one; 0: never.",
        unit="seconds",
        shared=True,
    )
    expires_seconds: int = key(
        "log.instance.SignedAudit.expirationTime",
        integer(0, _MAX_INTEGER),
        366 * _DAY,
        "A file that was put aside is deleted when its last record is older; 0: never.",
        unit="seconds",
        shared=True,
    )
    sign: bool = key(
        "log.instance.SignedAudit.logSigning",
        FLAG,
        default=True,
        about="Sign the audit log once its certificate is installed (the Certificate System: false).",
        shared=True,
    )
    flush_seconds: int = key(
        "log.instance.SignedAudit.flushInterval",
        integer(1, _DAY),
        5,
        "At most one signature in.",
        unit="seconds",
        shared=True,
    )
    event_names: str = key(
        "log.instance.SignedAudit.events",
        TEXT,
        "",
        "Of the Certificate System's events those that are recorded, with commas between; empty: all. Ours always are.",
        shared=True,
    )
    filters: Mapping[str, str] = field(default_factory=dict)  # by event: `AUDIT_FILTER`
    answers: AnswerRecords = key(
        "vouchd.audit.answers",
        word(AnswerRecords),
        AnswerRecords.NONE,
        "Which answers leave an OCSP_GENERATION record.",
        shared=True,
    )
    sample: int = key(
        "vouchd.audit.sample",
        integer(1, 1_000_000_000),
        1000,
        "answers=sampled: one answer in so many.",
        shared=True,
    )
    client_address: ClientAddress = key(
        "vouchd.audit.clientAddress",
        word(ClientAddress),
        ClientAddress.TRUNCATED,
        "A client's address in records of answers and sessions: left out, cut to /24 or /48, hashed with a key of the"
        " start, or whole.",
        shared=True,
    )

    @property
    def events(self) -> frozenset[str] | None:
        """The names of the events that are on, None: all."""
        names = frozenset(name.strip() for name in self.event_names.split(",") if name.strip())
        return names or None
