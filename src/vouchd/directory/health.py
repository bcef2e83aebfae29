"""How replication of a suffix does: which changes each server has, how its agreements go, what came into conflict.

A server knows its own replica update vector (RUV): of each replica the change sequence number (CSN) of the newest
change it has. Another server's is asked of that server, as the replication account, which may read nothing else there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vouchd.core.facts import DirectoryServer
from vouchd.directory.agreements import Agreement, State, remedy
from vouchd.directory.config_entries import REPLICATION_DN, agreement_name, replica_dn
from vouchd.directory.connection import Connection, Credentials
from vouchd.directory.replica import agreements
from vouchd.errors import VouchdError

ASK_SECONDS = 5.0
# The one that lost its name is a subentry, which only a filter that names that class finds.
_CONFLICTS = "(|(&(objectClass=ldapSubEntry)(nsds5ReplConflict=*))(nsds5ReplConflict=*))"
_PART = re.compile(r"\{replica (\d{1,5}) [^}]*\}(?: [0-9a-f]{20} ([0-9a-f]{20}))?")
_GENERATION = re.compile(r"\{replicageneration\} (\S+)")


@dataclass(frozen=True, slots=True)
class UpdateVector:
    """What changes one server has: of each replica id the CSN of the newest, empty when it has none."""

    replica_id: int
    generation: str  # servers of different generations cannot replicate: one must be initialised by the other
    newest: Mapping[int, str]

    def behind(self, other: UpdateVector) -> dict[int, str]:
        """Of each replica of which `other` has newer changes: the CSN of the newest."""
        return {number: csn for number, csn in other.newest.items() if csn > self.newest.get(number, "")}


@dataclass(frozen=True, slots=True)
class PeerHealth:
    """One other server of the set, seen from here.

    `lag_seconds` is the age of the newest change that is here and not there: 0 when it has all, None when it could not
    be asked. `agreement` is None when this server sends it nothing.
    """

    server: DirectoryServer
    agreement: Agreement | None
    lag_seconds: int | None
    ahead: bool = False  # it has changes that this server lacks
    error: str = ""  # why it could not be asked
    error_hint: str = ""

    @property
    def state(self) -> State:
        """Red: changes do not flow, or this cannot be seen; amber: it is behind."""
        if self.agreement is None or self.agreement.state is State.RED or self.error:
            return State.RED
        return self.agreement.state if not self.lag_seconds else State.AMBER

    @property
    def why(self) -> tuple[str, str]:
        """What keeps changes from flowing and what to do about it, both empty where nothing does."""
        if self.error:
            return self.error, self.error_hint
        if self.agreement is None:
            return "no agreement", "it follows from the registry of the set: see `vouchd domain members`"
        if self.agreement.state is State.RED:
            return self.agreement.message, remedy(self.agreement.message)
        return "", ""


@dataclass(frozen=True, slots=True)
class ReplicationHealth:
    """All of it, from one server; `vector` is None when the server is no replica."""

    vector: UpdateVector | None
    peers: tuple[PeerHealth, ...]
    strange: tuple[Agreement, ...]  # agreements with servers that are not in the set
    stale_replicas: tuple[int, ...]  # in the RUV, but of no server of the set: they want cleaning
    conflicts: int  # entries that two servers made at the same time

    @property
    def in_sync(self) -> bool:
        """Whether every server of the set has all changes that are here, and the other way round."""
        return all(peer.lag_seconds == 0 and not peer.ahead for peer in self.peers)

    @property
    def state(self) -> State:
        """The worst of all."""
        if any(peer.state is State.RED for peer in self.peers):
            return State.RED
        return State.GREEN if self.in_sync and not self.conflicts and not self.stale_replicas else State.AMBER


def read_vector(connection: Connection, suffix: str) -> UpdateVector | None:
    """The server's RUV, None when it is no replica of the suffix."""
    replica = connection.read(replica_dn(suffix), ["nsDS5ReplicaId", "nsds50ruv"])
    if replica is None:
        return None
    elements = [value.decode("ascii", "replace") for value in replica.all("nsds50ruv")]
    parts = [match for match in map(_PART.match, elements) if match]
    generation = next((match[1] for match in map(_GENERATION.match, elements) if match), "")
    newest = {int(match[1]): match[2] or "" for match in parts}
    return UpdateVector(int(replica.text("nsDS5ReplicaId", "0")), generation, newest)


def csn_time(csn: str) -> int:
    """When the change was made, POSIX seconds by the clock of the set."""
    return int(csn[:8], 16)


def conflicts(connection: Connection, suffix: str) -> int:
    """How many entries came into conflict."""
    return len(connection.search(suffix, scope="sub", query=_CONFLICTS, attributes=["nsds5ReplConflict"]))


def health(
    connection: Connection,
    suffix: str,
    peers: Sequence[DirectoryServer],
    replication_password: str,
    at: int,
    trust_file: Path | None = None,
) -> ReplicationHealth:
    """How replication does, seen from the server of `connection`; the `peers` are asked one after another.

    Raises: StoreUnavailable when the own server cannot be reached; another one that is away is part of the result.
    """
    vector = read_vector(connection, suffix)
    by_name = {one.name: one for one in agreements(connection, suffix, ours=False)}
    seen = []
    for peer in peers:
        agreement = by_name.pop(agreement_name(peer), None)
        seen.append(_peer_health(vector, peer, agreement, replication_password, at, trust_file))
    known = {peer.replica_id for peer in peers} | ({vector.replica_id} if vector else set())
    stale = sorted(number for number in (vector.newest if vector else {}) if number not in known)
    return ReplicationHealth(vector, tuple(seen), tuple(by_name.values()), tuple(stale), conflicts(connection, suffix))


class Lack(NamedTuple):
    """Why a server is not known to have every change."""

    why: str
    on_its_way: bool  # an agreement sends it what it lacks, if it has to try again


def lacking(
    connection: Connection, peers: Sequence[DirectoryServer], suffix: str, password: str, trust_file: Path | None = None
) -> dict[str, Lack]:
    """Of each of the `peers` that is not known to have every change made at the server of `connection`: why not.

    By `host:port`. Changes that were made elsewhere are not looked at. Raises: StoreUnavailable.
    """
    mine = read_vector(connection, suffix)
    newest = mine.newest.get(mine.replica_id, "") if mine else ""
    sending = {one.name for one in agreements(connection, suffix, ours=False) if one.enabled and not one.aborted}
    lacks: dict[str, Lack] = {}
    for peer in peers if newest else ():
        try:
            theirs = ask(peer, password, trust_file)
        except VouchdError as error:
            lacks[peer.address] = Lack(str(error), on_its_way=False)
            continue
        if theirs is None or mine is None or theirs.generation != mine.generation:
            lacks[peer.address] = Lack("it was never initialised from this set", on_its_way=False)
        elif theirs.newest.get(mine.replica_id, "") < newest:
            why = "it lacks the newest changes that were made here"
            lacks[peer.address] = Lack(why, on_its_way=agreement_name(peer) in sending)
    return lacks


def _peer_health(
    mine: UpdateVector | None,
    peer: DirectoryServer,
    agreement: Agreement | None,
    replication_password: str,
    at: int,
    trust_file: Path | None,
) -> PeerHealth:
    try:
        theirs = ask(peer, replication_password, trust_file)
    except VouchdError as error:
        return PeerHealth(peer, agreement, None, error=str(error), error_hint=error.hint)
    if mine is None or theirs is None:
        return PeerHealth(peer, agreement, None, error=f"{peer.host} is no replica of {peer.suffix}")
    if mine.generation != theirs.generation:
        return PeerHealth(
            peer,
            agreement,
            None,
            error=f"{peer.host} was never initialised from this set",
            error_hint=remedy("generation ID"),
        )
    lacking = theirs.behind(mine)
    lag = max(1, at - max(map(csn_time, lacking.values()))) if lacking else 0
    return PeerHealth(peer, agreement, lag, ahead=bool(mine.behind(theirs)))


def ask(
    peer: DirectoryServer,
    replication_password: str,
    trust_file: Path | None = None,
    seconds: float = ASK_SECONDS,
) -> UpdateVector | None:
    """The RUV of another server, None when it is no replica; shows at once whether replication can reach it.

    A server that takes the connection and then says nothing is given up after `seconds` too.

    Raises: StoreUnavailable when it cannot be reached, TLS fails or the password is not its own.
    """
    credentials = Credentials(REPLICATION_DN, replication_password)
    connection = Connection(peer, credentials, trust_file, seconds, seconds)
    try:
        return read_vector(connection, peer.suffix)
    finally:
        connection.close()
