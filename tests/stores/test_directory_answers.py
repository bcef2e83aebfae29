"""The directory store when the server's answer to a change is lost, and when another change comes between two steps."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.contract.backends import CA, FIRST, POINT, SECOND, a_record, an_epoch, sha256
from tests.directory.site import Node, nodes, until

from vouchd.core.facts import Group, Member, User
from vouchd.errors import NotFound, StoreConflict, StoreUnavailable
from vouchd.stores.ldap.store import DirectoryStore

pytestmark = pytest.mark.process

ALICE = User("alice", "Alice", frozenset({Group.ADMINISTRATORS}), (b"\x30\x01",))


ADD, MODIFY, DELETE, SEARCH = 0x68, 0x66, 0x4A, 0x63  # RFC 4511 4.7, 4.6, 4.8, 4.5.1


def operation(message: bytes) -> int:
    """The tag of what an LDAPMessage asks for (RFC 4511 4.1.1)."""
    start = 2 + (message[1] & 0x7F if message[1] & 0x80 else 0)
    return message[start + 2 + message[start + 1]]


class Wire:
    """A port that hands everything on to the server; after `lose` it cuts one connection at one change.

    It is cut when its client sends a request of that operation with that word in it: before the server gets it, after,
    or so that the server gets it late, once it has been asked whether it did; nothing is handed back either way.
    """

    def __init__(self, node: Node) -> None:
        self._to = (node.server.host, node.server.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lost: tuple[int, bytes] | None = None
        self._arrives, self._last, self._late = True, False, False
        self._delay: tuple[socket.socket, bytes] | None = None
        self._searches = 0  # since something is held
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, operation: int, word: bytes, *, arrives: bool, last: bool = False, late: bool = False) -> None:
        """`last`: there is no other connection after it; `late`: it arrives before the second search from now on."""
        self._lost, self._arrives, self._last, self._late = (operation, word), arrives, last, late

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while octets := client.recv(1 << 20):
                if self._lost and self._lost[0] == operation(octets) and self._lost[1] in octets:
                    self._lost = None
                    self.cut += 1
                    if self._last:
                        self._listener.shutdown(socket.SHUT_RDWR)
                        self._listener.close()
                    if self._late:
                        self._delay, self._searches = (server, octets), 0
                    client.shutdown(socket.SHUT_RDWR)  # nothing comes back any more
                    if self._late:
                        return
                    if not self._arrives:
                        break
                elif self._delay and operation(octets) == SEARCH:
                    self._release()
                server.sendall(octets)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _release(self) -> None:
        self._searches += 1
        if self._delay and self._searches == 2:
            (server, octets), self._delay = self._delay, None
            server.sendall(octets)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while octets := server.recv(1 << 20):
                client.sendall(octets)
        for one in (server, client):
            one.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes(1) as [subject]:
        yield subject


@pytest.fixture
def wire(node) -> Iterator[Wire]:
    subject = Wire(node)
    yield subject
    subject.close()


@pytest.fixture
def store(node, wire) -> Iterator[DirectoryStore]:
    """A store without CAs, which speaks with the server through the wire."""
    through = replace(node.server, host="127.0.0.1", port=wire.port)
    subject = DirectoryStore(through, node.made.bind_dn, node.made.password)
    for authority in subject.authorities():
        subject.remove_authority(authority.id)
    yield subject
    subject.close()


@pytest.mark.parametrize("arrives", [True, False], ids=["it was made", "it was not made"])
def test_commit_without_an_answer_is_made_once(store, wire, arrives):
    """Whether the server made the change or never got it: the commit returns when it is there, with its number."""
    store.put_authority(CA)
    wire.lose(MODIFY, b"vouchdEpoch", arrives=arrives)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    assert wire.cut == 1
    assert store.epochs() == (an_epoch(CA),)
    with pytest.raises(StoreConflict):
        store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    store.commit_epoch(an_epoch(CA, 2, a_record(SECOND, 2, 1100)), {sha256(SECOND): SECOND})
    assert [epoch.sequence for epoch in store.epochs()] == [2]


@pytest.mark.parametrize("arrives", [True, False], ids=["it was made", "it was not made"])
def test_addition_without_an_answer_is_made_once(store, wire, arrives):
    """A CA and a user whose addition nobody answered are there once, and under their own names."""
    wire.lose(ADD, b"vouchdAuthority", arrives=arrives)
    store.put_authority(CA)
    known = {user.id: user for user in store.users()}
    changed = replace(ALICE, full_name=f"Alice {arrives}")
    wire.lose(MODIFY, b"vouchdUser", arrives=arrives)
    store.put_user(changed, known.get(ALICE.id))
    assert wire.cut == 2
    assert store.authorities() == (CA,)
    assert changed in store.users()


@pytest.mark.parametrize("arrives", [True, False], ids=["it was made", "it was not made"])
def test_member_is_entered_changed_and_removed_whatever_answer_is_lost(store, wire, arrives):
    """Each step of a change of the registry may go unanswered: the step before it does not pass for the whole."""
    member = Member("o2.example", 8443, 8080, "OCSP o2", clone=False, joined_at=1)
    clone = replace(member, clone=True)
    wire.lose(MODIFY, b"vouchdStamp", arrives=arrives)
    store.put_member(member, None)
    wire.lose(MODIFY, b"vouchdMember", arrives=arrives)
    store.put_member(clone, member)
    assert store.members() == (clone,)
    wire.lose(DELETE, b"o2.example", arrives=arrives)
    store.remove_member(member.id)
    assert store.members() == ()
    wire.lose(ADD, b"vouchdMember", arrives=arrives)
    store.put_member(member, None)
    assert store.members() == (member,)
    store.remove_member(member.id)
    assert wire.cut == 4


def test_change_that_the_server_makes_after_it_was_asked_about_it_is_made_once(store, wire):
    """A server that gets to a lost change late: the second try, which fails beside it, is no failure of the change."""
    member = Member("o3.example", 8443, 8080, "OCSP o3", clone=False, joined_at=1)
    wire.lose(ADD, b"o3.example", arrives=True, late=True)
    store.put_member(member, None)
    clone = replace(member, clone=True)
    wire.lose(MODIFY, b"vouchdMember", arrives=True, late=True)
    store.put_member(clone, member)
    assert store.members() == (clone,)
    wire.lose(DELETE, b"o3.example", arrives=True, late=True)
    store.remove_member(clone.id)
    assert store.members() == ()
    assert wire.cut == 3


@pytest.mark.parametrize("arrives", [True, False], ids=["it was made", "it was not made"])
def test_removal_without_an_answer_is_made_and_settled(store, wire, node, arrives):
    """A CA whose removal nobody answered is gone with its mark kept, and no entry of it is left after settling."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, 1, a_record(FIRST, 7, 1700)), {sha256(FIRST): FIRST})
    wire.lose(MODIFY, b"vouchdAuthority", arrives=arrives)
    store.remove_authority(CA.id)
    assert wire.cut == 1
    assert store.authorities() == ()
    assert store.high_water(POINT) == (7, 1700)
    store.settle(0)
    admin = node.admin()
    assert admin.search(node.server.suffix, scope="one", query="(objectClass=vouchdIssuingPoint)") == ()
    admin.close()


def test_commit_that_nobody_can_be_asked_about_is_told_by_doing_it_again(store, wire, node):
    """With the server out of reach it is unavailable; done again later it is told that it was made."""
    store.put_authority(CA)
    wire.lose(MODIFY, b"vouchdEpoch", arrives=True, last=True)
    with pytest.raises(StoreUnavailable):
        store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    assert wire.cut == 1
    back = DirectoryStore(node.server, node.made.bind_dn, node.made.password)
    assert until(lambda: back.epochs() == (an_epoch(CA),))
    with pytest.raises(StoreConflict):
        back.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    back.close()


def test_crl_accepted_while_its_ca_is_removed_leaves_its_mark(store, node):
    """A CRL that another process commits between two steps of a removal is no way back to an older one."""
    other = DirectoryStore(node.server, node.made.bind_dn, node.made.password)
    newer = an_epoch(CA, 2, a_record(SECOND, 9, 1900))

    class Slow(DirectoryStore):
        """Another process is quicker when it has kept the marks for the first time."""

        quicker = False

        def _keep_marks(self, *marks):
            super()._keep_marks(*marks)
            if not self.quicker:
                self.quicker = True
                other.commit_epoch(newer, {sha256(SECOND): SECOND})

    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA, 1, a_record(FIRST, 7, 1700)), {sha256(FIRST): FIRST})
    slow = Slow(node.server, node.made.bind_dn, node.made.password)
    slow.remove_authority(CA.id)
    assert slow.quicker
    assert store.authorities() == ()
    assert store.high_water(POINT) == (9, 1900)
    with pytest.raises(NotFound):
        other.commit_epoch(replace(newer, sequence=3), {})
    for each in (slow, other):
        each.close()
