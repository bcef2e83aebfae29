"""What the directory has and this member does not believe, settled by an operator: put right, or believed after all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.doubts import Doubt
from vouchd.core.approval_facts import Approvals
from vouchd.core.facts import Caller, Member, User
from vouchd.core.ports import APPROVALS_KIND, CA_KIND, KEYRING_KIND, MEMBER_KIND, USER_KIND, AuditSink
from vouchd.core.signer_facts import Keyring
from vouchd.errors import NotFound
from vouchd.service.permission import Action, Permission
from vouchd.stores.rules import Unsealed

if TYPE_CHECKING:  # it brings an LDAP library along, which the embedded store starts without
    from vouchd.stores.ldap.store import DirectoryStore

EVENT = "SECURITY_DOMAIN_UPDATE"
Fact = TypeVar("Fact")


@dataclass(frozen=True, slots=True)
class _Kind:
    """The facts of one kind, as they are believed and as they are stored.

    How one is put, how what nobody believed is taken away, and how what is believed is removed in good order.
    """

    name: str
    believed: Mapping[str, Any]
    stored: Mapping[str, Any]
    put: Callable[[Any], None]
    drop: Callable[[str], None]
    remove: Callable[[str], None]


class DoubtSettlement:
    """Every act passes `permission` first and is recorded in `audit` when it is done."""

    def __init__(self, store: DirectoryStore, seals: MemberSeals, permission: Permission, audit: AuditSink) -> None:
        self._store = store
        self._seals = seals
        self._permission = permission
        self._audit = audit

    def doubts(self, caller: Caller) -> tuple[Doubt, ...]:
        """All of it. Raises: PermissionDenied, StoreUnavailable."""
        self._permission.allow(caller, Action.READ_DOMAIN, "doubts")
        self._kinds()
        return self._seals.doubts

    def restore(self, caller: Caller) -> int:
        """Put what is believed in place of what is not, and take away what nobody believed; how many those were.

        Raises: PermissionDenied, also for users where this member is not the master; StoreError.
        """
        self._permission.allow(caller, Action.CHANGE_DOMAIN, "doubts")
        self._store.ensure_containers()
        count = 0
        for kind in self._kinds():
            doubtful = {doubt.identifier for doubt in self._seals.doubts if doubt.kind == kind.name}
            for name in sorted((doubtful & kind.believed.keys()) | (kind.believed.keys() - kind.stored.keys())):
                kind.put(kind.believed[name])
                count += self._settled(caller, "restore", kind.name, name)
            for name in sorted((doubtful & kind.stored.keys()) - kind.believed.keys()):
                kind.drop(name)
                count += self._settled(caller, "remove", kind.name, name)
        return count

    def believe(self, identifier: str, caller: Caller) -> Doubt:
        """Take what the directory has of it for right, that it is gone too, and seal it.

        Raises: NotFound; as `restore`.
        """
        self._permission.allow(caller, Action.CHANGE_DOMAIN, identifier)
        for kind in self._kinds():
            for doubt in self._seals.doubts:
                if (doubt.kind, doubt.identifier) == (kind.name, identifier):
                    if identifier in kind.stored:
                        kind.put(kind.stored[identifier])
                    elif identifier in kind.believed:
                        kind.remove(identifier)
                    else:
                        continue
                    self._settled(caller, "believe", kind.name, identifier)
                    return doubt
        raise NotFound(
            f"nothing of the name {identifier[:200]} is doubted and can be read", hint="vouchd directory doubts"
        )

    def _settled(self, caller: Caller, operation: str, kind: str, name: str) -> int:
        self._audit.record(EVENT, caller, "success", operation=operation, target=f"{kind} {name}")
        return 1

    def _kinds(self) -> tuple[_Kind, ...]:
        """Read all of it, as it is believed and as it stands there: members first, whose keys the others bear."""
        store, raw = self._store, self._store.over(Unsealed())
        members, raw_members = ({one.id: one for one in _read(each.members)} for each in (store, raw))
        authorities, raw_authorities = ({one.id: one for one in _read(each.authorities)} for each in (store, raw))
        users, raw_users = ({one.id: one for one in _read(each.users)} for each in (store, raw))

        keyring = store.keyring()
        keyrings, raw_keyrings = ({KEYRING_KIND: one} if one.change else {} for one in (keyring, raw.keyring()))

        def put_keyring(wanted: Keyring) -> None:
            store.put_keyring(wanted, keyring)

        def put_back_keyring(_: str) -> None:
            put_keyring(keyring)

        approvals = store.approvals()
        every, raw_every = ({APPROVALS_KIND: one} if one.change else {} for one in (approvals, raw.approvals()))

        def put_approvals(wanted: Approvals) -> None:
            store.put_approvals(wanted, approvals)

        def put_back_approvals(_: str) -> None:
            put_approvals(approvals)

        def put_member(member: Member) -> None:
            if member.id in raw_members and member.id not in members:
                raw.remove_member(member.id)
            store.put_member(member, members.get(member.id))

        def put_user(user: User) -> None:
            store.put_user(user, users.get(user.id))

        return (
            _Kind(MEMBER_KIND, members, raw_members, put_member, raw.remove_member, store.remove_member),
            _Kind(
                CA_KIND,
                authorities,
                raw_authorities,
                store.put_authority,
                raw.remove_authority,
                store.remove_authority,
            ),
            _Kind(USER_KIND, users, raw_users, put_user, store.remove_user, store.remove_user),
            _Kind(KEYRING_KIND, keyrings, raw_keyrings, put_keyring, put_back_keyring, put_back_keyring),
            _Kind(APPROVALS_KIND, every, raw_every, put_approvals, put_back_approvals, put_back_approvals),
        )


def _read(read: Callable[[], tuple[Fact, ...]]) -> tuple[Fact, ...]:
    """What is read; nothing where the entry that would hold it is gone."""
    try:
        return read()
    except NotFound:
        return ()
