"""The readiness checks: what is made of the instance's report for `/readyz`, REST and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vouchd.cloning.verdicts import Verification
from vouchd.instance.hindrances import hindrances
from vouchd.instance.report import LAG_SECONDS, SKEW_SECONDS, InstanceReport, ServerReport
from vouchd.service.selftests import failures


@dataclass(frozen=True, slots=True)
class Check:
    """One condition; readiness needs those that are `required`, the others are for the eye."""

    name: str
    ok: bool
    detail: str
    required: bool = True

    @property
    def title(self) -> str:
        """What it is about, as a page calls it."""
        return TITLES[self.name]


TITLES = {
    "workers": "Worker processes",
    "answering": "Answering",
    "store": "Store",
    "serving": "CRLs in use",
    "verified": "Store and answers",
    "crls": "Age of CRLs",
    "certificates": "Certificates",
    "proved": "Proof of the start",
    "parts": "Parts",
    "sources": "CRL sources",
    "selftests": "Self tests",
    "revocations": "Revocations",
    "audit": "Audit log",
    "members": "Members",
    "behind": "Newer CRLs",
    "clocks": "Clocks",
    "replication": "Replication",
    "verification": "Comparison",
    "signers": "Signers",
    "upkeep": "Upkeep",
}


def advice(name: str, fine: str, problem: str, names: Sequence[str]) -> Check:
    """A check that is for the eye, failed while it names anything; `fine` is said of it otherwise."""
    return Check(name, not names, f"{problem}: {', '.join(names)}" if names else fine, required=False)


def checks(report: InstanceReport, verification: Verification | None, now: int) -> tuple[Check, ...]:
    """All of them at `now`; those that are required decide, the others are for the eye and for alerts."""
    return (*_of_this_instance(report, now), *_of_the_set(report, verification))


def _of_this_instance(report: InstanceReport, now: int) -> tuple[Check, ...]:
    ready, workers, audit = report.workers_ready, len(report.workers), report.audit
    stale = [one.label for one in report.issuing_points if one.next_update is not None and one.next_update <= now]
    doubtful = [f"not served as the store has it: {one.label} ({one.why})" for one in report.unverified]
    ending = [
        f"{name} {words}" for name, validity in report.certificates if (words := report.ending(name, validity, now))
    ]
    return (
        Check("workers", ready > 0, f"{ready} of {workers} answer from manifest {report.version}"),
        Check("answering", not report.halting, report.halting or "no critical self test failed"),
        Check("store", not report.store_error, report.store_error or "can be reached", required=False),
        Check("serving", bool(report.issuing_points), f"{len(report.issuing_points)} issuing points are answered from"),
        Check("verified", not doubtful, "; ".join(doubtful) or "what the store holds is what is answered from"),
        advice("crls", "each is current", "past nextUpdate", stale),
        advice("certificates", "none ends soon", "ending soon", ending),
        Check(
            "proved",
            not report.starting,
            f"starting: {report.starting}" if report.starting else "no CA waits to be proved",
            required=False,
        ),
        _parts(report),
        advice("sources", "no source fails", "failing", [state.name for state in report.sources if state.last_error]),
        advice("selftests", "no self test failed", "failed", failures(report.selftests)),
        advice(
            "revocations",
            "all that are known are answered",
            "kept from being answered",
            [str(one) for one in hindrances(report, now)],
        ),
        Check("audit", audit.up, "is written" if audit.up else audit.why or "cannot be written", required=False),
    )


def _parts(report: InstanceReport) -> Check:
    """The parts that cannot be used; an instance that answers for no CA any more for it is not ready."""
    labels = {point.label for point in report.issuing_points}
    every = bool(labels) and labels <= {one.ca for one in report.failing}
    words = "; ".join(f"{one.part}: {one.cause}" for one in report.failing)
    return Check("parts", not report.failing, words or "all can be used", required=every)


def _of_the_set(report: InstanceReport, verification: Verification | None) -> tuple[Check, ...]:
    """A member that answers for no CA any more is taken out."""
    members, late = report.members, report.behind
    every = bool(late) and set(late) == {point.label for point in report.issuing_points}
    skewed = [f"{one.id} by {one.skew_seconds} s" for one in members if abs(one.skew_seconds) > SKEW_SECONDS]
    words = f"answered tryLater, a newer CRL is known and not answered from: {', '.join(late)}"
    return (
        advice(
            "members",
            "every other member can be reached",
            "not reachable",
            [one.id for one in members if not one.reachable],
        ),
        Check("behind", not late, words if late else "nothing newer is known for long", required=every),
        advice("clocks", "all agree", "differ", skewed),
        advice("replication", "changes reach every directory server", "not flowing", _stuck(report)),
        advice(
            "verification", "no member was seen to answer otherwise", "not like this instance", _different(verification)
        ),
        advice("signers", "no new signer waits", "not switched to yet", [str(one) for one in report.waiting_signers]),
        advice("upkeep", "all of it is done", "failing", [f"{name} ({error})" for name, error in report.upkeep]),
    )


def _stuck(report: InstanceReport) -> list[str]:
    """The directory servers that changes do not reach, or late, each with the reason and what to do."""
    servers = report.replication.servers if report.replication else ()
    return [f"{one.server} ({words})" for one in servers if (words := _trouble(one))]


def _trouble(server: ServerReport) -> str:
    if server.why:
        return "; ".join(filter(None, (server.why, server.hint)))
    late = server.lag_seconds or 0
    return f"behind for {late} s; `vouchd directory status` says more" if late > LAG_SECONDS else ""


def _different(verification: Verification | None) -> list[str]:
    """The members whose lists or answers differ, each with the first difference; who is away is told elsewhere."""
    return [f"{one.id} ({one.examples[0]})" for one in verification.members if one.examples] if verification else []
