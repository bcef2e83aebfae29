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

_NAMES = frozenset(Guarded)


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
    approval = services.four_eyes.request(operation, _arguments(call), right, call.caller)
    raise pending(approval, call.caller)


def _is_guarded(operation: str, call: Request, settings: FourEyesSettings) -> bool:
    if operation in settings.guarded:
        return not getattr(call.body, "dry_run", False)
    if operation != Guarded.CHANGE_CONFIGURATION or not settings.operations or call.body.dry_run:
        return False
    return any(canonical(key.strip()).startswith(VOIDING_KEYS) for key in call.body.changes)


def _arguments(call: Request) -> dict[str, Any]:
    """What will be carried out, to the letter; of a CA its id, as its label may come to mean another one."""
    path = dict(call.path)
    if "authority" in path:
        path["authority"] = call.services.authorities.find(path["authority"]).id
    body = None if call.body is None or call.body is UNSET else plain(call.body)
    return {"path": path, "query": plain(call.query), "body": body}
