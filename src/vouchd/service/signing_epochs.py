"""Which signers a process signs with now: one word in shared memory, looked at before each answer.

All processes of an instance have loaded the same signers under the same numbers before the word takes one of them, so
from one answer to the next all of them sign with other ones. An answer that was begun before the word changed may be
on its way still; one that is begun afterwards never has the signer from before. So who asks again after it has an
answer of the new signer gets no other one, whichever process it reaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vouchd.core.ports import Signer
from vouchd.service.answering import Responder


@dataclass(frozen=True, slots=True)
class SigningSet:
    """The signers that sign at one time, by nickname, and which of them is the default."""

    signers: Mapping[str, Signer] = field(default_factory=dict)
    default: str = ""


class SigningEpochs:
    """Has `responder` sign with the set whose number is in `word`; a number that was not loaded signs nothing.

    `seen` is the number that it signs with now: while `word` holds another one, `turn` is due.
    """

    def __init__(self, responder: Responder, sets: Mapping[int, SigningSet], word: Sequence[int]) -> None:
        self.word = word
        self.seen = word[0]
        self._responder = responder
        self._sets = dict(sets)

    @property
    def signers(self) -> tuple[Signer, ...]:
        """All that are loaded, those that do not sign now, too."""
        return tuple(signer for one in self._sets.values() for signer in one.signers.values())

    def turn(self) -> None:
        """Sign with the set that the word names from now on; what was prepared with another is dropped."""
        self.seen = self.word[0]
        chosen = self._sets.get(self.seen, SigningSet())
        self._responder.sign_with(chosen.signers, chosen.default)
