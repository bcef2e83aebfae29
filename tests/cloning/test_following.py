"""Taking over the facts of a master: all of them, checked again, and never back to an older CRL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
from tests.faults.site import Site
from tests.pki import CA, DAY, HOUR, NOW

from vouchd.cloning.client import News
from vouchd.cloning.following import Following
from vouchd.core.changes import NEVER, Concerned
from vouchd.core.facts import Facts, Member, StepBack
from vouchd.errors import ClientError, CRLRejected, LifecycleError, NotFound
from vouchd.pkix import certs

MASTER = Member("ocsp1.example.org", 8443, 8080, "OCSP 1", clone=False, joined_at=NOW)


class MasterClient:
    """A client of the master: what it tells of a real store, changed as a test wants."""

    def __init__(self, master: Site) -> None:
        self.master = master
        self.change: Callable[[Facts], Facts] | None = None
        self.altered: dict[str, bytes] = {}
        self.concerned: list[Concerned | None] = []
        self.fetched: list[str] = []
        self.versions: list[str] = []

    def state(self, after: str, _seconds: float) -> News | None:
        self.versions.append(after)
        run, _, since = after.partition(":")
        known = int(since) if run == str(id(self.master)) and self.change is None else NEVER
        revision, facts, concerned = self.master.store.facts_since(known)
        version = f"{id(self.master)}:{revision}"
        if version == after and self.change is None:
            return None
        self.concerned.append(concerned)
        return News(version, self.change(facts) if self.change else facts, concerned)

    def documents(self, names: Iterable[str], _max_bytes: int) -> Iterator[bytes]:
        for sha256 in names:
            self.fetched.append(sha256)
            yield self.altered.get(sha256) or b"".join(self.master.store.document_chunks(sha256))


class Pair:
    """A master and what follows it."""

    def __init__(self, folder) -> None:
        for name in ("m", "c"):
            (folder / name).mkdir()
        self.ca = CA.create()
        self.m, self.c = Site(folder / "m"), Site(folder / "c")
        self.m.add_ca(self.ca.der)
        self.client = MasterClient(self.m)
        self.master: Member | None = MASTER
        self.following = Following(
            self.c.store, self.c.indexing, lambda: self.master, lambda _: self.client, nullcontext, 1 << 20
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
    assert len(pair.client.fetched) == len(set(pair.client.fetched)) == 2
    assert pair.client.versions[0] == ""
    assert pair.client.versions[1] == pair.client.versions[2] != ""


def test_one_more_crl_among_many_is_all_that_is_told_and_looked_at(pair):
    """After the whole, what is told is of what changed: one CRL is one issuing point, however many CAs there are."""
    pair.accept(1, 5)
    for number in range(5):
        pair.m.add_ca(CA.create(f"Other {number}").der)
    assert pair.following.wait()
    pair.accept(2, 5, 6)
    assert pair.following.wait()
    whole, one = pair.client.concerned
    assert whole is None
    assert (one.authorities, len(one.points)) == (frozenset(), 1)
    assert pair.c.store.facts() == pair.m.store.facts()


def test_changes_of_every_kind_make_the_clone_equal(pair):
    """CAs added, changed and removed, CRLs retired: after each difference the clone has what the master has."""
    pair.accept(1, 5)
    pair.following.wait()
    others = [CA.create(f"Other {number}") for number in range(3)]
    for ca in others:
        pair.m.add_ca(ca.der)
    pair.following.wait()
    [first, *_] = [one for one in pair.m.store.authorities() if one.label.startswith("CN=Other")]
    for change in (
        lambda: pair.m.store.put_authority(replace(first, label="renamed")),
        lambda: pair.m.store.remove_authority(first.id),
        lambda: pair.m.store.retire(
            replace(pair.m.store.authorities_of(certs.name_and_key(pair.ca.der)[0])[0], retired_scopes=("complete",)),
            "complete",
        ),
    ):
        change()
        assert pair.following.wait()
        assert pair.c.store.facts() == pair.m.store.facts()
    assert None not in pair.client.concerned[1:]


def test_another_master_is_asked_for_everything(pair):
    """What one master has told counts for nothing at another one."""
    pair.accept(1, 5)
    pair.following.wait()
    pair.master = replace(MASTER, host="ocsp2.example.org", term=2)
    pair.following.wait()
    assert pair.client.versions == ["", ""]


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
    pair.client.master = restored
    assert pair.following.wait()
    assert pair.served() == (2, {5, 6})
    pair.accept(3, 5, 6, 7, site=restored)
    assert pair.following.wait()
    assert pair.served() == (3, {5, 6, 7})
    restored.close()


def test_step_back_at_the_master_is_one_of_its_clones(pair, tmp_path):
    """An older CRL that an administrator has the master go back to is the newest for those who follow it."""
    pair.accept(1, 5)
    pair.accept(2, 5, 6)
    pair.following.wait()
    (served,) = pair.m.store.epochs()
    (tmp_path / "old").mkdir()
    restored = Site(tmp_path / "old")
    restored.add_ca(pair.ca.der)
    pair.accept(1, 5, site=restored)
    pair.client.master = restored
    assert pair.following.wait()
    assert pair.served() == (2, {5, 6})
    (stored,), (authority,) = restored.store.epochs(), restored.store.authorities()
    word = StepBack(served.index_name, stored.index_name)
    restored.store.put_authority(replace(authority, steps_back=(word,)))
    again = replace(stored, sequence=stored.sequence + 1, renumbered=served.renumbered + 1, renumbering="a slip")
    restored.store.commit_epoch(again, {})
    assert pair.following.wait()
    assert pair.served() == (1, {5})
    assert pair.c.store.authorities()[0].steps_back == (word,)
    restored.close()


def test_same_crl_accepted_at_another_time_becomes_the_masters(pair, tmp_path):
    """Of one CRL that both took in, the master's acceptance is everyone's: producedAt is the same."""
    pair.accept(1, 5)
    pair.following.wait()
    (tmp_path / "new").mkdir()
    other = Site(tmp_path / "new")
    other.add_ca(pair.ca.der)
    other.accept(b"".join(pair.m.store.document_chunks(pair.m.store.epochs()[0].base.sha256)), NOW + 50)
    pair.client.master = other
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
    pair.client.altered[sha256] = crl
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
    pair.client.change = lambda facts: change(pair, facts)
    with pytest.raises((CRLRejected, LifecycleError)):
        pair.following.wait()
    assert (pair.c.store.facts(), pair.served()) == before


def test_document_that_does_not_come_changes_nothing_and_is_asked_again(pair):
    """A transfer that broke off leaves the facts of before; the next attempt takes all over."""
    pair.accept(1, 5)
    whole = pair.client.documents

    def broken(*_: object) -> bytes:
        raise ClientError("came damaged")

    pair.client.documents = broken
    with pytest.raises(ClientError):
        pair.following.wait()
    assert pair.c.store.facts() == Facts()
    pair.client.documents = whole
    assert pair.following.wait()
    assert pair.served() == (1, {5})
