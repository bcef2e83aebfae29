"""What a member knew that was taken out is renewed for all who stay: signers, and each member's own certificates.

Its keys may be in anybody's hands, so the master disowns every key that it may have: those of the signers, of the
subsystem and of the audit log, as each member that stays says that it has them. That stands in the keyring, a fact of
the set, and everything else follows from it, step by step:

    ask        each member that stays for its certificates; one that is away is asked when it comes back
    request    a new key for each signer that is disowned
    certify    its certificate, by the way that the settings say, or by an administrator
    switch     all members sign with the new ones
    retire     the signers before
    own        each member has own certificates by other keys: it renews them itself, without waiting for their time
    users      the certificates that were the whole set's let nobody in any more

Nothing is remembered but the facts: whatever is cut short goes on with the next look, also at another master. When all
is done nothing is disowned any more. (The password of the replication account is renewed by `rotation`, always.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from vouchd.cloning.client import PeerClient
from vouchd.cloning.membership import Membership
from vouchd.cloning.signers import SignerRequest, Signers
from vouchd.core.facts import Caller, Member, User
from vouchd.core.ports import AuditSink, Clock, Store
from vouchd.core.signer_facts import Keyring, SignerVersion
from vouchd.errors import VouchdError
from vouchd.instance.certificates.places import AUDIT_SIGNING, SUBSYSTEM
from vouchd.pkix.certs import load_certificate
from vouchd.service.permission import Action, Permission
from vouchd.service.users import SUBSYSTEM_USER
from vouchd.signing.sealing import public_key_hash

_log = logging.getLogger(__name__)

_EVENT = "SECURITY_DOMAIN_UPDATE"
_AT_ONCE = 8
_SETTLED_SECONDS = 30  # after a switch: by then every member that can be reached signs with the next
OWN = (SUBSYSTEM, AUDIT_SIGNING)  # of each member; its TLS server's key never left its host


@dataclass(frozen=True, slots=True)
class RenewalStep:
    """One step of the list: whether it is done, and else what it waits for."""

    name: str
    about: str
    done: bool
    waiting: tuple[str, ...] = ()


class SetRenewal:
    """`connect` makes clients of the other members; the master looks, any member may show."""

    def __init__(
        self,
        store: Store,
        signers: Signers,
        membership: Membership,
        permission: Permission,
        audit: AuditSink,
        connect: Callable[[Member], PeerClient],
        caller: Caller,
        clock: Clock,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signers = signers
        self._membership = membership
        self._permission = permission
        self._audit = audit
        self._connect = connect
        self._caller = replace(caller, name="renewal")
        self._keys_by_member: dict[
            str, dict[str, str]
        ] = {}  # by member the public keys of its own certificates, by name

    def begin(self, caller: Caller, left: str = "") -> None:
        """Disown what every member has now; what follows is done by `look`.

        `left` is who was taken out: a member that leaves may have its keys renewed. Raises: PermissionDenied,
        NotFound where there is no set, ConfigError where the registry is a copy, StoreError.
        """
        self._permission.allow_for(left or "the keys of the set", caller, Action.CHANGE_DOMAIN)
        self._membership.require_registrar()
        settings_ring, before = self._signers.keyring(self._caller), self._store.keyring()
        me, members = self._membership.require_me(), self._store.members()
        known = {one.public_key for one in settings_ring.versions if one.retired_at is None}
        known |= {_public_key(der) for member in members for der in member.client_certificates}
        known |= {_public_key(der) for der in self._of_the_set()}
        others = tuple(sorted(member.id for member in members if member.id != me.id))
        known |= set(self._own_keys().values())
        wanted = replace(
            settings_ring,
            change=before.change,
            disowned=tuple(sorted({*before.disowned, *known})),
            unasked=others,
        )
        self._store.put_keyring(wanted, before)
        self._audit.record(_EVENT, caller, "success", operation="renew keys", keys=len(wanted.disowned))

    def look(self) -> bool:
        """Do of the list what can be done now; whether anything was. Raises: VouchdError."""
        me, ring = self._membership.me(), self._store.keyring()
        if not ring.disowned or me is None or me.clone:
            return False
        self._hear()
        done = self._note(ring)
        for nickname in self._due(self._store.keyring()):
            self._request(nickname)
            done = True
        for version in self._outdated(self._store.keyring()):
            self._signers.retire(*version.key, self._caller)
            done = True
        return self._end() or done

    def _end(self) -> bool:
        """When all but the last step is done: that, and nothing is disowned any more."""
        ring = self._store.keyring()
        if not all(step.done for step in self._steps(ring) if step.name != "users"):
            return False
        self._drop_certificates(ring)
        self._store.put_keyring(replace(ring, disowned=()), ring)
        self._audit.record(_EVENT, self._caller, "success", operation="keys renewed")
        _log.info("all keys that a member knew which was taken out are renewed")
        return True

    def steps(self) -> tuple[RenewalStep, ...]:
        """The list as it stands; empty: nothing is to be renewed. Raises: StoreError."""
        ring = self._store.keyring()
        if not ring.disowned:
            return ()
        self._hear()
        return self._steps(ring)

    # What is to be done, by the facts.

    def _steps(self, ring: Keyring) -> tuple[RenewalStep, ...]:
        due, current = self._due(ring), [one for one in ring.signing() if one.public_key in ring.disowned]
        uncertified = [one for one in _newest(ring) if not one.certificate_der]
        unswitched = sorted({one.nickname for one in current})
        outdated = [one.name for one in ring.versions if _is_outdated(one, ring)]
        stale = [f"{member}: {name}" for member, name in self._stale(ring)]
        old = [der for der in self._of_the_set() if _public_key(der) in ring.disowned]
        rows = (
            ("ask", "each member that stays says which keys it has", ring.unasked),
            ("request", "a new key for each signer", due),
            ("certify", "its certificate", [*due, *(f"{one.name}: vouchd signer install" for one in uncertified)]),
            ("switch", "all members sign with the new ones", unswitched),
            ("retire", "the signers before", outdated),
            ("own", "each member has subsystem and audit signing certificates by new keys", stale),
            ("users", "the certificates before let nobody in", [f"{len(old)} certificates"] if old else ()),
        )
        return tuple(RenewalStep(name, about, not waits, tuple(waits)) for name, about, waits in rows)

    @staticmethod
    def _due(ring: Keyring) -> list[str]:
        """The nicknames whose newest key is disowned."""
        return sorted({one.nickname for one in _newest(ring) if one.public_key in ring.disowned})

    def _outdated(self, ring: Keyring) -> list[SignerVersion]:
        """What is to be retired, and signs nowhere any more."""
        busy = {*ring.current, *ring.target}
        if self._clock.now() < ring.switch_at + _SETTLED_SECONDS:
            return []
        return [one for one in ring.versions if _is_outdated(one, ring) and one.key not in busy]

    def _stale(self, ring: Keyring) -> Iterator[tuple[str, str]]:
        """The own certificates of members whose keys are disowned, as far as the members said."""
        me = self._membership.me()
        keys_by_member = {**self._keys_by_member, **({me.id: self._own_keys()} if me else {})}
        for member in self._store.members():
            keys = keys_by_member.get(member.id)
            if keys is None:
                yield member.id, "has not said yet"
                continue
            yield from ((member.id, name) for name, key in keys.items() if key in ring.disowned)

    # Doing it.

    def _hear(self) -> None:
        """Ask every other member which certificates it has; one that is away has those that it had."""
        me = self._membership.me()
        others = [member for member in self._store.members() if me is None or member.id != me.id]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(self._keys_of, others))
        heard = {member.id: keys for member, keys in zip(others, answers, strict=True) if keys is not None}
        self._keys_by_member = {**self._keys_by_member, **heard}

    def _keys_of(self, member: Member) -> dict[str, str] | None:
        try:
            certificates = self._connect(member).info().certificates
        except VouchdError:  # that it is away is told of elsewhere, too
            return None
        return {name: _public_key(der) for name, der in certificates.items() if name in OWN}

    def _note(self, ring: Keyring) -> bool:
        """What a member has that had not said so is disowned, too."""
        here = {member.id for member in self._store.members()}
        said = {member for member in ring.unasked if member in self._keys_by_member}
        new = {key for member in said for key in self._keys_by_member[member].values()}
        wanted = replace(
            ring,
            disowned=tuple(sorted({*ring.disowned, *new})),
            unasked=tuple(member for member in ring.unasked if member in here - said),
        )
        if wanted == ring:
            return False
        self._store.put_keyring(wanted, ring)
        return True

    def _request(self, nickname: str) -> None:
        version = self._signers.request(nickname, SignerRequest(), self._caller)
        _log.info("signer %s: a new key, as a member was taken out that has the one before", version.name)

    def _drop_certificates(self, ring: Keyring) -> None:
        user = self._user()
        if user is None:
            return
        kept = tuple(der for der in user.certificates if _public_key(der) not in ring.disowned)
        if kept != user.certificates:
            self._store.put_user(replace(user, certificates=kept), user)
            self._audit.record("CONFIG_ROLE", self._caller, "success", operation="remove certificate", user=user.id)

    def _user(self) -> User | None:
        return next((user for user in self._store.users() if user.id == SUBSYSTEM_USER), None)

    def _of_the_set(self) -> tuple[bytes, ...]:
        user = self._user()
        return user.certificates if user else ()

    def _own_keys(self) -> dict[str, str]:
        return {name: _public_key(der) for name, der in self._membership.certificates().items() if name in OWN}


def _newest(ring: Keyring) -> Iterable[SignerVersion]:
    """Of each nickname the last version that is not retired."""
    newest = {one.nickname: one for one in ring.versions if one.retired_at is None}
    return newest.values()


def _is_outdated(version: SignerVersion, ring: Keyring) -> bool:
    return version.public_key in ring.disowned and version.retired_at is None


def _public_key(certificate_der: bytes) -> str:
    return public_key_hash(load_certificate(certificate_der))
