"""The roles in a set: that of the master moved from one member to another, and CS.cfg made what the registry says.

**Moving the role** is a walk through `PROMOTION`, the table below. Nothing is locked: all members go on, and write
what they write, while the role moves. What makes it come out right is that

- a record is put in place of the one that was seen, or not at all; when it was another one (`CHANGED`), the walk goes
  back and looks again, and what it finds may be that the work is done;
- the higher term decides. From the moment that one member has the promoted record, that member is the master whatever
  becomes of the steps after: the table has no way back, and whoever learns of the record later comes to the same end;
- CS.cfg follows the registry, never the other way round. A member whose CS.cfg says another role than the set stands
  between two roles (`RISING`, `FALLING`); its manager process sees that once a second, writes CS.cfg and restarts by
  itself. So a walk that ends anywhere, by a kill too, is finished by those who are left.

Both may say clone for a moment, when the master has stepped down and the new one has not seen it: that is `RISING`.
Both may never be master: the term of one is lower, and it stands in `FALLING`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from vouchd.cloning.appointment import appoint
from vouchd.cloning.client import Identity, PeerClient
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS, own_member
from vouchd.cloning.needs import MemberServices, Say
from vouchd.cloning.proof import MemberKey, member_keys
from vouchd.cloning.registry import SecurityDomain, find, master_of
from vouchd.core.facts import Caller, Member
from vouchd.core.ports import Store
from vouchd.errors import ConfigError, PermissionDenied, StoreConflict, VouchdError
from vouchd.instance.configuration import write_values
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.tcp_ports import KeyFiles

MASTER_REFRESH_SECONDS = 600
_ATTEMPTS = 10


# What this instance is to the set, and to its own CS.cfg.


class Standing(Enum):
    """Where an instance stands between the two roles."""

    MASTER = "master"
    CLONE = "clone"
    RISING = "the set says master, its CS.cfg clone"
    FALLING = "the set says clone, its CS.cfg master"


STANDINGS: Mapping[tuple[bool, bool], Standing] = {  # (master of the set, master by its CS.cfg)
    (True, True): Standing.MASTER,
    (False, False): Standing.CLONE,
    (True, False): Standing.RISING,
    (False, True): Standing.FALLING,
}


def standing(settings: Settings, master: Member | None) -> Standing:
    """Where the instance stands, as far as it knows who the master is; without one its CS.cfg is right."""
    by_settings = settings.refresh_seconds != CLONE_REFRESH_SECONDS
    if master is None or not settings.of_set.host:
        return STANDINGS[by_settings, by_settings]
    # Its own key under another name: it takes that name on with its next start.
    of_set = master.id == settings.member_id or (by_settings and own_member(settings).tls_sha256 in master.pins)
    return STANDINGS[of_set, by_settings]


def role_values(settings: Settings, master: Member, *, rising: bool) -> dict[str, str]:
    """The lines of CS.cfg of an instance that has become the master, or a clone of `master`."""
    if rising:
        return {"ocsp.store.defStore.refreshInSec": str(MASTER_REFRESH_SECONDS), "vouchd.clone.master": ""}
    values = {"ocsp.store.defStore.refreshInSec": str(CLONE_REFRESH_SECONDS)}
    return values if settings.directory is not None else values | {"vouchd.clone.master": master.id}


def settle(
    layout: Layout, settings: Settings, master: Member | None, register: Callable[[Member], object], say: Say
) -> bool:
    """Make CS.cfg say the role that this instance has in the set; whether it changed and a restart is due.

    `register` puts the record of the master into this instance's own registry. Where that is a file of its own, it has
    the role from before, and after the restart it would be believed until another member was asked: back and forth.
    Raises: ConfigError, StoreError.
    """
    now = standing(settings, master)
    if master is None or now not in {Standing.RISING, Standing.FALLING}:
        return False
    rising = now is Standing.RISING
    if rising or settings.directory is None:
        register(master)
    changed = write_values(layout, role_values(settings, master, rising=rising))
    if changed:
        words = "this instance becomes the master" if rising else "this instance becomes its clone"
        say(f"{master.id} is the master now (term {master.term}): {words}")
    return changed


# The role of the master is moved.


class At(Enum):
    """Where a promotion is."""

    LOOK = "look at who the master is"
    HAND_OVER = "have the master step down"
    CLAIM = "put it into the registry here"
    SWITCH = "make CS.cfg say so"
    DONE = "done"


class Outcome(Enum):
    """What became of a step."""

    MINE = "this member is the master already"
    OTHERS = "another member is the master"
    NOBODYS = "no member is"
    OK = "it was done"
    CHANGED = "a record was changed in the same moment"
    AWAY = "the master cannot be asked, and is to be passed over"


PROMOTION: Mapping[tuple[At, Outcome], At] = {
    (At.LOOK, Outcome.MINE): At.SWITCH,
    (At.LOOK, Outcome.OTHERS): At.HAND_OVER,
    (At.LOOK, Outcome.NOBODYS): At.CLAIM,
    (At.HAND_OVER, Outcome.OK): At.CLAIM,
    (At.HAND_OVER, Outcome.AWAY): At.CLAIM,
    (At.HAND_OVER, Outcome.CHANGED): At.LOOK,
    (At.CLAIM, Outcome.OK): At.SWITCH,
    (At.CLAIM, Outcome.CHANGED): At.LOOK,
    (At.SWITCH, Outcome.OK): At.DONE,
}


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who moves the role: `connect` comes to a member with his certificate, `key` signs the appointment."""

    connect: Callable[[Member], PeerClient]
    key: MemberKey

    @classmethod
    def with_key(cls, files: KeyFiles, password: str) -> Administrator:
        """Who has the key in these files. Raises: SigningError, ConfigError."""
        identity = Identity(files.certificate_file, files.key_file, password)

        def connect(member: Member) -> PeerClient:
            return PeerClient.of(member, identity)

        return cls(connect, MemberKey.load(files, password))


class Promotion:
    """Makes this instance the master of its set, in the order of an administrator.

    `force` passes over a master that cannot be asked; `switch` makes CS.cfg say so, and has the instance restart.
    """

    def __init__(
        self,
        services: MemberServices,
        administrator: Administrator,
        switch: Callable[[Member], None],
        say: Say,
        *,
        force: bool,
    ) -> None:
        self._services = services
        self._administrator = administrator
        self._switch = switch
        self._say = say
        self._force = force
        self._own = services.settings.member_id
        self._granted: Member | None = None  # this instance, as the master that stepped down has it now

    def run(self) -> Member:
        """Walk through the table; this member as the registry has it then. Raises: VouchdError."""
        steps = {At.LOOK: self._look, At.HAND_OVER: self._hand_over, At.CLAIM: self._claim, At.SWITCH: self._switched}
        at, turns = At.LOOK, 0
        while at is not At.DONE:
            outcome = steps[at]()
            turns += outcome is Outcome.CHANGED
            if turns > _ATTEMPTS:
                raise StoreConflict("the registry keeps changing", hint="try again")
            at = PROMOTION[at, outcome]
        return self._me()

    def _members(self) -> tuple[Member, ...]:
        return self._services.store.members()

    def _me(self) -> Member:
        return find(self._members(), self._own)

    def _look(self) -> Outcome:
        master = master_of(self._members())
        if master is None:
            return Outcome.NOBODYS
        return Outcome.MINE if master.id == self._me().id else Outcome.OTHERS

    def _hand_over(self) -> Outcome:
        before = master_of(self._members())
        if before is None or before.id == self._own:
            return Outcome.CHANGED
        try:
            self._granted = self._administrator.connect(before).promote(self._own)
        except StoreConflict:
            return Outcome.CHANGED
        except PermissionDenied:
            raise
        except VouchdError as error:
            if not self._force:
                raise ConfigError(
                    f"the master {before.id} has not stepped down: {error}",
                    hint="if it is gone for good: vouchd clone promote --force",
                ) from error
            self._say(f"{before.id} was not asked: {error}; it takes itself for a clone when it comes back")
            return Outcome.AWAY
        self._say(f"{before.id} has stepped down")
        return Outcome.OK

    def _claim(self) -> Outcome:
        try:
            self._services.domain.promote(self._own, self._services.caller, self._appointment, self._granted)
        except StoreConflict:
            return Outcome.CHANGED
        return Outcome.OK

    def _appointment(self, member: Member, term: int) -> str:
        return appoint(member, term, self._administrator.key)

    def _switched(self) -> Outcome:
        self._switch(self._me())
        return Outcome.OK


class Handing:
    """Moves the role from this instance, the master, to another member, which follows by itself within seconds."""

    def __init__(self, layout: Layout, settings: Settings, store: Store, domain: SecurityDomain) -> None:
        self._layout = layout
        self._settings = settings
        self._store = store
        self._domain = domain

    def to(self, member_id: str, caller: Caller) -> Member:
        """The member as the master.

        Raises: NotFound, PermissionDenied; ConfigError where this instance is no master: nobody else may appoint so.
        """
        members = self._store.members()
        master, member = master_of(members), find(members, member_id)
        if master is not None and member.id == master.id:
            return member
        if master is None or master.id != self._settings.member_id:
            raise ConfigError(
                f"the role is not this instance's to give: {master.id if master else 'nobody'} is the master",
                hint=f"ask https://{master.id}; if it is gone: vouchd clone promote --force" if master else "",
            )
        password = read_passwords(self._layout.password_conf).get(INTERNAL)
        keys = member_keys(self._layout.alias, self._settings.agent.tls, password)
        own = next((keys[pin] for pin in master.pins if pin in keys), None)
        if own is None:
            raise ConfigError("this instance lacks the key that the set knows it by", hint="vouchd clone prepare")
        return self._domain.promote(member.id, caller, lambda one, term: appoint(one, term, own))
