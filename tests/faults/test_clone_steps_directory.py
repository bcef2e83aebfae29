"""The making of a clone with a directory server is cut short: by kills of the command, by the end of the server."""

from __future__ import annotations

import subprocess
from contextlib import closing

import pytest
from tests.commands import start_vouchd
from tests.ds389 import SUFFIX, Directory
from tests.faults.creation import kill
from tests.processes.running import eventually
from tests.whole.clones import CloneSet
from tests.whole.directory_sets import clone, directory_set
from tests.whole.test_clone_directory import require_alike

from vouchd.core.facts import Transport
from vouchd.directory import replica
from vouchd.directory.config_entries import agreement_dn
from vouchd.directory.connection import Change
from vouchd.directory.health import read_vector

pytestmark = pytest.mark.process

# In the midst of the steps that the directory adds, and when they are done and nobody knows of it yet.
POINTS = ("directory: accounts", "after directory", "initialising", "after replicate")


class Making:
    """A master on a directory server, and the words that make its clone `c` on another."""

    def __init__(self, site: CloneSet, servers: dict[str, Directory]) -> None:
        self.site = site
        self.servers = servers

    def words(self) -> list[str]:
        return clone(self.site, "c", self.servers["c"], Transport.PLAIN)

    def renew_token(self) -> None:
        """A token that was not used."""
        (self.site.folder / "token").unlink()
        self.site.run("domain", "token", "--instance", "m", "--out", "token")

    def fill(self, megabytes: int) -> None:
        """Give the master's server so much that filling another one takes a while."""
        with closing(self.servers["m"].admin()) as connection:
            for number in range(megabytes):
                values = {"cn": [f"big{number}"], "vouchdChunk": [bytes([number]) * (1 << 20)]}
                name = f"cn=big{number},ou=chunks,{SUFFIX}"
                connection.add(name, {"objectClass": ["vouchdDocumentChunk"], **values})

    def replicas(self, name: str) -> set[int]:
        """The ids of the replicas that a member's server knows of."""
        with closing(self.servers[name].admin()) as connection:
            return set(read_vector(connection, SUFFIX).newest)

    def agreements(self, name: str) -> list[tuple[str, int]]:
        """The servers that a member's server sends its changes to."""
        with closing(self.servers[name].admin()) as connection:
            return [(one.host, one.port) for one in replica.agreements(connection, SUFFIX, ours=False)]

    def filling(self) -> bool:
        """Whether the master's server is just filling the clone's."""
        with closing(self.servers["m"].admin()) as connection:
            return any(one.initialising for one in replica.agreements(connection, SUFFIX))

    def with_server_that_dies(self) -> str:
        """What the command says when the clone's server is killed while it is filled; the master serves, it is back."""
        with start_vouchd(*self.words(), cwd=self.site.folder, stderr=subprocess.PIPE) as running:
            said = next(line for line in running.stderr if "initialising" in line)
            eventually(self.filling, f"the server is being filled after {said!r}")
            self.servers["c"].kill()
            output = running.stderr.read()
        assert running.returncode != 0
        assert self.site.says("m", "bad") == "revoked"
        self.servers["c"].start()
        return output

    def require_whole(self) -> None:
        """There is one clone: it answers the same, is registered once, and the two servers send to each other."""
        site, m, c = self.site, self.servers["m"], self.servers["c"]
        require_alike(site, "m", "c")
        assert site.members("m") == site.members("c") == {site.id_of("m"): False, site.id_of("c"): True}
        assert self.agreements("m") == [(c.host, c.port)]
        assert self.agreements("c") == [(m.host, m.port)]
        eventually(lambda: self.replicas("m") == self.replicas("c"), "both servers know the same replicas")
        assert len(self.replicas("m")) == len(("m", "c"))

    def cut(self) -> None:
        """The clone's directory server sends nothing to the master's any more."""
        with closing(self.servers["c"].admin()) as connection:
            for one in replica.agreements(connection, SUFFIX):
                change = Change("replace", "nsds5ReplicaEnabled", (b"off",))
                connection.modify(agreement_dn(SUFFIX, one.name), [change])

    def destroy(self, *more: str) -> None:
        self.site.run("clone", "destroy", "--instance", "c", "--remove", *more)

    def require_gone(self) -> None:
        """Of the clone nothing is left: no folder, no draft, no member, no agreement; its replica id is forgotten."""
        site = self.site
        assert site.members("m") == {site.id_of("m"): False}
        assert not [path for path in site.folder.iterdir() if path.name.lstrip(".").split(".")[0] == "c"]
        assert self.agreements("m") == self.agreements("c") == []
        eventually(lambda: len(self.replicas("m")) == 1, "the master's server knows its own replica alone")
        assert site.says("m", "bad") == "revoked"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A master that revokes `bad`, on a directory server, and one for the clone."""
    with directory_set(tmp_path_factory.mktemp("set"), Transport.PLAIN) as (site, servers):
        site.revoke("bad")
        site.publish("m")
        site.until_says("m", "bad", "revoked")
        yield Making(site, servers)


@pytest.fixture
def making(begun):
    """No clone yet, and a token for one; so it is again after the test, with nothing left over."""
    begun.renew_token()
    yield begun
    if begun.site.layout("c").root.exists():
        begun.destroy()
    begun.require_gone()


def test_clone_that_alone_has_a_crl_is_taken_away_by_force_only(making):
    """What only the clone's directory server has acknowledged is given up by nobody who does not say so."""
    site, m = making.site, making.servers["m"]
    site.run(*making.words())
    words = ("clone", "destroy", "--instance", "c", "--remove")
    making.cut()
    site.run("ca", "crl", "--ca", "lab", "--out", "newest.crl")
    site.run("crl", "add", "newest.crl", "--instance", "c")
    lacking = site.refused(*words)
    making.servers["c"].kill()
    away = site.refused(*words)
    making.servers["c"].start()
    assert f"{m.host}:{m.port}: it lacks the newest changes" in lacking
    assert "start its directory server" in away
    assert "--force" in lacking
    assert site.says("c", "bad") == "revoked"
    assert site.members("m") == {site.id_of("m"): False, site.id_of("c"): True}
    making.destroy("--force")


def test_creation_cut_short_in_the_steps_of_the_directory_is_finished_by_the_same_words(making):
    """However often it is killed, and though the server dies while it is filled, it ends with one clone."""
    for point in POINTS:
        kill(making.site, point, making.words())
    making.fill(megabytes=30)
    assert "was not initialised" in making.with_server_that_dies()
    making.site.run(*making.words())
    making.require_whole()


def test_what_a_killed_creation_has_made_is_taken_away(making):
    """Though the servers are just being joined, `clone destroy` leaves no agreement, no replica id, no other member."""
    kill(making.site, "initialising", making.words())
    making.destroy()
    making.require_gone()
