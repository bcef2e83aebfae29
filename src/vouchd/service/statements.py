"""What a SingleResponse says of a serial: decided and made into DER, and once for all serials that nothing lists."""

from __future__ import annotations

from typing import NamedTuple

from vouchd.core.facts import CertStatus
from vouchd.core.policy import ResponsePolicy
from vouchd.core.response import statement_of, unknown_statement
from vouchd.core.status import Decision, ServingAuthority, Verdicts
from vouchd.core.times import Moment, Times, times_of
from vouchd.service.terms import Basis


class Statement(NamedTuple):
    """What follows the CertID in one SingleResponse, in DER, with its times.

    `is_shared` says that each positive serial that no CRL lists has this one, until `steady_until` (None: for ever).
    """

    der: bytes
    status: CertStatus
    times: Times
    non_issued: bool
    is_shared: bool = False
    steady_until: int | None = None


class Statements:
    """What is said of the serials of one key of a CA as long as `basis` is current; `verdicts` are on that key."""

    def __init__(self, serving: ServingAuthority, verdicts: Verdicts, policy: ResponsePolicy, basis: Basis) -> None:
        self.basis = basis
        self._verdicts = verdicts
        self._policy = serving.authority.policy
        self._reasons = policy.reasons_for(self._policy)
        self._keeps_issued = serving.issued is not None
        self._last: tuple[Decision, Moment, Statement] | None = None

    def of(self, serial: bytes, moment: Moment) -> Statement:
        """What is said of `serial` (DER INTEGER content octets) at that moment. Raises: TryLater, IndexFileError."""
        decision = self._verdicts.of(serial, moment.at)
        # Most serials are not listed, so they share one decision, and at one moment all that follows from it.
        if self._last is not None and self._last[0] is decision and self._last[1] == moment:
            return self._last[2]
        times = times_of(decision, self._policy, moment)
        statement = Statement(
            statement_of(decision, self._policy, times, reasons=self._reasons),
            decision.status,
            times,
            decision.non_issued,
            is_shared=decision.entry is None and not self._keeps_issued,
            steady_until=self._verdicts.steady_until(moment.at),
        )
        self._last = decision, moment, statement
        return statement

    def lists(self, serial: bytes, at: int) -> bool:
        """Whether a CRL that counts at that time lists it. Raises: TryLater, IndexFileError."""
        return self._verdicts.lists(serial, at)

    def end(self) -> None:
        """Nothing is said from here any more: let go of what is open."""
        self.basis.current = False
        del self._verdicts, self._last


def foreign_statement(this_update: int) -> Statement:
    """What is said of a serial whose CA is none of ours."""
    times = Times(this_update, None, this_update, None, None)
    return Statement(unknown_statement(this_update), CertStatus.UNKNOWN, times, non_issued=False)
