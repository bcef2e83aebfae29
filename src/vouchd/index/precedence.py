"""Which entry counts of those of one serial, and a sorter of records that goes by it.

A final revocation goes before a hold, then the earlier revocation time; so the result does not depend on the order of
the list. In a delta CRL a revocation goes before a removal.
"""

from __future__ import annotations

from pathlib import Path

from vouchd.index.sorting import Sorter
from vouchd.pkix.packed import RecordLayout
from vouchd.pkix.reasons import Reason, RevocationEntry


def record_sorter(layout: RecordLayout, directory: Path) -> Sorter:
    """A sorter of records of that layout, one for each serial, with its files in `directory`."""

    def choose(group: list[bytes]) -> bytes:
        return min(group, key=lambda record: precedence(layout.unpack(record)))

    return Sorter(layout.size, layout.serial_width, choose, directory)


def precedence(entry: RevocationEntry) -> tuple[bool, bool, int, int, int]:
    """Sort key of entries of one serial: the smallest is what counts; see the rule above."""
    date = entry.revocation_time if entry.invalidity_date is None else entry.invalidity_date
    removed, on_hold = entry.reason is Reason.REMOVE_FROM_CRL, entry.reason is Reason.CERTIFICATE_HOLD
    return removed, on_hold, entry.revocation_time, entry.reason, date
