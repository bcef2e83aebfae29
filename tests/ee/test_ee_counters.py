"""What a worker counted by CA and status is summed up as the manager wants it."""

from __future__ import annotations

from vouchd.core.facts import CertStatus
from vouchd.ee.counted_responder import EECounters
from vouchd.ee.counters import WorkerCounters
from vouchd.service.terms import Terms


def _terms(authority_id: str, *statuses: CertStatus) -> Terms:
    return Terms(cert_statuses=statuses, this_update=0, next_update=1, cacheable=True, authority_id=authority_id)


def test_snapshot_sums_the_tallies_of_all_cas_and_statuses():
    """Each answer counts once for its CA, and once for each certificate that it speaks of; what is zero is left out."""
    counters = EECounters(WorkerCounters())
    counters.requests["GET"] = 5
    counters.sent_bytes = 7
    for terms, gets, posts, parsed, made in (
        (_terms("a", CertStatus.GOOD), 1, 2, 3, 4),
        (_terms("b", CertStatus.GOOD), 10, 0, 0, 1),
        (_terms("a", CertStatus.REVOKED, CertStatus.REVOKED), 0, 0, 0, 2),
        (_terms("c", CertStatus.UNKNOWN), 0, 0, 0, 0),
        (_terms("", CertStatus.UNKNOWN), 0, 1, 0, 0),
    ):
        tally = counters.frame(terms).tally
        tally.gets, tally.posts, tally.parsed, tally.made, tally.sent_bytes = gets, posts, parsed, made, 100
    counted = counters.snapshot({})["counters"]
    assert counted["by_authority"] == {"a": 12, "b": 11}
    assert counted["cert_statuses"] == {"good": 21, "revoked": 4, "unknown": 1}
    assert counted["answers"] == {"successful": 24}
    assert counted["requests"] == {"GET": 16, "POST": 3}
    assert (counted["cache_hits"], counted["cache_misses"]) == (17, 7)
    assert counted["sent_bytes"] == 507


def test_snapshot_of_terms_of_the_same_statuses_in_another_order_is_one_tally():
    """Two certificates, one good and one revoked, are the same whichever was asked about first."""
    counters = EECounters(WorkerCounters())
    tallies = [
        counters.frame(_terms("a", *statuses)).tally
        for statuses in ((CertStatus.GOOD, CertStatus.REVOKED), (CertStatus.REVOKED, CertStatus.GOOD))
    ]
    assert tallies[0] is tallies[1]
