"""How often instances of tests look after what nobody waits for in practice: some seconds instead of half a minute.

A set that renews its keys does so in steps, each begun at one of these looks. What two members wrote while their
directory servers were cut off from each other is tidied up at one.
"""

from __future__ import annotations

from vouchd.processes import upkeep as pauses
from vouchd.wiring import keyring, upkeep

SECONDS = 2.0
_INTERVALS = (
    (keyring, ("_RECORD_SECONDS", "_RENEWAL_SECONDS", "_SET_SECONDS")),
    (upkeep, ("_HEALTH_SECONDS", "_ROTATION_SECONDS", "_SETTLE_SECONDS")),
    (pauses, ("_LONGEST_PAUSE_SECONDS",)),
)


def quicken() -> None:
    """Have this process, and all that it forks, look and try again that often."""
    for module, names in _INTERVALS:
        for name in names:
            assert getattr(module, name) > SECONDS, f"{module.__name__}.{name}"
            setattr(module, name, SECONDS)
