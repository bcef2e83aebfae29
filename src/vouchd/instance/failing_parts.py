"""The parts of an instance that cannot be used now: CAs that no signer may answer for, and what failed at its start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from typing import NamedTuple

from vouchd.core.ports import Clock
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import IndexFileError
from vouchd.instance.certificates.signers import Checked, life_for, token_pools
from vouchd.instance.report import FailingPart, TokenReport
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.signer_revocations import SignerRevocations, revocation

_FOREVER = sys.maxsize


class _Judgement(NamedTuple):
    """Of one CA: the signer named for it, whether it is answered for, and the last second in which that is so.

    What its token does from one second to the next is told beside that.
    """

    label: str
    signer: str
    part: FailingPart | None
    until: int


class FailingParts:
    """Keeps what was said of a CA until its state or its signer's life is another one, or the clock is set back.

    So a report costs what changed and what fails, however many CAs there are.
    """

    def __init__(
        self,
        checked: Checked,
        clock: Clock,
        unproved: Callable[[], frozenset[str]] = frozenset[str],
        waiting: Callable[[], frozenset[str]] = frozenset[str],
    ) -> None:
        """`unproved` are the ids of the CAs that the start has not proved yet, or that did not pass.

        Whether their signers may answer for them is a part of the proof. Those that are not proved yet are `waiting`:
        what they say of signers is not heard before, so that no report of a start with many CAs looks at all of them.
        """
        self._checked = checked
        self._clock = clock
        self._unproved = unproved
        self._waiting = waiting
        self._unheard: frozenset[str] = frozenset()
        self._left: frozenset[str] = frozenset()  # those that were not judged for that
        self._version = -1
        self._looked_at = 0  # POSIX seconds
        self._known: dict[str, _Judgement] = {}
        self._failing: dict[str, FailingPart] = {}  # those of the CAs that are known
        self._revocations = SignerRevocations(SignerCertificates({}))
        self._until = _FOREVER  # until none of those that do not fail comes to an end
        self._others: tuple[FailingPart, ...] | None = None  # what failed at the start and no CA tells of
        self._tokens: object = (frozenset(), set())  # the signers whose tokens cannot sign, and how each token did

    def of(self, state: ServingState) -> tuple[FailingPart, ...]:
        """Those of the CAs in `state`, and the others; a signer is told of by its CAs."""
        now = self._clock.now()
        changed = frozenset[str]() if state.version == self._version else state.changed_since(self._version)
        heard, back = self._hear(state.by_id, changed), now < self._looked_at
        self._looked_at = now
        before, self._left = self._left, self._unproved()
        if heard or back:  # what was said of later moments says nothing of a clock that was set back
            self._known, self._failing, self._others, self._until = {}, {}, None, _FOREVER
            self._judge(state.by_id, state.by_id, now)
        elif now > self._until:
            self._until = _FOREVER
            ended = [each for each, one in self._known.items() if one.until < now]
            self._judge({*ended, *(changed or ()), *(before - self._left)}, state.by_id, now)
            kept = (one.until for one in self._known.values() if one.part is None)
            self._until = min(kept, default=_FOREVER)
        else:
            failing = [each for each in self._failing if self._known[each].until < now]
            self._judge({*failing, *(changed or ()), *(before - self._left)}, state.by_id, now)
        self._version = state.version
        return (*self._of_known(), *self._of_start())

    def _judge(self, ids: Iterable[str], present: Mapping[str, ServingAuthority], now: int) -> None:
        """Look at these CAs, of which those that are not `present` are gone."""
        for each in ids:
            former, serving = self._known.get(each), present.get(each)
            self._failing.pop(each, None)
            if serving is None:
                self._known.pop(each, None)
                self._others = None
                continue
            if each in self._left and self._checked.signers.has_for(serving.authority):
                self._known.pop(each, None)
                continue
            judged = self._known[each] = self._judged(serving, now)
            if judged.part is not None:
                self._failing[each] = judged.part
            else:
                self._until = min(self._until, judged.until)
            if former is None or former[:2] != judged[:2]:
                self._others = None

    def _of_start(self) -> tuple[FailingPart, ...]:
        """What failed at the start and is not told of by a CA."""
        if self._others is None:
            failing, known = self._checked.failing, self._known.values()
            names = ((f"CA {one.label}", f"signer {one.signer}") for one in known) if failing else ()
            shown = set(chain.from_iterable(names))
            self._others = tuple(FailingPart(part, str(why)) for part, why in failing.items() if part not in shown)
        return self._others

    def tokens_changed(self) -> bool:
        """Have the tokens looked at; whether one does otherwise than the last time."""
        failing = frozenset(self._checked.signers.token_problems())
        states = {(one.label, one.problem, one.sessions) for one in self.token_reports()}
        before, self._tokens = self._tokens, (failing, states)
        return before != self._tokens

    def token_reports(self) -> tuple[TokenReport, ...]:
        """The tokens that keys of signers are on, as this process sees them."""
        pools = token_pools(self._checked.signers.on_tokens)
        return tuple(TokenReport(place.label, str(place.module), **asdict(pool.state)) for place, pool in pools.items())

    def _of_known(self) -> Iterator[FailingPart]:
        tokens = self._checked.signers.token_problems()
        if not tokens:
            yield from sorted(self._failing.values(), key=lambda one: one.ca)
            return
        for one in self._known.values():
            if one.part is not None:
                yield one.part
            elif one.signer in tokens:
                yield _part(one.label, tokens[one.signer])

    def _judged(self, serving: ServingAuthority, now: int) -> _Judgement:
        signers, authority = self._checked.signers, serving.authority
        name = authority.policy.signer or signers.default
        error: Exception | None = signers.problem(authority, now)
        if error is None and self._is_revoked(name):
            error = revocation()
        if error is None:
            trusted, signer_der = authority.policy.trusted_responder, signers.of(authority).certificate_der
            until = life_for(signer_der, authority.certificates, trusted=trusted)[1]
            return _Judgement(authority.label, name, None, until)
        return _Judgement(authority.label, name, _part(authority.label, error), now)

    def _hear(self, present: Mapping[str, ServingAuthority], changed: frozenset[str] | None) -> bool:
        """Take the word of CAs on signers; whether every CA is to be judged anew."""
        anew = changed is None
        if changed is None:
            self._revocations = SignerRevocations(self._checked.signers.certificates)
            changed = frozenset(present)
        due = changed | self._unheard
        self._unheard = due & self._waiting() & present.keys() if self._unheard or anew else self._unheard
        heard = [
            self._revocations.hear(present[each]) if each in present else self._revocations.forget(each)
            for each in due - self._unheard
        ]
        return anew or any(heard)

    def _is_revoked(self, nickname: str) -> bool:
        try:
            return self._revocations.is_revoked(nickname)
        except IndexFileError:  # it is made again, and told of as such
            return False


def _part(label: str, error: Exception) -> FailingPart:
    return FailingPart(f"CA {label}", f"answered tryLater: {error}", label)
