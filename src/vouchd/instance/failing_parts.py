"""The parts of an instance that cannot be used now: CAs that no signer may answer for, and what failed at its start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import NamedTuple

from vouchd.core.ports import Clock
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import IndexFileError
from vouchd.instance.certificates.signers import Checked, life_for, token_pools
from vouchd.instance.report import FailingPart, TokenReport
from vouchd.service.signer_revocations import SignerRevocations, revocation


class _Judgement(NamedTuple):
    """Of one CA: the signer named for it, whether it is answered for, and the last second in which that is so.

    What its token does from one second to the next is told beside that.
    """

    label: str
    signer: str
    part: FailingPart | None
    until: int


class FailingParts:
    """Keeps what was said of a CA until its state is another one, or the life of its signer begins or ends."""

    def __init__(self, checked: Checked, clock: Clock) -> None:
        self._checked = checked
        self._clock = clock
        self._version = -1
        self._known: dict[str, _Judgement] = {}
        self._revocations = SignerRevocations({})
        self._lasting: tuple[FailingPart, ...] = ()  # those of the CAs that are known
        self._until = -1  # the first of all
        self._tokens: object = (frozenset(), set())  # the signers whose tokens cannot sign, and how each token did

    def of(self, state: ServingState) -> tuple[FailingPart, ...]:
        """Those of the CAs in `state`, and the others; a signer is told of by its CAs."""
        now = self._clock.now()
        changed = state.changed_since(self._version)
        if state.version == self._version:
            changed = frozenset()
        if changed is None or changed or now > self._until:
            present = {serving.authority.id: serving for serving in state.authorities}
            known = {} if self._hear(present, changed) else self._known
            for each in (changed or frozenset()) - present.keys():
                known.pop(each, None)
            for each, serving in present.items():
                former = known.get(each)
                if former is None or former.until < now or (changed and each in changed):
                    known[each] = self._judged(serving, now)
            self._known, self._version = known, state.version
            self._lasting = tuple(one.part for one in known.values() if one.part is not None)
            self._until = min((one.until for one in known.values()), default=now)
        labels = {f"CA {serving.authority.label}" for serving in state.authorities} if self._checked.failing else set()
        shown = labels | {f"signer {one.signer}" for one in self._known.values()} if self._checked.failing else set()
        others = (FailingPart(part, str(error)) for part, error in self._checked.failing.items() if part not in shown)
        return (*self._of_known(), *others)

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
            yield from self._lasting
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
        if changed is None:
            certificates = {name: signer.certificate_der for name, signer in self._checked.signers.ready.items()}
            self._revocations = SignerRevocations(certificates, present.values())
            return True
        heard = [
            self._revocations.hear(present[each]) if each in present else self._revocations.forget(each)
            for each in changed
        ]
        return any(heard)

    def _is_revoked(self, nickname: str) -> bool:
        try:
            return self._revocations.is_revoked(nickname)
        except IndexFileError:  # it is made again, and told of as such
            return False


def _part(label: str, error: Exception) -> FailingPart:
    return FailingPart(f"CA {label}", f"answered tryLater: {error}", label)
