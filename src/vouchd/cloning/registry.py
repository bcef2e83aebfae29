"""The security domain: who is in it, who may join, who is the master.

The registry is in the store, so it replicates with everything else: any member can be asked, and it survives the loss
of any of them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace

from vouchd.core.facts import Caller, JoinToken, Member
from vouchd.core.hostnames import qualified
from vouchd.core.ports import AuditSink, Clock, DomainStore
from vouchd.errors import AlreadyExists, ConfigError, NotFound, PermissionDenied, StoreConflict
from vouchd.service.permission import Action, Permission

# Names under which members reach each other: a name that means another host elsewhere is refused at once.

_HOST = re.compile(r"[A-Za-z0-9.:_-]+")
_LONGEST = 253  # RFC 1035 2.3.4


def require_reachable(member: Member) -> None:
    """Return when the other members can reach the member under its names. Raises: ConfigError.

    Members with embedded stores may all be on one host and call it as they like; directory servers never may.
    """
    if member.directory is not None:
        _require_qualified(member.host)
    elif not member.host or len(member.host) > _LONGEST or not _HOST.fullmatch(member.host):
        raise ConfigError(f"{member.host[:_LONGEST]!r} is not a host name", hint="such as ocsp1.example.org")
    for port in (member.secure_port, member.ee_port, *((member.directory.port,) if member.directory else ())):
        if not 0 < port < 1 << 16:
            raise ConfigError(f"{port} is not a port that others can reach", hint="one from 1 to 65535")
    if member.directory is not None:
        _require_qualified(member.directory.host)


def _require_qualified(host: str) -> None:
    if qualified(host) != host.lower():  # members are told apart by their names as they are written
        raise ConfigError(f"{host[:_LONGEST]} ends with a dot", hint="leave it out")


TOKEN_SECONDS = 3600
SHORTEST_NAME = 8  # digits of a token's digest
LONGEST_TOKEN_SECONDS = 7 * 86400
MAX_MEMBERS = 64
MAX_REPLICA_ID = 65534
SUBSYSTEM = "OCSP"
_EVENT = "SECURITY_DOMAIN_UPDATE"
_SHA256 = re.compile("[0-9a-f]{64}")
_ATTEMPTS = 10


class SecurityDomain:
    """Every change passes `permission` first and is recorded in `audit` when it is done."""

    def __init__(self, store: DomainStore, permission: Permission, audit: AuditSink, clock: Clock) -> None:
        self._store = store
        self._permission = permission
        self._audit = audit
        self._clock = clock

    def members(self, caller: Caller) -> tuple[Member, ...]:
        """All members by id. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.READ_DOMAIN, "*")
        return self._store.members()

    def create(self, member: Member, caller: Caller) -> Member:
        """Register `member` as the master of a domain that has none, or what changed of one that is in it.

        A sole master that comes under another name, with the same TLS certificate, is renamed.

        Raises: ConfigError when its addresses are no addresses for others, or another one is the master already.
        """
        self._permission.allow(caller, Action.CHANGE_DOMAIN, member.id)
        require_reachable(member)
        members = {known.id: known for known in self._store.members()}
        known = members.get(member.id)
        master = master_of(members.values())
        if known is None and master is not None:
            _require_renaming(member, master, len(members))
            self._store.remove_member(master.id)
            self._audit.record(_EVENT, caller, "success", operation="remove", host=master.id)
        if known is None:
            wanted = replace(member, clone=False, term=1, joined_at=self._clock.now())
        else:
            wanted = replace(
                _in_the_role_of(known, member),
                other_tls_sha256=known.other_tls_sha256,
                client_certificates=known.client_certificates,
            )
        if wanted != known:
            self._store.put_member(wanted, known)
            self._audit.record(
                _EVENT, caller, "success", operation="add" if known is None else "change", host=member.id
            )
        return wanted

    def issue_token(self, caller: Caller, seconds: int = TOKEN_SECONDS) -> tuple[str, JoinToken]:
        """A token of 256 random bits that is good for joining once within `seconds`; only its digest is kept.

        Raises: ConfigError; PermissionDenied.
        """
        self._permission.allow(caller, Action.ISSUE_TOKEN, f"for {seconds} s")
        if not 1 <= seconds <= LONGEST_TOKEN_SECONDS:
            raise ConfigError(f"a join token lives 1 to {LONGEST_TOKEN_SECONDS} seconds, not {seconds}")
        text = secrets.token_urlsafe(32)
        token = JoinToken(token_digest(text), self._clock.now() + seconds, caller.name)
        self._store.put_token(token)
        self._audit.record(_EVENT, caller, "success", operation="issue_token", seconds=seconds)
        return text, token

    def tokens(self, caller: Caller) -> tuple[JoinToken, ...]:
        """The join tokens that are good still, the first to end first. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.READ_DOMAIN, "join tokens")
        now = self._clock.now()
        return tuple(token for token in self._store.tokens() if token.expires_at > now)

    def void_token(self, name: str, caller: Caller) -> JoinToken:
        """Take back the join token whose digest begins so. Raises: NotFound; PermissionDenied."""
        self._permission.allow(caller, Action.ISSUE_TOKEN, f"void {name[:64]}")
        named = [token for token in self._store.tokens() if token.digest.startswith(name.lower())]
        if len(name) < SHORTEST_NAME or len(named) != 1:
            raise NotFound(f"no join token {name[:64]}", hint="vouchd domain tokens shows those that are good")
        taken = self._store.take_token(named[0].digest, 0)
        self._audit.record(_EVENT, caller, "success", operation="void_token", token=taken.digest[:16])
        return taken

    def require_token(self, text: str, caller: Caller) -> None:
        """Return when the token is good for joining; it stays so. Raises: NotFound, which is recorded."""
        digest, now = token_digest(text), self._clock.now()
        token = self._store.token(digest)
        if token is None or token.expires_at <= now:
            self._audit.record("AUTHZ", caller, "failure", action=Action.JOIN_DOMAIN.value, target="*")
            if token is not None:  # who holds it may know
                raise NotFound("this join token has expired", hint="another is given by `vouchd domain token`")
            self._store.take_token(digest, now)  # raises what it raises

    def join(self, member: Member, token: str, caller: Caller) -> Member:
        """Register `member` as a clone, its directory server with a replica id that nobody has; the token is used up.

        The caller has shown the keys of the set, and the key of the TLS certificate that it is to be known by. One that
        is registered with the same TLS certificate joins again. Raises: ConfigError; AlreadyExists when the address is
        another member's; NotFound when the token is not good; PermissionDenied: nothing was changed.
        """
        members = self._store.members()
        known = next((one for one in members if one.id == member.id), None)
        self.require_token(token, caller)  # first: nobody else is told who is in the set
        if caller.key_sha256 != member.tls_sha256:
            self._audit.record("AUTHZ", caller, "failure", action=Action.JOIN_DOMAIN.value, target=member.id)
            raise PermissionDenied(
                "a member joins with the key of its own TLS certificate, and with no other",
                hint="vouchd clone create proves it by itself",
            )
        _require_joinable(member, members)
        if known is not None and member.tls_sha256 not in known.pins:
            raise AlreadyExists(
                f"{member.id} is in this domain, with another TLS certificate",
                hint="give the clone another port, or take that member out first: vouchd domain leave",
            )
        self._permission.allow(caller, Action.JOIN_DOMAIN, member.id)
        self._store.take_token(token_digest(token), self._clock.now())
        return self._registered(member, caller, "change" if known else "add")

    def rejoin(self, member: Member, caller: Caller) -> Member:
        """Register `member` as it is now in place of what is known of it; its role stays.

        So a join that was cut short goes on, and a member whose certificate was renewed is known by the new one: it
        comes with the key of the one before. Raises: NotFound when it is no member; ConfigError; PermissionDenied.
        """
        self._permission.allow_for(member.id, caller, Action.CHANGE_DOMAIN)
        members = self._store.members()
        find(members, member.id)
        _require_joinable(member, members)
        return self._registered(member, caller, "change")

    def leave(self, member_id: str, caller: Caller) -> Member:
        """Take a clone out of the registry; unless it goes by itself no join token that was given is good any more.

        Raises: NotFound; ConfigError for the master, whose role has to be moved first; PermissionDenied.
        """
        self._permission.allow_for(member_id, caller, Action.CHANGE_DOMAIN)
        members = self._store.members()
        member = find(members, member_id)
        require_leavable(member, members)
        self._store.remove_member(member.id)
        if caller.member != member.id:  # it was taken out: nobody comes in by what it may know, or has asked for
            self._store.drop_tokens()
        self._audit.record(_EVENT, caller, "success", operation="remove", host=member.id)
        return member

    def promote(
        self, member_id: str, caller: Caller, appoint: Callable[[Member, int], str], granted: Member | None = None
    ) -> Member:
        """Make the member the master: the one before takes itself for a clone when it learns of the higher term.

        `appoint` signs that it is the master in a term; `granted` is the member as another registry has it already. A
        record that was changed in the same moment is looked at again. Raises: NotFound; StoreConflict when somebody
        else moves the role at the same time; PermissionDenied.
        """
        self._permission.allow(caller, Action.MOVE_ROLE, member_id)
        expected = master_of(self._store.members())
        for _ in range(_ATTEMPTS):
            members = self._store.members()
            member, master = find(members, member_id), master_of(members)
            if master != expected and (master is None or expected is None or master.id != expected.id):
                break
            if member != master:
                term, appointment = 1 + max(known.term for known in members), ""
                if granted is not None and granted.term >= term:
                    term, appointment = granted.term, granted.appointment
                promoted = replace(member, clone=False, term=term, appointment=appointment or appoint(member, term))
                try:
                    self._store.put_member(promoted, member)  # from here on it is the master, whatever comes next
                except StoreConflict:
                    continue
                self._audit.record(_EVENT, caller, "success", operation="promote", host=member.id, term=term)
                member = promoted
            now = self._store.members()  # of two that were promoted in one moment both see who stays
            if (master_of(now) or member).id != member.id:
                self._demote([member.id])
                break
            self._demote([one.id for one in now if not one.clone and one.id != member.id])
            return member
        raise StoreConflict("the role of the master is moved by somebody else", hint="see vouchd domain members")

    def _demote(self, member_ids: Iterable[str]) -> None:
        """Say of those that they are clones. Raises: StoreConflict when a record keeps changing."""
        for member_id in member_ids:
            for attempt in range(_ATTEMPTS):
                member = next((one for one in self._store.members() if one.id == member_id), None)
                if member is None or member.clone:
                    break
                try:
                    self._store.put_member(replace(member, clone=True), member)
                    break
                except StoreConflict:
                    if attempt == _ATTEMPTS - 1:
                        raise

    def _registered(self, member: Member, caller: Caller, operation: str) -> Member:
        joined = self._register(member)
        self._audit.record(_EVENT, caller, "success", operation=operation, host=joined.id)
        return joined

    def _register(self, member: Member) -> Member:
        for _ in range(_ATTEMPTS):
            members = self._store.members()
            known = next((one for one in members if one.id == member.id), None)
            wanted = _with_replica_id(member, members, known)
            if known is None:  # what it says of its role and time counts for nothing
                wanted = replace(wanted, clone=True, term=0, joined_at=self._clock.now(), appointment="")
            else:
                wanted = _in_the_role_of(known, wanted)
            if wanted == known:
                return wanted
            try:
                self._store.put_member(wanted, known)
            except (StoreConflict, AlreadyExists):  # somebody else joined meanwhile
                continue
            return wanted
        raise StoreConflict("the registry keeps changing", hint="try again")


def token_digest(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def master_of(members: Iterable[Member]) -> Member | None:
    """The master: of those that are no clones the one with the highest term."""
    return max((member for member in members if not member.clone), key=lambda one: (one.term, one.id), default=None)


def find(members: Iterable[Member], member_id: str) -> Member:
    """The member of that id, or of that host where there is one. Raises: NotFound."""
    named = [member for member in members if member_id in {member.id, member.host}]
    if len(named) != 1:
        raise NotFound(f"no member {member_id[:200]}", hint="vouchd domain members shows those there are")
    return named[0]


def _require_renaming(member: Member, master: Member, members: int) -> None:
    """Return when `member` is the sole master itself under another name. Raises: ConfigError."""
    if member.tls_sha256 not in master.pins:
        raise ConfigError(
            f"{master.id} is the master of this domain", hint="join it: vouchd clone prepare there tells how"
        )
    if members > 1:
        raise ConfigError(
            f"this instance is {master.id} to the other members", hint="leave --host out, or name it so again"
        )


def require_leavable(member: Member, members: tuple[Member, ...]) -> None:
    """Return when the set can go on without the member. Raises: ConfigError for the master of others."""
    if member == master_of(members) and len(members) > 1:
        raise ConfigError(f"{member.id} is the master", hint="move the role first: vouchd clone promote")


def require_place(member: Member, members: tuple[Member, ...]) -> None:
    """Return when the member may stand beside those there are. Raises: ConfigError."""
    others = [known for known in members if known.id != member.id]
    if len(others) >= MAX_MEMBERS:
        raise ConfigError(f"a set has at most {MAX_MEMBERS} members")
    master = master_of(others)
    if master is None:
        raise ConfigError("this domain has no master", hint="run `vouchd clone prepare` on the master first")
    mine, theirs = member.directory, master.directory
    if mine is None or theirs is None:
        if mine is not theirs:
            kind = "a directory server" if theirs else "the embedded store"
            raise ConfigError(f"the members of this set keep their facts in {kind}", hint="so must the clone")
        return
    if mine.suffix.lower() != theirs.suffix.lower():
        raise ConfigError(
            f"the clone's suffix is {mine.suffix}, the master's {theirs.suffix}", hint="both must have the same suffix"
        )
    if mine.transport is not theirs.transport:
        raise ConfigError(
            f"the clone speaks {mine.transport} with its directory, the master {theirs.transport}",
            hint="both must use the same kind of connection",
        )
    for other in others:
        if other.directory and (other.directory.host, other.directory.port) == (mine.host, mine.port):
            raise ConfigError(
                f"{other.id} has this directory server already: {mine.host}:{mine.port}",
                hint="a clone needs a directory server of its own",
            )


def _require_joinable(member: Member, members: tuple[Member, ...]) -> None:
    """Raise unless the member can be reached, is of our kind and may stand beside those there are."""
    require_reachable(member)
    if member.subsystem != SUBSYSTEM:
        raise ConfigError(f"members are of type {SUBSYSTEM}, not {member.subsystem[:20]}")
    if not member.tls_sha256 or not all(map(_SHA256.fullmatch, member.pins)):
        raise ConfigError("a member is known by the SHA-256 of its TLS certificate: 64 hex digits, lower case")
    master = master_of(members)
    if master is None or master.id != member.id:
        require_place(member, members)


def _in_the_role_of(known: Member, member: Member) -> Member:
    """What a member says of itself, with what the registry says of it."""
    return replace(member, clone=known.clone, term=known.term, appointment=known.appointment, joined_at=known.joined_at)


def _with_replica_id(member: Member, members: Iterable[Member], known: Member | None) -> Member:
    """The member with the id it had, or one that nobody has.

    The first to be tried follows from its name: two that join through two members at the same moment, where no server
    can compare them, get two ids.
    """
    if member.directory is None:
        return member
    had = known.directory.replica_id if known and known.directory else None
    taken = {one.directory.replica_id for one in members if one.directory and one.id != member.id}
    first = int(hashlib.sha256(member.id.encode()).hexdigest(), 16)
    tried = (1 + (first + step) % MAX_REPLICA_ID for step in range(MAX_REPLICA_ID))
    chosen = had or next(number for number in tried if number not in taken)
    return replace(member, directory=replace(member.directory, replica_id=chosen))
