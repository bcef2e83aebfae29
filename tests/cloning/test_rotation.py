"""The password of the replication account is renewed over real servers; each step is cut short once, and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.agent.domain_site import a_clone, own_key
from tests.directory.site import REPLICATION_PASSWORD, Node, join, nodes
from tests.pki import NOW
from tests.processes.running import eventually

from vouchd.cloning import rotation
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.directory_setup import directory_values
from vouchd.cloning.resealing import reseal
from vouchd.cloning.rotation import OVERLAP_SECONDS, Rotation
from vouchd.core.facts import Member
from vouchd.directory import replica
from vouchd.directory.account import let_in
from vouchd.directory.agreements import State
from vouchd.directory.config_entries import REPLICATION_DN
from vouchd.directory.connection import Connection, Credentials
from vouchd.errors import StoreUnavailable
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNALDB, REPLICATIONDB, read_passwords, write_passwords
from vouchd.settings.reading import read_settings
from vouchd.stores.beliefs import Believed
from vouchd.stores.ldap.store import DirectoryStore
from vouchd.stores.rules import Unsealed

pytestmark = pytest.mark.process


@dataclass
class Clock:
    """A clock that is moved by hand."""

    at: int = NOW

    def now(self) -> int:
        return self.at


@dataclass
class Seat:
    """A member with a directory server, without its processes."""

    folder: Path
    node: Node
    number: int
    clock: Clock
    master: Seat | None = None  # who is the master to it
    rotation: Rotation = field(init=False)

    def __post_init__(self) -> None:
        self.layout = Layout(self.folder)
        self.layout.database_folder.mkdir(parents=True)
        directory = DirectorySettings(self.node.server, self.node.made.bind_dn, None)
        lines = directory_values(directory, in_use=True).items()
        self.layout.cs_cfg.write_text("".join(f"{name}={value}\n" for name, value in lines))
        write_passwords(
            self.layout.password_conf, {INTERNALDB: self.node.made.password, REPLICATIONDB: REPLICATION_PASSWORD}
        )
        key = own_key(a_clone(self.number).host)
        self.seals = MemberSeals(Believed(self.layout.believed), lambda: {key.sha256: key}, self.clock)
        self.store = DirectoryStore(self.node.server, self.node.made.bind_dn, self.node.made.password, seals=self.seals)
        self.member = a_clone(
            self.number, clone=self.number != 1, term=int(self.number == 1), directory=self.node.server
        )
        self.rotation = Rotation(
            self.layout, read_settings(self.layout), self.store, self.seals, lambda _: self.master, self.clock
        )

    def replication_password(self) -> str:
        """What the master is asked for by another member."""
        return read_passwords(self.layout.password_conf)[REPLICATIONDB]

    def takes(self, password: str) -> bool:
        """Whether its server lets in who has that password."""
        try:
            Connection(self.node.server, Credentials(REPLICATION_DN, password)).close()
        except StoreUnavailable:
            return False
        return True

    def sends(self) -> bool:
        """Whether its server's changes flow."""
        with closing(self.node.connection()) as connection:
            return [one.state for one in replica.agreements(connection, self.node.server.suffix)] == [State.GREEN]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Node]]:
    """Two servers that replicate with each other."""
    with nodes(2) as made:
        join(*made)
        yield made


@pytest.fixture
def site(servers, tmp_path) -> tuple[Seat, Seat, Member]:
    """A master, a clone, and a member that the master has let in and knows, all sealed; nothing is to be renewed yet."""
    clock = Clock()
    for node in servers:
        with closing(node.admin()) as admin:
            let_in(admin, [REPLICATION_PASSWORD])
    for one, other in (servers, reversed(servers)):
        with closing(one.connection()) as connection:
            replica.agree(connection, one.server.suffix, other.server, REPLICATION_PASSWORD, renew=True)
    master, clone = (Seat(tmp_path / str(number), node, number, clock) for number, node in enumerate(servers, 1))
    clone.master = master
    unjudged = master.store.over(Unsealed())
    for member in unjudged.members():
        unjudged.remove_member(member.id)
    gone = a_clone(3)
    for member in (master.member, clone.member, gone):
        master.store.put_member(member, None)
    reseal(master.seals, master.store)
    eventually(lambda: len(clone.store.members()) == 3, "the registry has come")
    for seat in (master, clone):
        seat.rotation.look()
        assert seat.replication_password() == REPLICATION_PASSWORD
    return master, clone, gone


class Cut(StoreUnavailable):
    """The step was cut short."""


def cut_once(monkeypatch, owner: object, name: str, after: bool) -> None:
    """Have a step fail the first time it is done, before it has an effect or `after`."""
    whole, done = getattr(owner, name), []

    def step(*arguments, **options):
        if done:
            return whole(*arguments, **options)
        done.append(name)
        if after:
            whole(*arguments, **options)
        raise Cut(name)

    monkeypatch.setattr(owner, name, step)


STEPS = [(rotation, "replace_passwords"), (rotation, "_let_in"), (replica, "agree"), (Rotation, "_keep")]


@pytest.mark.parametrize("after", [False, True], ids=["not done", "done, and not heard of"])
@pytest.mark.parametrize(("owner", "name"), [(None, ""), *STEPS], ids=["uncut", *(name for _, name in STEPS)])
def test_password_is_renewed_by_all_and_the_one_before_refused(site, monkeypatch, owner, name, after):
    """When a member has left all others end with one new password, wherever a step was cut short; changes go on."""
    master, clone, gone = site
    master.store.remove_member(gone.id)
    eventually(lambda: len(clone.store.members()) == 2, "the registry has come")
    if owner is not None:
        cut_once(monkeypatch, owner, name, after)
    for _ in range(3):
        for seat in (master, clone):
            try:
                seat.rotation.look()
            except Cut:
                seat.rotation.look()
    now = master.replication_password()
    assert now == clone.replication_password() != REPLICATION_PASSWORD
    assert all(seat.takes(one) for seat in (master, clone) for one in (now, REPLICATION_PASSWORD))
    master.clock.at += OVERLAP_SECONDS
    for seat in (master, clone):
        seat.rotation.look()
        assert seat.takes(now)
        assert not seat.takes(REPLICATION_PASSWORD)
        assert sorted(read_passwords(seat.layout.password_conf)) == [INTERNALDB, REPLICATIONDB]
    for seat in (master, clone):
        eventually(seat.sends, "changes flow")
        seat.rotation.look()
        assert seat.replication_password() == now  # and nothing more is to do
