"""The instance as it runs, or does not: its state, its figures; having it restart."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Struct, convert

from vouchd import __version__
from vouchd.api import shapes
from vouchd.api.model import AuthorityId, Count, Label, MemberId, Moment, ScopeId, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.api.sources import Source, shape
from vouchd.cloning.verdicts import VerifiedMember, read_verification
from vouchd.ee.counters import SIGNATURE_BUCKETS
from vouchd.errors import LifecycleError
from vouchd.instance import hindrances, report
from vouchd.service.permission import Action

State = Literal["stopped", "starting", "loading", "running", "halted"]
STOPPED, STARTING, LOADING, RUNNING, HALTED = get_args(State)
Pid = Annotated[int, about("A process.", 4711)]
Address = Annotated[str, about("A URL.", "http://127.0.0.1:8080/")]


class UnverifiedCRL(Struct, frozen=True):
    """A CRL that the store holds and this member does not serve, because it could not verify it."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    scope: Annotated[ScopeId, about("The scope of the issuing point.")]
    label: Annotated[Label, about("What the CA is called.")]
    why: Annotated[str, about("Why it does not pass.", "its signature is wrong")]


class Hindrance(Struct, frozen=True):
    """What keeps revocations from being answered."""

    cause: Annotated[hindrances.Cause, about("The kind of it.")]
    name: Annotated[str, about("The CA, source, certificate, member or server.", "Example Root")]
    why: Annotated[str, about("What is known of it.", "CRL 43 is held back: loses 40 of 50 entries")]


class UpkeepFailure(Struct, frozen=True):
    """Work for the set that fails."""

    name: Annotated[str, about("The work.", "following")]
    error: Annotated[str, about("Why it fails.", "the master does not answer")]


class Check(Struct, frozen=True):
    """A readiness check."""

    name: Annotated[str, about("Its name.", "workers")]
    ok: Annotated[bool, about("Whether it passed.")]
    required: Annotated[bool, about("Whether the instance is not ready without it.")]
    detail: Annotated[str, about("What was seen.", "2 of 2 answer from manifest 7")]


class ServedPoint(Struct, frozen=True):
    """An issuing point as the workers answer from it."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    label: Annotated[Label, about("What the CA is called.")]
    scope: Annotated[ScopeId, about("The scope of the issuing point.")]
    sequence: Annotated[Count, about("The number of this state; it rises with each CRL taken.", 3)]
    crl_number: Annotated[int | None, about("The number of the newest CRL.", 42)]
    this_update: Annotated[Moment, about("thisUpdate of the newest CRL.")]
    next_update: Annotated[Moment | None, about("nextUpdate of the newest CRL; null: it names none.")]
    entries: Annotated[Count, about("Revoked certificates.", 12)]
    index_bytes: Annotated[Count, about("The size of its index file.", 4096)]


class MemberLag(Struct, frozen=True):
    """For how long a member has had an older CRL than this instance; negative: a newer one."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    scope: Annotated[ScopeId, about("The scope of the issuing point.")]
    seconds: Annotated[int, about("The time.", 4)]


class OtherMember(Struct, frozen=True):
    """Another member of the set, as it was seen last."""

    id: Annotated[MemberId, about("Its id.")]
    role: Annotated[str, about("`master` or `clone`.", "clone")]
    reachable: Annotated[bool, about("Whether it answered.")]
    seen_at: Annotated[Moment | None, about("When it answered last; null: never.")]
    clock_skew_seconds: Annotated[int, about("Its clock before ours.", 0)]
    error: Annotated[Words, about("Why it is not reachable; empty: it is.")]
    lags: Annotated[list[MemberLag], about("Where it has other CRLs than this instance.")]
    compared: Annotated[str | None, about("How it came out of the newest comparison; null: of none.", "identical")]
    compared_at: Annotated[Moment | None, about("When that was.")]


class ReplicatingServer(Struct, frozen=True):
    """The directory server of another member."""

    member: Annotated[MemberId, about("The member.")]
    state: Annotated[str, about("`green`, `amber` (changes are under way) or `red` (they do not flow).", "green")]
    lag_seconds: Annotated[int | None, about("The age of the newest change that it lacks; null: not known.", 0)]


class ReplicationState(Struct, frozen=True):
    """How the directory servers of the set replicate."""

    conflicts: Annotated[Count, about("Entries that two servers made at one time.", 0)]
    stale_replicas: Annotated[list[int], about("Ids of servers that left the set and were not cleaned up.", [])]
    servers: Annotated[list[ReplicatingServer], about("The servers of the other members.")]


class Renewal(Struct, frozen=True):
    """A certificate that renews itself."""

    name: Annotated[str, about("The certificate.", "sslserver")]
    by: Annotated[str, about("Who certifies the next one: `ca`, `est`, `certsystem` or `exec`.", "est")]
    due_at: Annotated[Moment | None, about("When it does; null: not known.")]
    error: Annotated[Words, about("Why the last attempt failed; empty: it did not.")]
    waiting: Annotated[Words, about("What the next certificate, which has come, waits for; empty: nothing.")]


class Instance(Struct, frozen=True):
    """What the instance serves now."""

    state: Annotated[
        State,
        about(
            "`loading`: not every worker answers from the newest manifest yet; `halted`: it answers tryLater only.",
            "running",
        ),
    ]
    halted: Annotated[Words, about("The self test that keeps it from answering; empty: it answers.")]
    version: Annotated[str, about("The version of vouchd.", __version__)]
    pid: Annotated[Pid | None, about("The manager process.")]
    started_at: Annotated[Moment | None, about("When it started.")]
    manifest: Annotated[Count, about("The number of what is served; 0 before the first.", 7)]
    up_to_date: Annotated[bool, about("Every worker answers from that manifest.")]
    workers: Annotated[Count, about("How many workers there are.", 2)]
    worker_processes: Annotated[list[Pid], about("Their processes.")]
    workers_confined: Annotated[Count, about("Those that cannot open the instance's files.", 2)]
    proved: Annotated[Count, about("CAs that were proved since the start, whether or not they passed.", 2)]
    to_prove: Annotated[Count, about("Of how many; while it is more, the others are answered tryLater.", 2)]
    restarts: Annotated[Count, about("Worker processes that were started anew.", 0)]
    refusals: Annotated[Count, about("Restarts of the instance that were refused since its start.", 0)]
    refused: Annotated[Words, about("Why the last one was.")]
    store_error: Annotated[Words, about("Empty while the store can be reached.")]
    index_repairs: Annotated[Count, about("Index files that were damaged and made again.", 0)]
    unverified: Annotated[
        list[UnverifiedCRL],
        about("What the store holds and this member does not serve, because it could not verify it.", []),
    ]
    hindrances: Annotated[list[Hindrance], about("What keeps revocations from being answered.", [])]
    ocsp_port: Annotated[Count, about("The OCSP port.", 8080)]
    ocsp: Annotated[Address | None, about("URL of the OCSP port.")]
    health: Annotated[Address | None, about("URL of the health port.")]
    agents: Annotated[Address | None, about("URL of the agent port; null while it is off.")]
    behind: Annotated[list[Label], about("CAs of which another member has had a newer CRL for too long.", [])]
    upkeep: Annotated[list[UpkeepFailure], about("The work for the set that fails.", [])]
    renewals: Annotated[list[Renewal], about("The certificates that renew themselves.", [])]
    checks: Annotated[list[Check], about("The readiness checks.")]
    issuing_points: Annotated[list[ServedPoint], about("The issuing points that are answered from.")]
    sources: Annotated[list[Source], about("The sources of CRLs.")]
    members: Annotated[list[OtherMember], about("The other members of the set, as last seen.")]
    replication: Annotated[ReplicationState | None, about("How the directory servers replicate; null: there are none.")]


class Restarting(Struct, frozen=True):
    """A restart that is about to happen."""

    restarting: Annotated[bool, about("Whether it is about to.")]
    started_at: Annotated[Moment, about("When the instance started that is running still.")]


class Bucket(Struct, frozen=True):
    """Signatures that took up to so long, and longer than those of the bucket before."""

    up_to_seconds: Annotated[float | None, about("The bound; null: none.", 0.0005)]
    count: Annotated[Count, about("How many.", 980)]


Counts = dict[str, Count]


class Statistics(Struct, frozen=True):
    """Figures of all workers together since the start."""

    at: Annotated[Moment, about("The time of these figures.")]
    since: Annotated[Moment, about("When the instance started.")]
    answers: Annotated[Counts, about("Answers by OCSP response status.", {"successful": 1000})]
    errors: Annotated[Counts, about("Requests that were refused, by kind.", {"malformed": 1})]
    cert_statuses: Annotated[Counts, about("Statuses that were answered.", {"good": 990, "revoked": 10})]
    cache_hits: Annotated[Count, about("Answers out of the cache.", 900)]
    cache_misses: Annotated[Count, about("Answers that were not there.", 100)]
    signatures: Annotated[Count, about("Signatures made.", 100)]
    signature_seconds: Annotated[float, about("The time that these took.", 0.05)]
    signature_histogram: Annotated[list[Bucket], about("How long they took.")]
    gauges: Annotated[dict[str, float], about("Further figures by name, of now.", {"connections": 12})]


def _instance(call: Call) -> Instance:
    running = call.running
    try:
        now = running.report()
    except LifecycleError:  # stopped, or not ready
        return _silent(running.pid())
    return Instance(
        state=HALTED if now.halted else RUNNING if now.acknowledged else LOADING,
        halted=now.halted,
        version=__version__,
        pid=now.pid,
        started_at=shapes.moment(now.started_at),
        manifest=now.version,
        up_to_date=now.acknowledged,
        workers=len(now.workers),
        worker_processes=[worker.pid for worker in now.workers],
        workers_confined=sum(worker.confined for worker in now.workers),
        proved=now.proved,
        to_prove=now.to_prove,
        restarts=now.restarts,
        refusals=now.refusals,
        refused=now.refused,
        store_error=now.store_error,
        index_repairs=now.index_repairs,
        unverified=[
            UnverifiedCRL(authority=one.authority_id, scope=one.scope_id, label=one.label, why=one.why)
            for one in now.unverified
        ],
        hindrances=convert(hindrances.hindrances(now, call.clock.now()), list[Hindrance], from_attributes=True),
        ocsp_port=now.ee[1],
        ocsp=_url(now.ee),
        health=_url(now.health),
        agents=_url(now.agent, "https") if now.agent else None,
        behind=list(now.behind),
        upkeep=[UpkeepFailure(name=name, error=error) for name, error in now.upkeep],
        renewals=[renewal_shape(one) for one in now.renewals],
        checks=convert(running.checks(), list[Check], from_attributes=True),
        issuing_points=[_served(point) for point in now.issuing_points],
        sources=[shape(state) for state in now.sources],
        members=_others(call, now.members),
        replication=convert(now.replication, ReplicationState | None, from_attributes=True),
    )


def renewal_shape(renewal: report.RenewalReport) -> Renewal:
    """A certificate that renews itself."""
    return Renewal(
        name=renewal.name,
        by=renewal.way,
        due_at=shapes.maybe_moment(renewal.due_at),
        error=renewal.why,
        waiting=renewal.waiting,
    )


def _silent(pid: int | None) -> Instance:
    """The same of an instance that serves nothing."""
    return Instance(
        state=STARTING if pid else STOPPED,
        halted="",
        version=__version__,
        pid=pid,
        started_at=None,
        manifest=0,
        up_to_date=False,
        workers=0,
        worker_processes=[],
        workers_confined=0,
        proved=0,
        to_prove=0,
        restarts=0,
        refusals=0,
        refused="",
        store_error="",
        index_repairs=0,
        unverified=[],
        hindrances=[],
        ocsp_port=0,
        ocsp=None,
        health=None,
        agents=None,
        behind=[],
        upkeep=[],
        renewals=[],
        checks=[],
        issuing_points=[],
        sources=[],
        members=[],
        replication=None,
    )


def _others(call: Call, members: tuple[report.MemberReport, ...]) -> list[OtherMember]:
    verification = read_verification(call.layout.verification) if members else None
    verified = {one.id: one for one in verification.members} if verification else {}
    at = verification.at if verification else None
    return [_other(one, verified.get(one.id), at) for one in members]


def _other(member: report.MemberReport, verified: VerifiedMember | None, at: int | None) -> OtherMember:
    return OtherMember(
        id=member.id,
        role=member.role,
        reachable=member.reachable,
        seen_at=shapes.maybe_moment(member.seen_at),
        clock_skew_seconds=member.skew_seconds,
        error=member.error,
        lags=[MemberLag(*lag) for lag in member.lags],
        compared=verified.state if verified else None,
        compared_at=shapes.maybe_moment(at) if verified else None,
    )


def _url(address: tuple[str, int], scheme: str = "http") -> str:
    host, port = address
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def _served(point: report.ServedPoint) -> ServedPoint:
    return ServedPoint(
        authority=point.authority_id,
        label=point.label,
        scope=point.scope_id,
        sequence=point.sequence,
        crl_number=point.crl_number,
        this_update=shapes.moment(point.this_update),
        next_update=shapes.maybe_moment(point.next_update),
        entries=point.entries,
        index_bytes=point.index_bytes,
    )


def _statistics(call: Call) -> Statistics:
    call.services.permission.allow(call.caller, Action.READ_STATISTICS, "statistics")
    snapshot = call.running.snapshot()
    counters, buckets = snapshot.get("counters", {}), (*SIGNATURE_BUCKETS, None)
    histogram = counters.get("signature_counts", [0] * len(buckets))
    gauges = {name: value for name, value in snapshot.get("gauges", {}).items() if isinstance(value, int | float)}
    return Statistics(
        at=shapes.moment(call.services.clock.now()),
        since=shapes.moment(call.running.report().started_at),
        answers=counters.get("answers", {}),
        errors=counters.get("errors", {}),
        cert_statuses=counters.get("cert_statuses", {}),
        cache_hits=counters.get("cache_hits", 0),
        cache_misses=counters.get("cache_misses", 0),
        signatures=sum(histogram),
        signature_seconds=counters.get("signature_seconds", 0.0),
        signature_histogram=[Bucket(*one) for one in zip(buckets, histogram, strict=False)],
        gauges=gauges,
    )


def _restart(call: Call) -> Restarting:
    call.services.permission.allow(call.caller, Action.RESTART, "instance")
    started_at = call.running.report().started_at
    call.running.restart()
    return Restarting(restarting=True, started_at=shapes.moment(started_at))


OPERATIONS = (
    Operation(
        "GET",
        "/instance",
        "instance.get",
        "What the instance serves now, with its readiness checks",
        Action.READ_STATISTICS,
        _instance,
        Instance,
    ),
    Operation(
        "GET",
        "/statistics",
        "instance.statistics",
        "Figures of all workers together since the start",
        Action.READ_STATISTICS,
        _statistics,
        Statistics,
    ),
    Operation(
        "POST",
        "/restart",
        "instance.restart",
        "Restart with the settings and certificates that are there now; nothing is dropped",
        Action.RESTART,
        _restart,
        Restarting,
        status=202,
        refusals={
            409: "A setting, a certificate or a critical self test keeps it from restarting; it goes on as it was."
        },
    ),
)
