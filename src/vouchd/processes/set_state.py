"""The other members of the set and the work done for it, as the health port and `vouchd status` show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vouchd.cloning.peers import Peers, PeerState
from vouchd.cloning.replication_watch import ReplicationWatch
from vouchd.cloning.verdicts import Verification
from vouchd.core.facts import Epoch, IssuingPointId
from vouchd.instance.report import MemberReport, ReplicationReport
from vouchd.processes.store_watch import StoreWatch
from vouchd.processes.upkeep import Upkeeping


class OtherMembers:
    """Reads what was seen of the other members last; asks nobody.

    `verification` is the newest comparison.
    """

    def __init__(
        self,
        peers: Peers | None,
        upkeep: Upkeeping,
        watch: StoreWatch,
        replication: ReplicationWatch | None = None,
        verification: Callable[[], Verification | None] = lambda: None,
    ) -> None:
        self.verification = verification
        self._replication = replication
        self._peers = peers
        self._upkeep = upkeep
        self._watch = watch

    def reports(self) -> tuple[MemberReport, ...]:
        """Each of them, ordered as the registry has them."""
        peers = self._peers
        return tuple(_report(state, peers.elsewhere(state.member.id)) for state in peers.states) if peers else ()

    def replication(self) -> ReplicationReport | None:
        """How the directory servers replicate, None where there are none or this is not known."""
        return self._replication.report if self._replication else None

    def behind(self) -> tuple[str, ...]:
        """The labels of the CAs that are answered tryLater because something newer is known."""
        late = self._peers.behind if self._peers else frozenset()
        if not late:  # as nearly always, and there may be ten thousand CAs
            return ()
        return tuple(sorted({point.label for point in self._watch.published.points if point.authority_id in late}))

    def failing(self) -> tuple[tuple[str, str], ...]:
        """Name and error of each piece of work for the set that could not be done."""
        return tuple(sorted(self._upkeep.errors.items()))


def _report(state: PeerState, elsewhere: Mapping[IssuingPointId, Epoch | None]) -> MemberReport:
    points = sorted(elsewhere.items(), key=lambda each: each[0])
    return MemberReport(
        id=state.member.id,
        role="clone" if state.member.clone else "master",
        reachable=state.reachable,
        seen_at=state.seen_at,
        skew_seconds=state.skew_seconds,
        lags=tuple((*_place(lag.point), lag.seconds) for lag in state.lags),
        error=state.error,
        crls=tuple((*_place(point), one.newest.crl_number) for point, one in points if one is not None),
        lacking=tuple(_place(point) for point, one in points if one is None),
    )


def _place(point: IssuingPointId) -> tuple[str, str]:
    return point.authority_id, point.scope_id
