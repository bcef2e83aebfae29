"""Comparing a clone with the Certificate System's OCSP manager that is its master: what both list, what both answer."""

from __future__ import annotations

from tests.client.answers import always, answer, ask_for, loopback
from tests.pki import CA, DAY, NOW

from vouchd.client.inquiry import send
from vouchd.client.transport import Connection, Method
from vouchd.cloning.comparison import Probe
from vouchd.cloning.expectations import Answer
from vouchd.cloning.verifying_master import ComparedMaster, list_differences
from vouchd.core.facts import Authority
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.directory.foreign import ForeignPoint
from vouchd.errors import StoreUnavailable

AUTHORITY = CA.create()
SIGNER = AUTHORITY.issue_signer(not_before=NOW - DAY)
PROBE = Probe("never issued", ask_for(AUTHORITY), Method.POST, "Test CA")
EMPTY = ServingState(1, ())
SERVED = ServingState(1, (ServingAuthority(Authority("a", AUTHORITY.der, "Test CA"), ()),))


def what(state: ServingState, *points: ForeignPoint) -> list[tuple[str, str, str, str]]:
    """What differs in the lists."""
    return [(one.what, one.field, one.ours, one.theirs) for one in list_differences(state, points)]


def test_ca_that_one_alone_lists_is_named():
    """A CA that was added at the master and refused here, or removed there and kept here, stands in the comparison."""
    other = CA.create("Other CA", kind="P-384")
    assert what(EMPTY, ForeignPoint("cn=x", (other.der,), ())) == [("cn=x", "listed", "no", "yes")]
    assert what(SERVED) == [("CA Test CA", "listed", "yes", "no")]
    assert what(SERVED, ForeignPoint("cn=y", (AUTHORITY.der,), ())) == []


def test_other_crl_there_is_named_with_both_hashes():
    """Which CRL each has is told by its hash."""
    ((name, field, ours, _),) = what(SERVED, ForeignPoint("cn=y", (AUTHORITY.der,), (b"a CRL",)))
    assert (name, field, ours) == ("CRL of Test CA", "SHA-256", "none")


def test_habits_are_told_apart_from_differences():
    """An answer made anew is as expected and told by name; another status is a difference."""
    ours = answer(AUTHORITY, SIGNER, next_update=None)
    for theirs, differences in (
        (answer(AUTHORITY, SIGNER), 0),
        (answer(AUTHORITY, SIGNER, revoked=True), 1),
    ):
        with loopback(always(ours)) as here, loopback(always(theirs)) as other, Connection(here.url) as own:
            master = ComparedMaster(other.url, tuple, EMPTY)
            master.compare_lists()
            reply = send(own, PROBE.question, PROBE.method)
            master.compare_answers(PROBE, Answer(reply.exchange, reply.response), NOW)
            master.connection.close()
        member = master.result()
        assert (member.questions, member.differences) == (1, differences)
        assert member.identical is not bool(differences)
    assert any(one.startswith("nextUpdate (1)") for one in member.expected)


def test_master_that_is_away_is_no_difference_but_no_answer():
    """It is asked once, and the reason is told, that of the directory first."""

    def away() -> tuple[ForeignPoint, ...]:
        raise StoreUnavailable("the directory is away")

    master = ComparedMaster("http://127.0.0.1:9/", away, EMPTY)  # the port of discard, where nobody listens
    master.compare_lists()
    master.compare_answers(PROBE, Answer(None, None), NOW)
    member = master.result()
    assert (master.answers, member.state, member.error) == (False, "no answer", "the directory is away")
