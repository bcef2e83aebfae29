"""Four eyes: which operations are carried out only when a second agent has approved them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from vouchd.settings.keys import key
from vouchd.settings.kinds import Kind, integer

PREFIX = "vouchd.fourEyes."
_DAY = 86400


class Guarded(StrEnum):
    """The operations that may be named, as the table of operations calls them.

    Those with a secret or a file among what they are given, or in their answer, are none of these: what waits is a fact
    that the members of the set share.
    """

    DECLARE_COMPROMISED = "authorities.compromised"
    WITHDRAW_COMPROMISED = "authorities.not_compromised"
    ADD_AUTHORITY = "authorities.add"
    REMOVE_AUTHORITY = "authorities.remove"
    REMOVE_CERTIFICATE = "authorities.remove_certificate"
    SET_POLICY = "authorities.set_policy"
    DROP_ISSUED_SERIALS = "authorities.drop_issued_serials"
    RELEASE_CRL = "crls.release"
    DROP_CRL = "crls.drop"
    STEP_BACK = "older_crls.step_back"
    RETIRE_POINT = "retirement.retire"
    RESTORE_POINT = "retirement.restore"
    ADD_USER = "users.add"
    CHANGE_USER = "users.change"
    REMOVE_USER = "users.remove"
    ADD_USER_CERTIFICATE = "users.add_certificate"
    REMOVE_USER_CERTIFICATE = "users.remove_certificate"
    INSTALL_CERTIFICATE = "certificates.install"
    INSTALL_SIGNER = "signers.install"
    SWITCH_SIGNER = "signers.switch"
    RETIRE_SIGNER = "signers.retire"
    CHANGE_CONFIGURATION = "configuration.change"
    MOVE_ROLE = "cloning.promote"
    EXPEL_MEMBER = "cloning.remove"
    RENEW_SET = "cloning.renew"


# Whoever could do these alone could make himself a second pair of eyes.
ALWAYS = frozenset({Guarded.ADD_USER, Guarded.CHANGE_USER, Guarded.ADD_USER_CERTIFICATE})
# And these keys switch four eyes off, have the instance know other users, or run a command as the instance.
VOIDING_KEYS = (PREFIX, "vouchd.store", "internaldb.", "vouchd.clone.master", "vouchd.renewal.")


def _read(text: str) -> frozenset[Guarded]:
    names = [name for name in re.split(r"[,\s]+", text) if name]
    unknown = [name for name in names if name not in set(Guarded)]
    if unknown:
        raise ValueError(f"{unknown[0][:80]} is no operation that can need two; these are: {', '.join(Guarded)}")
    return frozenset(map(Guarded, names))


def _write(value: object) -> str:
    return ", ".join(name for name in Guarded if name in value) if isinstance(value, frozenset) else ""


_OPERATIONS = Kind("list of names of operations", _read, _write)


@dataclass(frozen=True, slots=True)
class FourEyesSettings:
    """What needs two agents, and how long a request waits for the second."""

    operations: frozenset[Guarded] = key(
        f"{PREFIX}operations",
        _OPERATIONS,
        frozenset(),
        "Operations that are carried out only when a second agent approves, with commas between; with any of them also"
        f" {', '.join(sorted(ALWAYS))} and changes of these keys; empty: none. See docs/operate/four-eyes.md.",
        shared=True,
    )
    expire_seconds: int = key(
        f"{PREFIX}expireInSec",
        integer(60, 30 * _DAY),
        _DAY,
        "What was asked for and not approved by then has to be asked for again.",
        unit="seconds",
        shared=True,
    )

    @property
    def guarded(self) -> frozenset[Guarded]:
        """The operations that need two, whatever their arguments are; none while four eyes are off."""
        return self.operations | ALWAYS if self.operations else frozenset()
