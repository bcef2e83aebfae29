"""Replication of one suffix between directory servers, set up with the instance's own account over LDAP.

A server is made a replica once (`enable`), has one agreement for each other server it sends changes to (`agree`), and
fills a new server from its own data (`initialise`), which replaces everything the new server has below the suffix.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory.agreements import BUSY, Agreement, State, agreement_of, read_agreement, remedy
from vouchd.directory.config_entries import (
    CLEAN_TASKS,
    REPLICATION_DN,
    agreement_dn,
    agreement_name,
    changelog_dn,
    replica_dn,
    task_exit_code,
)
from vouchd.directory.connection import Change, Connection
from vouchd.directory.suffix import backend_of
from vouchd.errors import AlreadyExists, ConfigError, LifecycleError, NotFound, StoreConflict

INITIALISE_SECONDS = 600.0
GRACE_SECONDS = 5.0  # how long an initialisation may go on reporting an error
BUSY_SECONDS = 1.0  # between attempts; the server tells the time of one to the second
CLEAN_SECONDS = 120.0
MAX_REPLICA_ID = 65534  # 65535 means a consumer
_TRANSPORTS = {Transport.PLAIN: "LDAP", Transport.TLS: "SSL", Transport.STARTTLS: "TLS"}
_CHANGELOG = {
    # What changes and deletions are kept for a member that is away; a longer absence needs a new initialisation.
    "nsslapd-changelogmaxage": "3d",
    # A server that has just been filled begins its changelog anew, and waits for the thread that trims the former one
    # to end. Where that has only begun, it misses the word and sleeps for this long first, 300 s if nobody says
    # otherwise (389 DS 2.3): meanwhile neither server takes a word on the agreement.
    "nsslapd-changelogtrim-interval": "10",
}
_PURGE_SECONDS = 3 * 86400
_REPLICA = {
    "nsDS5ReplicaType": "3",  # a supplier
    "nsDS5Flags": "1",  # with a changelog
    "nsDS5ReplicaBackoffMin": "1",  # seconds between attempts to reach a consumer; 3 and 300 would make it wait
    "nsDS5ReplicaBackoffMax": "4",
    "nsDS5ReplicaPurgeDelay": str(_PURGE_SECONDS),
    "nsDS5ReplicaTombstonePurgeInterval": "3600",
}
_AGREEMENT = {
    "nsds5ReplicaWaitForAsyncResults": "50",  # ms between looks for answers; 100 makes a burst wait
    "nsds5ReplicaFlowControlWindow": "1000000000",  # at 1000, a session pauses 2 s after each 1000 operations
    "nsds5ReplicaTimeout": "120",
}
_LOST_SECONDS = 1.0
_CREDENTIALS = "nsDS5ReplicaCredentials"
_INVALID_CREDENTIALS = 49
_OTHER_GENERATION = 19  # of every server before it is initialised
Progress = Callable[[Agreement, float], None]
# Ending an agreement takes the server a second. Deleted meanwhile, it crashes; asked to initialise, it stands still for
# ever (389 DS 2.3).
_alone = threading.Lock()


def enable(connection: Connection, server: DirectoryServer) -> bool:
    """Make the server a replica with its `replica_id`; whether it was none.

    Raises: ConfigError when it is one with another id already.
    """
    if server.replica_id is None or not 1 <= server.replica_id <= MAX_REPLICA_ID:
        raise ConfigError(f"{server.replica_id} is not a replica id", hint=f"1 to {MAX_REPLICA_ID}, unique in the set")
    present = replica_id_of(connection, server.suffix)
    if present is not None and present != server.replica_id:
        raise ConfigError(
            f"{server.host}: {server.suffix} is replica {present}, not {server.replica_id}",
            hint="a replica keeps its id until its member leaves the set",
        )
    entry = {name: [value] for name, value in _REPLICA.items()} | {
        "objectClass": ["top", "nsDS5Replica", "extensibleObject"],
        "cn": ["replica"],
        "nsDS5ReplicaRoot": [server.suffix],
        "nsDS5ReplicaId": [str(server.replica_id)],
        "nsDS5ReplicaBindDN": [REPLICATION_DN],
    }
    try:
        connection.add(replica_dn(server.suffix), entry)
    except AlreadyExists:
        with suppress(StoreConflict):  # it is there
            change = Change("add", "nsDS5ReplicaBindDN", (REPLICATION_DN.encode(),))
            connection.modify(replica_dn(server.suffix), [change])
    _trim(connection, server.suffix)
    return present is None


def replica_id_of(connection: Connection, suffix: str) -> int | None:
    """The id of the server's replica of the suffix, None when it is none."""
    replica = connection.read(replica_dn(suffix), ["nsDS5ReplicaId"])
    return int(replica.text("nsDS5ReplicaId", "0")) if replica else None


def agreements(connection: Connection, suffix: str, *, ours: bool = True) -> tuple[Agreement, ...]:
    """The agreements of the suffix with their state, ordered by name; `ours`: only those made here."""
    try:
        agreements = connection.search(replica_dn(suffix), scope="one", query="(objectClass=nsDS5ReplicationAgreement)")
    except NotFound:
        return ()
    made = (agreement_of(entry) for entry in agreements)
    return tuple(sorted((one for one in made if one.ours or not ours), key=lambda one: one.name))


def agree(
    connection: Connection,
    suffix: str,
    peer: DirectoryServer,
    password: str,
    *,
    renew: bool = False,
    bind_dn: str = REPLICATION_DN,
) -> bool:
    """Send changes to `peer`, bound there as `bind_dn`, the replication account; whether anything changed.

    A new agreement sends nothing before `peer` has been initialised, by this server or another one. The password of an
    agreement that is there is set anew with `renew`, or when `peer` refuses the one it has; one that the server has
    given up, since `peer` was no replica while it was being filled, begins anew.
    """
    name = agreement_name(peer)
    wanted = {
        "nsDS5ReplicaHost": peer.host,
        "nsDS5ReplicaPort": str(peer.port),
        "nsDS5ReplicaTransportInfo": _TRANSPORTS[peer.transport],
        "nsDS5ReplicaBindMethod": "SIMPLE",
        "nsDS5ReplicaBindDN": bind_dn,
        **_AGREEMENT,
    }
    dn = agreement_dn(suffix, name)
    entry = {
        "objectClass": ["top", "nsDS5ReplicationAgreement"],
        "cn": [name],
        "description": [f"from vouchd to {peer.host}"],
        "nsDS5ReplicaRoot": [suffix],
        _CREDENTIALS: [password],
    }
    try:
        connection.add(dn, entry | {attribute: [value] for attribute, value in wanted.items()})
    except AlreadyExists:
        return _adjust(connection, dn, wanted, password, renew=renew)
    return True


def _adjust(connection: Connection, dn: str, wanted: Mapping[str, str], password: str, *, renew: bool) -> bool:
    """Change what differs of an agreement that is there. Its password cannot be read, so it is not compared."""
    entry = connection.read(dn)
    if entry is None:
        raise NotFound(f"no agreement {dn}")
    changes = [
        Change("replace", attribute, (value.encode(),))
        for attribute, value in wanted.items()
        if entry.text(attribute) != value
    ]
    if renew or agreement_of(entry).code == _INVALID_CREDENTIALS:
        changes.append(Change("replace", _CREDENTIALS, (password.encode(),)))
    if changes:
        connection.modify(dn, changes)
    return _revive(connection, dn) or bool(changes)


def _revive(connection: Connection, dn: str) -> bool:
    """Begin an agreement anew that the server has given up; whether it had.

    Nobody here asks for a filling between the look and the act: one that is cut short never ends.
    """
    with _alone:
        if not read_agreement(connection, dn).aborted:
            return False
        _off_and_on(connection, dn)
        return True


def remove(connection: Connection, suffix: str, name: str) -> bool:
    """End an agreement; whether there was one.

    It is stopped before it is deleted: a server that is just beginning a session of it would end itself otherwise, as
    the credentials go while it binds with them (389 DS 2.3). Meanwhile nobody else here starts or ends one.
    """
    dn = agreement_dn(suffix, name)
    with _alone, suppress(NotFound):
        connection.modify(dn, [Change("replace", "nsds5ReplicaEnabled", (b"off",))])
        pause, until = threading.Event(), time.monotonic() + GRACE_SECONDS
        while _in_session(connection, dn) and time.monotonic() < until:
            pause.wait(0.1)
        connection.delete(dn)
        return True
    return False


def _in_session(connection: Connection, dn: str) -> bool:
    agreement = connection.read(dn, ["nsds5replicaUpdateInProgress"])
    return agreement is not None and agreement.text("nsds5replicaUpdateInProgress").upper() == "TRUE"


def initialise(
    connection: Connection,
    suffix: str,
    peer: DirectoryServer,
    progress: Progress = lambda _agreement, _seconds: None,
    *,
    timeout_seconds: float = INITIALISE_SECONDS,
    grace_seconds: float = GRACE_SECONDS,
) -> Agreement:
    """Replace what `peer` has below the suffix by this server's data, and wait until it is done.

    One that is under way already is waited for, and one that `peer` is too busy for, with another server's session, is
    asked for again. `progress` is called a few times a second with the agreement as it stands and the seconds gone.
    Nothing should be written to `peer` meanwhile.

    Raises: LifecycleError with the server's reason within `grace_seconds` of it; may be done again then.
    """
    dn = agreement_dn(suffix, agreement_name(peer))
    before = read_agreement(connection, dn)
    if not before.refreshing:  # else one that was asked for before goes on
        _request(connection, dn)
    pause, began = threading.Event(), time.monotonic()
    bad, idle, cut = _Since(), _Since(), _Since()
    while True:
        now = read_agreement(connection, dn)
        seconds = time.monotonic() - began
        progress(now, seconds)
        if not (now.refreshing or now.initialising) and (before.refreshing or now.init_start != before.init_start):
            if now.init_ok:
                return now
            if now.init_code != BUSY or seconds > timeout_seconds:
                raise _failed(peer, now.init_message)
            before = now
            pause.wait(BUSY_SECONDS)
            _request(connection, dn)
        if bad.holds(_is_refused(now), seconds) > grace_seconds:
            raise _failed(peer, now.message)
        if idle.holds(not now.refreshing, seconds) > _LOST_SECONDS and not _is_refused(now):
            _restart(connection, dn)
            _request(connection, dn)
            idle = _Since()
        if cut.holds(is_cut_short(now), seconds) > grace_seconds:
            _restart(connection, dn)
            _request(connection, dn)
            cut = _Since()
        if seconds > timeout_seconds:
            raise _failed(peer, f"not done in {timeout_seconds:.0f} s; last said: {now.message or now.init_message}")
        pause.wait(0.1)


class _Since:
    """How long something has been so without a break."""

    def __init__(self) -> None:
        self._at: float | None = None

    def holds(self, holds: bool, at: float) -> float:  # noqa: FBT001  it is the value itself
        """Seconds since it began, 0 when it is not so."""
        self._at = (at if self._at is None else self._at) if holds else None
        return 0.0 if self._at is None else at - self._at


def _request(connection: Connection, dn: str) -> None:
    with _alone:
        connection.modify(dn, [Change("replace", "nsds5BeginReplicaRefresh", (b"start",))])


def _restart(connection: Connection, dn: str) -> None:
    """End the server's sessions of the agreement and begin anew.

    When the other server dies at a bad moment of its filling, the server takes no request of the agreement any more;
    and it gives an agreement up when the other one is no replica at the moment in which it asks.
    """
    with _alone:
        _off_and_on(connection, dn)


def _off_and_on(connection: Connection, dn: str) -> None:
    for state in (b"off", b"on"):
        connection.modify(dn, [Change("replace", "nsds5ReplicaEnabled", (state,))])


def is_cut_short(agreement: Agreement) -> bool:
    """Whether a filling has ended without an outcome, since somebody stopped the agreement: it says for ever "start".

    One that is asked for and has not begun looks the same while the times are of the one before.
    """
    began, ended = agreement.init_start, agreement.init_end
    return agreement.refreshing and agreement.initialising and bool(began and ended and ended >= began)


def _is_refused(agreement: Agreement) -> bool:
    """Whether the other server is not reached, or says no, for a reason that does not pass by itself."""
    under_way = agreement.initialising and agreement.refreshing  # its words alone may stay so when a server dies
    return agreement.state is State.RED and agreement.code not in {BUSY, _OTHER_GENERATION} and not under_way


def clean_ruv(connection: Connection, suffix: str, replica_id: int, timeout_seconds: float = CLEAN_SECONDS) -> None:
    """Make all servers of the set forget a replica that was removed, and wait until this one has.

    Servers that are away are not waited for. Raises: StoreError when the server's task fails or does not end.
    """
    name = f"clean {replica_id} {time.time_ns()}"
    dn = f"cn={name},{CLEAN_TASKS}"
    entry = {
        "objectClass": ["top", "extensibleObject"],
        "cn": [name],
        "replica-base-dn": [suffix],
        "replica-id": [str(replica_id)],
        "replica-force-cleaning": ["yes"],
    }
    connection.add(dn, entry)
    if code := task_exit_code(connection, dn, timeout_seconds):
        raise LifecycleError(f"replica {replica_id} was not cleaned up: the server's task ended with {code}")


def _trim(connection: Connection, suffix: str) -> None:
    """Bound the changelog, which keeps everything for ever otherwise."""
    if backend := backend_of(connection, suffix):
        changes = [Change("replace", attribute, (value.encode(),)) for attribute, value in _CHANGELOG.items()]
        with suppress(NotFound):
            connection.modify(changelog_dn(backend), changes)


def _failed(peer: DirectoryServer, why: str) -> LifecycleError:
    return LifecycleError(f"{peer.host}:{peer.port} was not initialised: {why}", hint=remedy(why))
