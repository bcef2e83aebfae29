"""The contract of DomainStore, sentence by sentence, over every store."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from vouchd.core.facts import DirectoryServer, JoinToken, Member, Transport
from vouchd.errors import AlreadyExists, NotFound, StoreConflict

SERVER = DirectoryServer("ds1.example", 389, Transport.STARTTLS, "o=ocsp.example", 1)
MASTER = Member("ocsp1.example", 8443, 8080, "OCSP ocsp1", clone=False, joined_at=1000, term=1, directory=SERVER)
CLONE = Member("ocsp2.example", 8443, 8080, "OCSP ocsp2 ä", clone=True, joined_at=1001, tls_sha256="ab" * 32)
TOKEN = JoinToken("cd" * 32, 2000, "admin")


def test_members_empty_store_none(store):
    """A new store has no members, and says so without an error."""
    assert store.members() == ()


def test_members_ordered_by_id_come_back_as_put(store):
    """Every field of a member survives the store, and the members are ordered by id."""
    store.put_member(CLONE, None)
    store.put_member(MASTER, None)
    assert store.members() == (MASTER, CLONE)


def test_put_member_in_place_of_the_one_read(store):
    """A change takes the place of what the caller has read, and raises the revision."""
    store.put_member(MASTER, None)
    before = store.revision()
    changed = replace(MASTER, clone=True, ee_port=80, directory=replace(SERVER, port=636, transport=Transport.TLS))
    store.put_member(changed, MASTER)
    assert store.members() == (changed,)
    assert store.revision() > before


@pytest.mark.parametrize("replaces", [None, replace(MASTER, term=9)], ids=["there already", "changed meanwhile"])
def test_put_member_not_as_read_is_a_conflict_and_changes_nothing(store, replaces):
    """A change of a member that is not as the caller has read it is refused."""
    store.put_member(MASTER, None)
    before = store.revision()
    with pytest.raises(StoreConflict):
        store.put_member(replace(MASTER, term=2), replaces)
    assert (store.revision(), store.members()) == (before, (MASTER,))


def test_put_member_replica_id_of_another_is_refused(store):
    """No two members have one replica id: a directory server would not notice."""
    store.put_member(MASTER, None)
    twin = replace(CLONE, directory=replace(SERVER, host="ds2.example"))
    with pytest.raises(AlreadyExists):
        store.put_member(twin, None)
    assert store.members() == (MASTER,)


def test_put_member_of_several_at_once_one_wins(backend):
    """Of several that put one new member, one does, and the others are told."""
    outcomes = in_threads(8, lambda number: backend.open().put_member(replace(CLONE, term=number), None))
    assert sorted(outcomes) == ["", *["StoreConflict"] * 7]
    assert len(backend.open().members()) == 1


def test_put_member_replica_id_of_several_at_once_is_one_members(backend):
    """However many ask for one replica id at the same moment, at most one has it, and the others are told."""

    def put(number: int) -> None:
        backend.open().put_member(replace(MASTER, host=f"ocsp{number + 10}.example"), None)

    outcomes = in_threads(8, put)
    assert outcomes.count("") == len(backend.open().members()) <= 1
    assert set(outcomes) <= {"", "StoreConflict", "AlreadyExists"}


def test_put_member_changed_by_several_at_once_one_wins(backend):
    """Of several that change a member as they have read it, one does: no change is lost."""
    backend.open().put_member(MASTER, None)
    outcomes = in_threads(8, lambda number: backend.open().put_member(replace(MASTER, term=number + 2), MASTER))
    assert sorted(outcomes) == ["", *["StoreConflict"] * 7]


def test_remove_member_gone_and_a_second_time_not_found(store):
    """A removed member is gone, and cannot be removed again."""
    store.put_member(CLONE, None)
    store.remove_member(CLONE.id)
    assert store.members() == ()
    with pytest.raises(NotFound):
        store.remove_member(CLONE.id)


def test_take_token_once(store):
    """A token is good for one use."""
    store.put_token(TOKEN)
    assert store.token(TOKEN.digest) == TOKEN
    assert store.take_token(TOKEN.digest, 1999) == TOKEN
    assert store.token(TOKEN.digest) is None
    with pytest.raises(NotFound):
        store.take_token(TOKEN.digest, 1999)


def test_tokens_are_told_by_their_end(store):
    """All that are kept, until they are used or dropped."""
    assert store.tokens() == ()
    later = replace(TOKEN, digest="9" * 64, expires_at=TOKEN.expires_at + 1)
    for token in (later, TOKEN):
        store.put_token(token)
    assert store.tokens() == (TOKEN, later)
    store.take_token(TOKEN.digest, 1000)
    assert store.tokens() == (later,)
    store.drop_tokens()
    assert store.tokens() == ()


def test_drop_tokens_leaves_none(store):
    """All tokens are gone at once, also where there was none."""
    store.drop_tokens()
    store.put_token(TOKEN)
    store.drop_tokens()
    assert store.token(TOKEN.digest) is None
    store.put_token(TOKEN)
    assert store.take_token(TOKEN.digest, 1000) == TOKEN


@pytest.mark.parametrize("digest, at", [(TOKEN.digest, 2000), ("00" * 32, 1000)], ids=["expired", "unknown"])
def test_take_token_not_valid_is_not_found_and_others_stay(store, digest, at):
    """An expired or unknown token is refused, and refusing it uses up none."""
    store.put_token(TOKEN)
    with pytest.raises(NotFound):
        store.take_token(digest, at)
    assert store.take_token(TOKEN.digest, 1000) == TOKEN


def test_take_token_of_several_at_once_one_gets_it(backend):
    """Of several that come with one token, one gets it."""
    backend.open().put_token(TOKEN)
    outcomes = in_threads(8, lambda _: backend.open().take_token(TOKEN.digest, 1000))
    assert sorted(outcomes) == ["", *["NotFound"] * 7]


def in_threads(count, work) -> list[str]:
    """What became of `work` in so many threads at once: nothing to say, or the name of the error."""
    barrier = threading.Barrier(count)
    outcomes: list[str] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except (StoreConflict, NotFound, AlreadyExists) as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
