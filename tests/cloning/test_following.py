"""Taking over the facts of a master: all of them, checked again, and never back to an older CRL."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import replace

import pytest
from tests.faults.site import Site
from tests.pki import CA, DAY, HOUR, NOW

from vouchd.cloning.following import Following
from vouchd.core.facts import Facts, Member
from vouchd.core.records import facts_digest
from vouchd.errors import ClientError, CRLRejected, LifecycleError, NotFound

MASTER = Member("ocsp1.example.org", 8443, 8080, "OCSP 1", clone=False, joined_at=NOW)


class Told:
    """A client of the master: what it tells of a real store, changed as a test wants."""

    def __init__(self, master: Site) -> None:
        self.master = master
        self.change = lambda facts: facts
        self.documents: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.asked: list[str] = []

    def state(self, after: str, _seconds: float) -> tuple[str, Facts] | None:
        self.asked.append(after)
        facts = self.change(self.master.store.facts())
        digest = facts_digest(facts)
        return None if digest == after else (digest, facts)

    def document(self, sha256: str, _max_bytes: int) -> bytes:
        self.fetched.append(sha256)
        return self.documents.get(sha256) or b"".join(self.master.store.document_chunks(sha256))


class Pair:
    """A master and what follows it."""

    def __init__(self, folder) -> None:
        for name in ("m", "c"):
            (folder / name).mkdir()
        self.ca = CA.create()
        self.m, self.c = Site(folder / "m"), Site(folder / "c")
        self.m.add_ca(self.ca.der)
        self.told = Told(self.m)
        self.master: Member | None = MASTER
        self.following = Following(
            self.c.store, self.c.indexing, lambda: self.master, lambda _: self.told, nullcontext, 1 << 20
        )

    def accept(self, number: int, *serials: int, site: Site | None = None) -> None:
        crl = self.ca.crl(dict.fromkeys(serials), number=number, this_update=NOW - HOUR + number, next_update=NOW + DAY)
        (site or self.m).accept(crl)

    def served(self) -> tuple[int | None, set[int]]:
        """CRL number and revoked serials as the clone would answer."""
        self.c.publish()
        return self.c.served()


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path)
    yield made
    made.m.close()
    made.c.close()


def test_facts_of_the_master_become_the_clones(pair):
    """Everything is taken over: what is served then is what the master serves, with the same facts."""
    pair.accept(1, 5)
    assert pair.following.wait()
    assert pair.c.store.facts() == pair.m.store.facts()
    assert pair.served() == (1, {5})


def test_unchanged_master_is_asked_with_what_is_known(pair):
    """The digest that was taken over last is what is waited on; nothing is fetched twice."""
    pair.accept(1, 5)
    assert pair.following.wait()
    assert not pair.following.wait()
    pair.accept(2, 5, 6)
    assert pair.following.wait()
    assert len(pair.told.fetched) == len(set(pair.told.fetched)) == 2
    assert pair.told.asked[0] == ""
    assert pair.told.asked[1] == pair.told.asked[2] != ""


def test_another_master_is_asked_for_everything(pair):
    """What one master has told counts for nothing at another one."""
    pair.accept(1, 5)
    pair.following.wait()
    pair.master = replace(MASTER, host="ocsp2.example.org", term=2)
    pair.following.wait()
    assert pair.told.asked == ["", ""]


def test_no_master_is_told_of(pair):
    """Without a master in the registry there is nothing to follow."""
    pair.master = None
    with pytest.raises(NotFound):
        pair.following.wait()


def test_older_crl_at_the_master_is_not_gone_back_to(pair, tmp_path):
    """A master that was restored from before its newest CRL takes no revocation back; the rest is taken over."""
    pair.accept(1, 5)
    pair.accept(2, 5, 6)
    pair.following.wait()
    (tmp_path / "old").mkdir()
    restored = Site(tmp_path / "old")
    restored.add_ca(pair.ca.der)
    pair.accept(1, 5, site=restored)
    pair.told.master = restored
    assert pair.following.wait()
    assert pair.served() == (2, {5, 6})
    pair.accept(3, 5, 6, 7, site=restored)
    assert pair.following.wait()
    assert pair.served() == (3, {5, 6, 7})
    restored.close()


def test_same_crl_accepted_at_another_time_becomes_the_masters(pair, tmp_path):
    """Of one CRL that both took in, the master's acceptance is everyone's: producedAt is the same."""
    pair.accept(1, 5)
    pair.following.wait()
    (tmp_path / "new").mkdir()
    other = Site(tmp_path / "new")
    other.add_ca(pair.ca.der)
    other.accept(b"".join(pair.m.store.document_chunks(pair.m.store.epochs()[0].base.sha256)), NOW + 50)
    pair.told.master = other
    pair.following.wait()
    assert pair.c.store.epochs() == other.store.epochs()
    other.close()


def forged_crl(pair: Pair, facts: Facts) -> Facts:
    """The facts with a CRL of another key in place of the CA's."""
    forged = CA.create().crl({}, number=9, this_update=NOW, next_update=NOW + DAY)
    return _with_document(pair, facts, forged)


def unsound_number(_pair: Pair, facts: Facts) -> Facts:
    """The facts with another CRL number than the CRL has."""
    return _with_record(facts, crl_number=99)


def unsound_scope(_pair: Pair, facts: Facts) -> Facts:
    """The facts with the CRL under another issuing point."""
    (epoch,) = facts.epochs
    return replace(facts, epochs=(replace(epoch, issuing_point=replace(epoch.issuing_point, scope_id="other")),))


def another_certificate(_pair: Pair, facts: Facts) -> Facts:
    """The facts with the certificate of another CA under the id of ours."""
    (authority,) = facts.authorities
    return replace(facts, authorities=(replace(authority, certificate_der=CA.create("Other").der),))


def orphan(_pair: Pair, facts: Facts) -> Facts:
    """The facts without the CA of the CRL."""
    return replace(facts, authorities=())


def _with_document(pair: Pair, facts: Facts, crl: bytes) -> Facts:
    sha256 = hashlib.sha256(crl).hexdigest()
    pair.told.documents[sha256] = crl
    return _with_record(facts, sha256=sha256)


def _with_record(facts: Facts, **changes: object) -> Facts:
    (epoch,) = facts.epochs
    return replace(facts, epochs=(replace(epoch, base=replace(epoch.base, **changes)),))


@pytest.mark.parametrize("change", [forged_crl, unsound_number, unsound_scope, another_certificate, orphan])
def test_what_a_follower_can_check_is_not_taken_on_trust(pair, change):
    """Facts of a master that are not what the documents and certificates say change nothing at all."""
    pair.accept(1, 5)
    pair.following.wait()
    before = pair.c.store.facts(), pair.served()
    pair.accept(2, 5, 6)
    pair.told.change = lambda facts: change(pair, facts)
    with pytest.raises((CRLRejected, LifecycleError)):
        pair.following.wait()
    assert (pair.c.store.facts(), pair.served()) == before


def test_document_that_does_not_come_changes_nothing_and_is_asked_again(pair):
    """A transfer that broke off leaves the facts of before; the next attempt takes all over."""
    pair.accept(1, 5)
    whole = pair.told.document

    def broken(*_: object) -> bytes:
        raise ClientError("came damaged")

    pair.told.document = broken
    with pytest.raises(ClientError):
        pair.following.wait()
    assert pair.c.store.facts() == Facts()
    pair.told.document = whole
    assert pair.following.wait()
    assert pair.served() == (1, {5})
