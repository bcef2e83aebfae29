"""The other members of the set and the work done for it, as the health port and `vouchd status` show them."""

from __future__ import annotations

from collections.abc import Callable

from vouchd.api.checks import Check, advice
from vouchd.cloning.peers import Peers, PeerState
from vouchd.cloning.replicas import ReplicationWatch
from vouchd.cloning.verdicts import Verification
from vouchd.instance.report import MemberReport, ReplicationReport, ServerReport
from vouchd.processes.upkeep import Upkeeping
from vouchd.processes.watching import StoreWatch

SKEW_SECONDS = 10  # more than a question may take on its way
LAG_SECONDS = 60  # more than changes are under way while a server is only busy


class OtherMembers:
    """Reads what was seen of the other members last; asks nobody.

    `loaded` tells whether every worker answers from what was published last; `verification` is the newest comparison.
    """

    def __init__(
        self,
        peers: Peers | None,
        upkeep: Upkeeping,
        watch: StoreWatch,
        loaded: Callable[[], bool] = lambda: True,
        replication: ReplicationWatch | None = None,
        verification: Callable[[], Verification | None] = lambda: None,
    ) -> None:
        self.verification = verification
        self._replication = replication
        self._loaded = loaded
        self._untold = ""
        self._peers = peers
        self._upkeep = upkeep
        self._watch = watch

    def reports(self) -> tuple[MemberReport, ...]:
        """Each of them, ordered as the registry has them."""
        return tuple(_report(state) for state in self._peers.states) if self._peers else ()

    def replication(self) -> ReplicationReport | None:
        """How the directory servers replicate, None where there are none or this is not known."""
        return self._replication.report if self._replication else None

    def behind(self) -> tuple[str, ...]:
        """The labels of the CAs that are answered tryLater because another member has a newer CRL."""
        late = self._peers.behind if self._peers else frozenset()
        return tuple(sorted({point.label for point in self._watch.published.points if point.authority_id in late}))

    def untold(self) -> str:
        """Why nothing may be answered: a CA is behind, and the workers cannot be told so. Empty: they were told.

        What kept them silent does so until each has loaded what was published at last: until then they know nothing
        newer.
        """
        late = self._peers.behind if self._peers else frozenset()
        known = {point.authority_id for point in self._watch.published.points}
        if self._watch.error and not late & known <= self._watch.published.behind:
            self._untold = f"another member has a newer CRL, and it cannot be published: {self._watch.error}"
        elif self._loaded():
            self._untold = ""
        return self._untold

    def failing(self) -> tuple[tuple[str, str], ...]:
        """Name and error of each piece of work for the set that could not be done."""
        return tuple(sorted(self._upkeep.errors.items()))

    def checks(self) -> tuple[Check, ...]:
        """Readiness: a member that answers for no CA any more is taken out, all else is for the eye and for alerts."""
        members, late = self.reports(), self.behind()
        every = bool(late) and set(late) == {point.label for point in self._watch.published.points}
        skewed = [f"{one.id} by {one.skew_seconds} s" for one in members if abs(one.skew_seconds) > SKEW_SECONDS]
        words = f"answered tryLater, another member has a newer CRL: {', '.join(late)}"
        return (
            advice("members", "not reachable", [one.id for one in members if not one.reachable]),
            Check("behind", not late, words if late else "no other member has a newer CRL for long", required=every),
            advice("clocks", "differ", skewed),
            advice("replication", "not flowing", self._stuck()),
            advice("verification", "not like this instance", self._different()),
            advice("upkeep", "failing", [f"{name} ({error})" for name, error in self.failing()]),
        )

    def _stuck(self) -> list[str]:
        """The directory servers that changes do not reach, or late, each with the reason and what to do."""
        report = self.replication()
        told = ((one, _trouble(one)) for one in report.servers) if report else ()
        return [f"{one.server} ({words})" for one, words in told if words]

    def _different(self) -> list[str]:
        """The members whose lists or answers differ, each with the first difference; who is away is told elsewhere."""
        found = self.verification()
        return [f"{one.id} ({one.told[0]})" for one in found.members if one.told] if found else []


def _trouble(server: ServerReport) -> str:
    if server.why:
        return "; ".join(filter(None, (server.why, server.hint)))
    late = server.lag_seconds or 0
    return f"behind for {late} s; `vouchd directory status` says more" if late > LAG_SECONDS else ""


def _report(state: PeerState) -> MemberReport:
    return MemberReport(
        id=state.member.id,
        role="clone" if state.member.clone else "master",
        reachable=state.reachable,
        seen_at=state.seen_at,
        skew_seconds=state.skew_seconds,
        lags=tuple((point.authority_id, point.scope_id, seconds) for point, seconds in state.lag_seconds),
        error=state.error,
        crls=tuple(
            (one.issuing_point.authority_id, one.issuing_point.scope_id, one.newest.crl_number) for one in state.epochs
        ),
    )
