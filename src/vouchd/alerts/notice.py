"""A notice: the one thing that all carriers carry, whatever they make of it."""

from __future__ import annotations

import hashlib
import socket
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from vouchd.core.records import rfc3339
from vouchd.settings.carriers import Severity
from vouchd.settings.declared import Settings

LONGEST_WORDS = 1000


class Event(StrEnum):
    """What a notice is about."""

    RAISED = "raised"
    RESOLVED = "resolved"
    TEST = "test"


class Notice(Struct, frozen=True):
    """One of them; `since` and `at` are POSIX seconds, `page` is a page of the documentation.

    `subject` is the CA, certificate, member … that it is about, empty where it is the instance. `id` is the same
    whenever the same is said again.
    """

    id: str
    event: Event
    instance: str
    condition: str
    subject: str
    severity: Severity
    since: int
    at: int
    words: str
    remedy: str
    page: str

    @classmethod
    def of(
        cls,
        event: Event,
        instance: str,
        condition: str,
        subject: str,
        severity: Severity,
        since: int,
        at: int,
        words: str,
        remedy: str,
        page: str,
    ) -> Notice:
        """The notice with an identifier of its own, and all words on one line."""
        subject, words = plain(subject), plain(words)
        name = "\0".join((instance, condition, subject, str(since), event))
        return cls(
            hashlib.sha256(name.encode()).hexdigest()[:32],
            event,
            instance,
            condition,
            subject,
            severity,
            since,
            at,
            words,
            remedy,
            page,
        )

    @property
    def title(self) -> str:
        """In a few words, as a subject line has it."""
        state = self.severity.upper() if self.event is Event.RAISED else self.event.upper()
        about = f"{self.condition}: {self.subject}" if self.subject else self.condition
        return f"[vouchd] {state} {about} at {self.instance}"

    @property
    def line(self) -> str:
        """In one line, as a log has it."""
        about = f"{self.condition} {self.subject}".rstrip()
        return f"{self.event} {self.severity} {about} since {rfc3339(self.since)}: {self.words}"

    @property
    def text(self) -> str:
        """In full, for a person."""
        rows = (
            ("event", self.event),
            ("severity", self.severity),
            ("condition", self.condition),
            ("about", self.subject),
            ("instance", self.instance),
            ("since", rfc3339(self.since)),
            ("at", rfc3339(self.at)),
            ("to do", self.remedy),
            ("page", self.page),
        )
        return f"{self.words}\n\n" + "".join(f"{name + ':':11}{value}\n" for name, value in rows if value)


def plain(words: str) -> str:
    """The words on one line, without what is not printable, cut where they are too long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in words).split())
    return line if len(line) <= LONGEST_WORDS else line[: LONGEST_WORDS - 1] + "…"


def instance_name(settings: Settings) -> str:
    """What the instance is called in notices: as in its set, or after its host."""
    return settings.member_id if settings.of_set.host else f"{socket.gethostname()}:{settings.agent.port}"


class Carrier(Protocol):
    """What carries notices; `name` is that of its settings."""

    name: str
    where: str  # for people, without a secret
    severity: Severity

    def send(self, notice: Notice) -> None:
        """Have it arrive; blocking, within the time that its settings give. Raises: VouchdError."""
