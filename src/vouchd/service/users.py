"""The users of the agent port: who there is, in which groups, and by which certificate each is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from vouchd.core.facts import Caller, Group, Member, User
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import AuditSink, IdentityStore
from vouchd.core.status import ServingState
from vouchd.errors import AlreadyExists, ConfigError, NotFound, PermissionDenied, StoreUnavailable
from vouchd.pkix.der import Buffer
from vouchd.service.authorities import read_certificate
from vouchd.service.effects import Effect, differences
from vouchd.service.issuers_by_name import IssuersByName
from vouchd.service.known_users import KnownUsers
from vouchd.service.permission import Action, Permission
from vouchd.service.usercertificates import (
    MAX_CERTIFICATE_BYTES,
    fingerprint,
    require_not_revoked,
    require_valid,
    subject_text,
)

SUBSYSTEM_USER = "subsystem"  # as whom the members of a set know each other at their agent ports
MAX_USERS = 10_000
MAX_CERTIFICATES = 16
MAX_NAME_CHARACTERS = 200
_MIN_DIGITS = 8
UNIDENTIFIED = "unidentified"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}")


class Users:
    """Every change passes `permission` first and is recorded in `audit` when it is done."""

    def __init__(
        self,
        store: IdentityStore,
        permission: Permission,
        audit: AuditSink,
        known: KnownUsers | None = None,
        exclusive: frozenset[str] = frozenset(),
        members: Callable[[], Iterable[Member]] = tuple,
    ) -> None:
        """`known` are the users to identify while the store is away; without it nobody comes in then.

        Of the groups `exclusive` a user may be in one. `members` are those of the set, who may have certificates of
        their own.
        """
        self._members = members
        self._of_members: tuple[int, dict[bytes, User]] = (-1, {})
        self._issuers = IssuersByName()
        self._store = store
        self._permission = permission
        self._audit = audit
        self._last = known
        self._exclusive = exclusive
        self._known: tuple[int, dict[bytes, User]] = (-1, {})

    def users(self, caller: Caller) -> tuple[User, ...]:
        """All users by id. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_USERS, "*")
        return self._store.users()

    def find(self, user_id: str, caller: Caller) -> User:
        """The user of that id. Raises: NotFound; PermissionDenied."""
        self._permission.allow(caller, Action.LIST_USERS, _target(user_id))
        return self._stored(user_id)

    def add(
        self,
        user_id: str,
        caller: Caller,
        *,
        full_name: str = "",
        groups: Iterable[Group] = (),
        certificates: Iterable[Buffer] = (),
    ) -> Effect[User]:
        """Make a user; its full name is its id when none is given. Certificates are DER, PEM or base64.

        Nothing changes where it is there just so already. Raises: AlreadyExists when it is there otherwise, also when
        another user has one of the certificates; ConfigError; PermissionDenied.
        """
        self._permission.allow(caller, Action.ADD_USER, _target(user_id))
        _require_id(user_id)
        groups = frozenset(groups)
        self._require_one_role(user_id, groups)
        users = self._store.users()
        user = User(user_id, _full_name(full_name or user_id), groups)
        user = replace(
            user,
            certificates=_all_certificates(read_certificate(data, MAX_CERTIFICATE_BYTES)[0] for data in certificates),
        )
        if former := next((one for one in users if one.id == user_id), None):
            _require_alike(former, user)
            return Effect(former, ())
        if len(users) >= MAX_USERS:
            raise ConfigError(f"more than {MAX_USERS} users")
        self._put(user, None, caller, "add")
        return Effect(user, ("the user was added",))

    def remove(self, user_id: str, caller: Caller) -> User:
        """Remove the user; it is refused from its next request on.

        Raises: NotFound; LastAdministrator; PermissionDenied.
        """
        self._permission.allow(caller, Action.REMOVE_USER, _target(user_id))
        user = self._stored(user_id)
        self._store.remove_user(user_id)
        self._record(user, caller, "remove")
        return user

    def change(
        self, user_id: str, caller: Caller, *, groups: Iterable[Group] | None = None, enabled: bool | None = None
    ) -> Effect[User]:
        """Set the groups, and whether it is let in, in one step; None leaves either as it is. Raises: as `remove`."""
        self._permission.allow(caller, Action.CHANGE_USER, _target(user_id))
        before = after = self._stored(user_id)
        operations = []
        if groups is not None:
            after = replace(after, groups=frozenset(groups))
            self._require_one_role(user_id, after.groups)
            operations.append("groups")
        if enabled is not None:
            after = replace(after, enabled=enabled)
            operations.append("enable" if enabled else "disable")
        return self._replace(before, after, caller, ", ".join(operations))

    def add_certificate(self, user_id: str, certificate: Buffer, caller: Caller) -> Effect[User]:
        """Let the user in with this certificate (DER, PEM or base64) too; nothing changes where it has it already.

        Raises: NotFound; AlreadyExists when another user has it; ConfigError; StoreConflict; PermissionDenied.
        """
        self._permission.allow(caller, Action.CHANGE_USER, _target(user_id))
        before = self._stored(user_id)
        certificates = _all_certificates(
            (*before.certificates, read_certificate(certificate, MAX_CERTIFICATE_BYTES)[0])
        )
        return self._replace(before, replace(before, certificates=certificates), caller, "add certificate")

    def remove_certificate(self, user_id: str, reference: str, caller: Caller) -> Effect[User]:
        """Take away the certificate that `reference` names: SHA-256 (hex), or at least 8 digits of its beginning.

        Raises: NotFound; StoreConflict; PermissionDenied.
        """
        self._permission.allow(caller, Action.CHANGE_USER, _target(user_id))
        before = self._stored(user_id)
        named = [der for der in before.certificates if _is_named(der, reference)]
        if len(named) != 1:
            raise NotFound(
                f"user {user_id} has {len(named) or 'no'} certificates {reference!r}",
                hint=f"vouchd user certs {user_id} shows them with their SHA-256; name one by 8 digits or more",
            )
        left = tuple(der for der in before.certificates if der not in named)
        return self._replace(before, replace(before, certificates=left), caller, "remove certificate")

    def identify(
        self,
        certificate_der: bytes,
        origin: str,
        at: int,
        *,
        state: ServingState,
        policy: ResponsePolicy,
        record_success: bool = True,
    ) -> Caller:
        """The user who came with this client certificate, with its groups; the TLS side has verified the key.

        The certificate must be a registered one, byte for byte, of an enabled user, within its validity at `at`, and,
        where `state` serves its issuer, not revoked. To be called for each request, so that a change counts at once;
        `record_success` for the first of a connection only. A refusal is always recorded.

        Raises: PermissionDenied; ConfigError when it cannot be read.
        """
        _, certificate = read_certificate(certificate_der, MAX_CERTIFICATE_BYTES)
        name = subject_text(certificate)
        user, read_only = self._lookup(certificate_der)
        groups = user.groups if user else frozenset()
        caller = Caller(user.id if user else UNIDENTIFIED, groups, origin, read_only=read_only)
        detail = {"subject": name, "certificate": fingerprint(certificate_der)}
        try:
            _require_enabled(user, name)
            require_valid(certificate, at)
            issuer = self._issuers.issuer_of(certificate, state)
            status = require_not_revoked(certificate, issuer, state, policy, at)
        except PermissionDenied as error:
            self._audit.record("AUTH", replace(caller, groups=frozenset()), "failure", reason=str(error), **detail)
            raise
        if record_success:
            self._audit.record("AUTH", caller, "success", certificate_status=status, **detail)
            self._audit.record("ROLE_ASSUME", caller, "success", roles=", ".join(sorted(caller.groups)))
        return caller

    def _lookup(self, certificate_der: bytes) -> tuple[User | None, bool]:
        """The user with that certificate, and whether it is known from before the store went away."""
        try:
            user = self._by_certificate().get(certificate_der)
            return user or self._by_members_certificate().get(certificate_der), False
        except StoreUnavailable:
            user = self._last.by_certificate().get(certificate_der) if self._last else None
            if user is None:
                raise
            return user, True

    def _by_certificate(self) -> dict[bytes, User]:
        """User by certificate, read again when anything in the store changed: this is asked with each request."""
        revision = self._store.revision()
        if self._known[0] != revision:
            self._known = (revision, {der: user for user in self._store.users() for der in user.certificates})
        return self._known[1]

    def _by_members_certificate(self) -> dict[bytes, User]:
        """The user that members come as, by the certificates that are single members' own; read again likewise."""
        revision = self._store.revision()
        if self._of_members[0] != revision:
            users = with_members(self._store.users(), self._members())
            self._of_members = (revision, {der: user for user in users for der in user.certificates})
        return self._of_members[1]

    def _require_one_role(self, user_id: str, groups: frozenset[Group]) -> None:
        """Return when these groups may be one user's. Raises: ConfigError."""
        roles = sorted(groups & self._exclusive)
        if len(roles) > 1:
            raise ConfigError(
                f"user {user_id} would be in {' and '.join(roles)}, and a user has one role (multiroles.enable=false)",
                hint="make a user for each role, each with a certificate of its own",
            )

    def _replace(self, before: User, after: User, caller: Caller, operation: str) -> Effect[User]:
        if after != before:
            self._put(after, before, caller, operation)
        return Effect(after, differences(before, after, _PARTS))

    def _put(self, user: User, replaces: User | None, caller: Caller, operation: str) -> None:
        self._store.put_user(user, replaces)
        self._record(user, caller, operation)

    def _record(self, user: User, caller: Caller, operation: str) -> None:
        self._audit.record(
            "CONFIG_ROLE",
            caller,
            "success",
            operation=operation,
            user=user.id,
            groups=", ".join(sorted(user.groups)),
            certificates=", ".join(fingerprint(der)[:16] for der in user.certificates),
            enabled=int(user.enabled),
        )

    def _stored(self, user_id: str) -> User:
        for user in self._store.users():
            if user.id == user_id:
                return user
        raise NotFound(f"no user {_target(user_id)!r}", hint="vouchd user list shows those there are")


def with_members(users: Iterable[User], members: Iterable[Member]) -> tuple[User, ...]:
    """The users; the one that members come as has the certificates that are single members' own, too."""
    own = tuple(der for member in members for der in member.client_certificates)
    return tuple(
        replace(user, certificates=tuple(dict.fromkeys((*user.certificates, *own))))
        if own and user.id == SUBSYSTEM_USER
        else user
        for user in users
    )


_PARTS: dict[str, Callable[[User], object]] = {
    "full name": lambda user: user.full_name,
    "groups": lambda user: ", ".join(sorted(user.groups)),
    "certificates": lambda user: ", ".join(f"{fingerprint(der)[:16]}…" for der in user.certificates),
    "state": lambda user: "enabled" if user.enabled else "disabled",
}


def _require_alike(former: User, user: User) -> None:
    """Return when the user that is there is the one that is to be added. Raises: AlreadyExists, naming what differs."""
    parts = [name for name, part in _PARTS.items() if part(former) != part(user)]
    if parts:
        raise AlreadyExists(
            f"user {user.id} is there already, with other {', '.join(parts)}: nothing was changed",
            hint="vouchd user groups|certs|enable change a user; the full name is given when it is made",
        )


def _target(user_id: str) -> str:
    return user_id[:MAX_NAME_CHARACTERS]


def _require_id(user_id: str) -> None:
    if not _ID.fullmatch(user_id) or user_id == UNIDENTIFIED:
        raise ConfigError(
            f"{_target(user_id)!r} cannot be a user's id",
            hint="1 to 128 of letters, digits and . _ @ : -, the first a letter or digit",
        )


def _require_enabled(user: User | None, subject: str) -> None:
    if user is None:
        raise PermissionDenied(
            f"no user has the certificate of {subject}", hint="register it: vouchd user certs USER --add FILE"
        )
    if not user.enabled:
        raise PermissionDenied(f"user {user.id} is disabled", hint=f"vouchd user enable {user.id}")


def _full_name(name: str) -> str:
    if not name.isprintable() or not 0 < len(name.strip()) <= MAX_NAME_CHARACTERS:
        raise ConfigError(f"a full name has 1 to {MAX_NAME_CHARACTERS} printable characters")
    return name.strip()


def _all_certificates(certificates: Iterable[bytes]) -> tuple[bytes, ...]:
    unique = tuple(dict.fromkeys(certificates))
    if len(unique) > MAX_CERTIFICATES:
        raise ConfigError(f"more than {MAX_CERTIFICATES} certificates of one user", hint="remove those out of use")
    return unique


def _is_named(certificate_der: bytes, reference: str) -> bool:
    digits = reference.replace(":", "").lower()
    return len(digits) >= _MIN_DIGITS and fingerprint(certificate_der).startswith(digits)
