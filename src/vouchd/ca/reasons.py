"""A CRLReason as an administrator types it."""

from __future__ import annotations

from vouchd.core.facts import Reason
from vouchd.pkix.reasons import NAMES
from vouchd.errors import IssuanceError


def parse_reason(text: str) -> Reason:
    """The reason of that name; capitals, `-` and `_` do not matter. Raises: IssuanceError."""
    plain = text.replace("-", "").replace("_", "").lower()
    for reason, name in NAMES.items():
        if name.lower() == plain:
            return reason
    raise IssuanceError(f"unknown revocation reason {text[:40]!r}", hint=f"one of {', '.join(NAMES.values())}")
