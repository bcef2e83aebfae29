"""Whether a call of an operation waits for a second agent: asked before any operation is carried out, by whatever way.

Not for what is done in the instance's folder to its settings, and for a member of the set: see `require_second`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET

from vouchd.api.model import plain
from vouchd.errors import PermissionDenied
from vouchd.service.approvals import pending
from vouchd.service.permission import Action
from vouchd.settings.cs_cfg import canonical
from vouchd.settings.four_eyes import VOIDING_KEYS, FourEyesSettings, Guarded

if TYPE_CHECKING:
    from vouchd.api.services import Services
    from vouchd.core.facts import Caller

DOMAIN_LEAVE, DOMAIN_PROMOTE = "domain.leave", "domain.promote"  # of the paths of members, not of the table
_NAMES = frozenset(Guarded)
# What has the effect of a named operation and cannot be put down: files, secrets, many at once, the paths of members.
_ALIKE = {
    "authorities.add_all": Guarded.ADD_AUTHORITY,
    "directory_server.adopt": Guarded.ADD_AUTHORITY,
    "crls.add_lower": Guarded.STEP_BACK,
    "sources.add": Guarded.CHANGE_CONFIGURATION,
    "sources.change": Guarded.CHANGE_CONFIGURATION,
    "sources.remove": Guarded.CHANGE_CONFIGURATION,
    "directory_server.use": Guarded.CHANGE_CONFIGURATION,
    "cloning.destroy": Guarded.EXPEL_MEMBER,
    "forced_promotion.claim": Guarded.MOVE_ROLE,
    DOMAIN_LEAVE: Guarded.EXPEL_MEMBER,
    DOMAIN_PROMOTE: Guarded.MOVE_ROLE,
}
_VOIDING = frozenset({"directory_server.use"})  # it says where the users are: as VOIDING_KEYS
_ON_FOLDER = frozenset({Guarded.CHANGE_CONFIGURATION, Guarded.EXPEL_MEMBER, Guarded.MOVE_ROLE})


class Request(Protocol):
    """What is asked for: see `operation.Call`."""

    @property
    def services(self) -> Services:
        """What it stands on."""

    @property
    def caller(self) -> Caller:
        """Who asks."""

    @property
    def path(self) -> Mapping[str, str]:
        """The values of the path."""

    @property
    def query(self) -> Any:
        """The model of the parameters."""

    @property
    def body(self) -> Any:
        """The model of the body, None where there is none."""


def require_second(operation: str, right: object, call: Request) -> None:
    """Return where that operation is carried out by the word of one; `right` is what it needs.

    A member that proved its own key is no person. Who works on the folder reads and writes all that is there: the
    settings are changed there as ever, so that there is a way back; the rest is refused, so that four eyes are not
    forgotten by mistake. Raises: ApprovalPending, when the call was put down; PermissionDenied, ConfigError.
    """
    if operation in _ALIKE:
        refuse_alone(operation, call.caller, call.services.settings.four_eyes)
    if operation not in _NAMES or call.caller.member:
        return
    services = call.services
    if not _is_guarded(operation, call, services.settings.four_eyes):
        return
    if call.caller.is_local:
        if operation == Guarded.CHANGE_CONFIGURATION:
            return
        raise PermissionDenied(
            f"{operation} needs two agents, each with a certificate (vouchd.fourEyes.operations)",
            hint="ask at the agent port: --url, --cert; or switch four eyes off in CS.cfg, which is recorded",
        )
    if not isinstance(right, Action):  # pragma: no cover  none of these is for everybody
        raise TypeError(operation)
    approval = services.four_eyes.request(operation, _arguments(operation, call), right, call.caller)
    raise pending(approval, call.caller)


def refuse_alone(operation: str, caller: Caller, settings: FourEyesSettings) -> None:
    """Return unless one alone would do what needs two, in a way on which nothing can wait. Raises: PermissionDenied."""
    named = _ALIKE[operation]
    needs_two = named in settings.guarded or (operation in _VOIDING and settings.operations)
    if not needs_two or caller.member or (caller.is_local and named in _ON_FOLDER):
        return
    raise PermissionDenied(
        f"{operation} does what {named} does, which needs two agents, and cannot wait for the second",
        hint=f"ask for {named}, one at a time, or work on the instance's folder (docs/operate/four-eyes.md)",
    )


def _is_guarded(operation: str, call: Request, settings: FourEyesSettings) -> bool:
    if operation in settings.guarded:
        return not getattr(call.body, "dry_run", False)
    if operation == Guarded.EXPEL_MEMBER:
        return Guarded.RENEW_SET in settings.guarded and bool(call.query.renew)
    if operation != Guarded.CHANGE_CONFIGURATION or not settings.operations or call.body.dry_run:
        return False
    return any(canonical(key.strip()).startswith(VOIDING_KEYS) for key in call.body.changes)


def _arguments(operation: str, call: Request) -> dict[str, Any]:
    """What will be carried out, to the letter; of a CA its id, as its label may come to mean another one."""
    path = dict(call.path)
    if "authority" in path:
        path["authority"] = call.services.authorities.find(path["authority"]).id
    body = None if call.body is None or call.body is UNSET else plain(call.body)
    about = held_back(operation, path, call.services)
    return {"path": path, "query": plain(call.query), "body": body} | ({"crl": about} if about else {})


def held_back(operation: str, path: Mapping[str, str], services: Services) -> str:
    """SHA-256 of the CRL that it is about, where another one may be held back by the time of the approval."""
    if operation not in {Guarded.RELEASE_CRL, Guarded.DROP_CRL}:
        return ""
    quarantined = services.store.quarantined_of(path["authority"])
    return next((one.record.sha256 for one in quarantined if one.issuing_point.scope_id == path["scope"]), "")
