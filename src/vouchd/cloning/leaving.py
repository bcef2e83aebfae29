"""A clone taken away: stopped, out of the registry, its directory server out of the replication.

One that is gone, or in the wrong hands, is taken out by the others. Its own key proves nothing from then on; what else
it knew is said, with how each of it is renewed: all of that is shared by those who stay.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from vouchd.cloning.client import address_of, connector
from vouchd.cloning.membership import Membership
from vouchd.cloning.needs import MemberServices, Say
from vouchd.cloning.registry import SecurityDomain, master_of, require_leavable
from vouchd.cloning.replication import detach, require_replicated
from vouchd.cloning.steps import journal_of
from vouchd.core.facts import Caller, Member
from vouchd.core.ports import Store
from vouchd.errors import NotFound, PermissionDenied, StoreUnavailable, VouchdError
from vouchd.service.permission import Action
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings

_AWAY = "start its directory server, which may have CRLs that no other has; --force gives them up"


@dataclass(frozen=True, slots=True)
class Leaving:
    """How a clone is taken away: `master` (URL of its agent port) and `fingerprint` where the registry here has none.

    `force` gives up what only its own directory server has, or that server. `renew`: those who stay renew what it knew.
    """

    master: str = ""
    fingerprint: str = ""
    force: bool = False
    renew: bool = False


def destroy(
    services: MemberServices, how: Leaving, ending: Callable[[], AbstractContextManager[None]], caller: Caller, say: Say
) -> str:
    """Take the clone out of its set and its directory server out of the replication, and have it stop; its id.

    Nothing is acknowledged within `ending()`. Raises: ConfigError for the master of others; StoreUnavailable,
    LifecycleError, PermissionDenied; ClientError.
    """
    layout, settings = services.layout, read_settings(services.layout)
    own = settings.member_id
    services.permission.allow_for(own, caller, Action.CHANGE_DOMAIN)
    members = _members(services.store, say, force=how.force)
    for me in (member for member in members if member.id == own):
        require_leavable(me, members)  # before it is stopped
    other = _member_to_tell(layout, members, own, how)
    if not how.force:
        require_replicated(layout, settings, members)
    with ending():
        if not how.force:
            require_replicated(layout, settings, members)  # what was acknowledged in the meantime
        _say_goodbye(layout, settings, other, say, renew=how.renew)
        try:
            detach(layout, settings, say)
        except StoreUnavailable as error:
            if not how.force:
                raise
            say(f"its agreements stay in its directory server: {error}")
    return own


def _say_goodbye(layout: Layout, settings: Settings, other: Member | None, say: Say, *, renew: bool) -> None:
    own = settings.member_id
    if other is None:
        return
    try:
        connector(layout, settings)(other).leave(own, renew=renew)
        say(f"{own} has left the domain")
        if renew:
            say(
                "those who stay renew the keys that it knew: vouchd domain renewal on the master shows how far they are"
            )
    except (PermissionDenied, NotFound):  # its key is in no registry: it was taken out, or never came in
        say(f"{own} is not in the domain")


def _members(store: Store, say: Say, *, force: bool) -> tuple[Member, ...]:
    """The registry, empty where it is not here. Raises: StoreUnavailable, but not by force."""
    try:
        return store.members()
    except VouchdError as error:
        if isinstance(error, StoreUnavailable) and not force:
            raise StoreUnavailable(str(error), hint=_AWAY) from error
        say(f"the registry here cannot be read: {error}")
        return ()


def _member_to_tell(layout: Layout, members: tuple[Member, ...], own: str, how: Leaving) -> Member | None:
    """A member to say goodbye to: the master if there is one."""
    master, fingerprint = how.master, how.fingerprint
    if not members and not master:  # making it was cut short before the registry came
        kept = journal_of(layout).kept()
        master, fingerprint = kept.get("master", ""), kept.get("fingerprint", "")
    if master:
        host, port = address_of(master)
        return Member(host, port, 0, "", clone=False, joined_at=0, tls_sha256=fingerprint)
    others = [member for member in members if member.id != own]
    return master_of(others) or next(iter(others), None)


# A clone taken out by another member.


@dataclass(frozen=True, slots=True)
class Known:
    """Something that a member which was taken out still knows, and how it is renewed where that is in wrong hands."""

    what: str
    renewal: str


def take_out(
    domain: SecurityDomain, membership: Membership, retire: Callable[[Member], None], member_id: str, caller: Caller
) -> Member:
    """Take a member out of the registry, and its directory server out of the replication; it as it was.

    Raises: NotFound; ConfigError for the master of others, and where the registry is a copy; PermissionDenied.
    """
    membership.require_registrar()
    membership.believe_all()
    left = domain.leave(member_id, caller)
    retire(left)
    return left


def still_known(settings: Settings, left: Member) -> tuple[Known, ...]:
    """What a member that was taken out has learnt of the set."""
    signers = ", ".join(one.nickname for one in settings.signers)
    known = [
        Known(
            f"the signing keys ({signers})",
            "new ones for all who stay: vouchd domain renew; have the CA revoke the certificates before",
        ),
        Known("the subsystem and the audit signing key", "new ones for all who stay: vouchd domain renew"),
    ]
    if left.directory is not None:
        renewal = (
            "the master renews it by itself, and all members take it within a minute; `vouchd status` on each shows"
            " `replication password` under `failing` where that does not work"
        )
        known.append(Known("the password of the replication account", renewal))
    return tuple(known)
