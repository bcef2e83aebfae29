"""Search in the audit log: newest first, over all files, by every field."""

from __future__ import annotations

import pytest
from tests.audit.auditing import Bench
from tests.pki import NOW

from vouchd.audit.log import Rotation
from vouchd.audit.search import AuditQuery, AuditReader
from vouchd.core.facts import Caller
from vouchd.errors import NotFound


@pytest.fixture
def reader(tmp_path):
    """Nine records in several files, three a caller, a minute apart."""
    bench = Bench(tmp_path / "audit.jsonl", Rotation(max_bytes=700))
    for number in range(9):
        caller = Caller(("ann", "bob", "cyd")[number % 3], frozenset(), f"192.0.2.{number}")
        bench.log.record(("AUTH", "AUTHZ")[number % 2], caller, ("success", "failure")[number % 2], number=number)
        bench.clock.at += 60
    return AuditReader(bench.path)


@pytest.mark.parametrize(
    "query, numbers",
    [
        (AuditQuery(), [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (AuditQuery(event="authz"), [7, 5, 3, 1]),
        (AuditQuery(outcome="failure", caller="Bob"), [7, 1]),
        (AuditQuery(text="192.0.2.4"), [4]),
        (AuditQuery(since=NOW + 120, until=NOW + 240), [4, 3, 2]),
        (AuditQuery(before=3), [1, 0]),
        (AuditQuery(event="nothing"), []),
    ],
)
def test_search_finds_what_is_asked_for_newest_first(reader, query, numbers):
    """Each field narrows the search, and no file is left out."""
    assert [record.detail["number"] for record in reader.search(query)] == numbers


def test_search_pages_by_the_number_of_the_last_record(reader):
    """A page is continued where it ended, whatever was recorded since."""
    first = reader.search(limit=4)
    second = reader.search(AuditQuery(before=first[-1].seq), limit=4)
    assert [record.seq for record in (*first, *second)] == [9, 8, 7, 6, 5, 4, 3, 2]


def test_search_no_log_finds_nothing(tmp_path):
    """An instance that never did anything has an empty log."""
    assert AuditReader(tmp_path / "audit.jsonl").search() == ()


def test_record_by_number(reader):
    """One record is found by its number; one that is not there is an error."""
    assert reader.record(3).detail["number"] == 2
    with pytest.raises(NotFound):
        reader.record(10)
