"""Finding a key of CS.cfg in the table of known keys: by either spelling, by pattern, or the nearest one."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache

from vouchd.instance.keytable import KNOWN
from vouchd.settings.kinds import KnownKey

_PREFIX = "OCSP.Responder."
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_ -]*"

_EXACT = {known.name: known for known in KNOWN if "<" not in known.name and not known.name.endswith(".*")}
_FAMILY = {known.name.removesuffix("*"): known for known in KNOWN if known.name.endswith(".*")}
_PATTERNS = tuple(
    (re.compile(re.sub(r"<\w+>", f"({_SEGMENT})", known.name.replace(".", r"\."))), known)
    for known in KNOWN
    if "<" in known.name
)


def canonical(key: str) -> str:
    """The one spelling of a key that the guides write with `OCSP.Responder.` in front, or without `ocsp.`."""
    if key.startswith(_PREFIX):
        rest = key.removeprefix(_PREFIX)
        return rest if rest.startswith("ocsp.") else f"ocsp.{rest}"
    return f"ocsp.{key}" if key.startswith("store.defStore.") else key


@cache
def _families_longest_first() -> tuple[str, ...]:
    return tuple(sorted(_FAMILY, key=len, reverse=True))


def look_up(key: str) -> KnownKey | None:
    """The declaration of a key in its canonical spelling, None when it is not known."""
    if key in _EXACT:
        return _EXACT[key]
    for pattern, known in _PATTERNS:
        if pattern.fullmatch(key):
            return known
    return next((_FAMILY[prefix] for prefix in _families_longest_first() if key.startswith(prefix)), None)


def nearest(key: str) -> str | None:
    """The known name most like `key`, its placeholders filled in from `key`; None when nothing is like it."""
    names = {
        name.lower(): name for name in (_filled(known.name, key) for known in KNOWN if not known.name.endswith("*"))
    }
    close = get_close_matches(key.lower(), names, n=1, cutoff=0.7)
    return names[close[0]] if close else None


def _filled(name: str, key: str) -> str:
    theirs = key.split(".")
    ours = name.split(".")
    if len(ours) != len(theirs):
        return name
    return ".".join(their if our.startswith("<") else our for our, their in zip(ours, theirs, strict=True))
