"""Of which CAs what is answered from has changed since it was told: other members ask every few seconds."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from vouchd.core.status import ServingAuthority, ServingState

_MOST_DIGITS = 18


class ServedChanges:
    """Compares each state with the one before, when it is asked; one thread at a time.

    Versions count for this process: another one may have begun with other facts.
    """

    def __init__(self) -> None:
        self._run = secrets.token_hex(8)
        self._number = 0
        self._serving: Mapping[str, ServingAuthority] = {}
        self._changed: dict[str, int] = {}  # the version at which a CA changed last, or went, by its id

    def since(self, version: str, state: ServingState) -> tuple[str, frozenset[str] | None]:
        """The version of this state, and the ids of CAs that are others than in that one, some of which may be gone.

        None: that version was not told by this process.
        """
        self._take(state.by_id)
        run, _, number = version.partition(":")
        concerned = None
        if run == self._run and number.isdecimal() and len(number) <= _MOST_DIGITS and int(number) <= self._number:
            before = int(number)
            concerned = frozenset(each for each, at in self._changed.items() if at > before)
        return f"{self._run}:{self._number}", concerned

    def _take(self, serving: Mapping[str, ServingAuthority]) -> None:
        former, self._serving = self._serving, serving
        if serving is former:
            return
        ids = former.keys() | serving.keys()
        changed = [each for each in ids if former.get(each) is not serving.get(each)]
        if changed:
            self._number += 1
            self._changed |= dict.fromkeys(changed, self._number)
