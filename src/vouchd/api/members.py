"""The security domain: its members, and comparing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert

from vouchd.api import shapes
from vouchd.api.instance import MemberLag
from vouchd.api.model import SHA256, AuthorityId, Count, MemberId, Moment, ScopeId, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.api.services import Services
from vouchd.cloning import verdicts
from vouchd.cloning.membership import CLONE_REFRESH_SECONDS
from vouchd.cloning.registry import master_of
from vouchd.cloning.verdicts import read_verification, verification_of
from vouchd.cloning.verifying import SETTLE_SECONDS
from vouchd.core import facts
from vouchd.errors import LifecycleError, NotFound, StoreUnavailable
from vouchd.instance.report import MemberReport, ServedPoint
from vouchd.service.permission import Action

MAX_SAMPLE, MAX_SERIALS, MAX_SETTLE_SECONDS = 100, 1000, 60
Role = Literal["master", "clone"]
FactsIn = Literal["embedded store", "directory server"]
Domain = Annotated[str, about("The name of the security domain.", "Example Security Domain")]


class DirectoryServer(Struct, frozen=True):
    """The directory server of a member."""

    address: Annotated[str, about("Its address.", "ldap1.example.org:636")]
    connection: Annotated[str, about("How it is reached.", "ldaps")]
    replica_id: Annotated[int | None, about("Its replica id; null: it does not replicate.", 1)]


class MemberCRL(Struct, frozen=True):
    """The CRL that a member answers from."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    scope: Annotated[ScopeId, about("The scope of the issuing point.")]
    crl_number: Annotated[int | None, about("Its number.", 42)]


class SeenMember(Struct, frozen=True):
    """How a member was seen last."""

    reachable: Annotated[bool, about("Whether it answered.")]
    seen_at: Annotated[Moment | None, about("When it answered last; null: never.")]
    clock_skew_seconds: Annotated[int, about("Its clock before ours.", 0)]
    error: Annotated[Words, about("Why it is not reachable; empty: it is.")]
    lags: Annotated[list[MemberLag], about("Where it has other CRLs than this instance.")]
    crls: Annotated[list[MemberCRL], about("The CRLs that it answers from.")]


class Member(Struct, frozen=True):
    """A member of the security domain."""

    id: Annotated[MemberId, about("Its id: HOST:PORT of its agent port.")]
    role: Annotated[Role, about("Its role.")]
    ee_port: Annotated[Count, about("Its OCSP port.", 8080)]
    directory: Annotated[DirectoryServer | None, about("Its directory server; null: it has the embedded store.")]
    joined_at: Annotated[Moment, about("When it joined.")]
    fingerprint: Annotated[SHA256, about("SHA-256 of the certificate of its agent port.")]
    seen: Annotated[SeenMember | None, about("How it was seen last; null: it was not, or it is this instance.")]


class SecurityDomain(Struct, frozen=True):
    """The security domain."""

    name: Annotated[Domain, about("Its name.")]
    this_instance: Annotated[MemberId | None, about("The id of this instance; null: it is in no domain.")]
    master: Annotated[MemberId | None, about("The id of the master.")]
    facts_in: Annotated[FactsIn, about("Where the facts of this instance are.")]
    members: Annotated[list[Member], about("The members.")]


class Place(Struct, frozen=True):
    """The place of this instance in its set."""

    domain: Annotated[Domain, about("The name of the security domain.")]
    this_instance: Annotated[MemberId, about("The id of this instance.")]
    role: Annotated[Role, about("Its role.")]
    master: Annotated[MemberId | None, about("The id of the master; null: not known now.")]
    facts_in: Annotated[FactsIn, about("Where the facts of this instance are.")]
    registry_error: Annotated[Words, about("Why the registry cannot be read now; empty: it can.")]


class VerifiedDifference(Struct, frozen=True, rename={"ours": "here", "theirs": "there"}):
    """A difference between this instance and another member."""

    level: Annotated[str, about("`list`, `status`, `ResponseData` or `bytes`, the first that is not alike.", "bytes")]
    what: Annotated[str, about("The CA or CRL in the list, or the certificate.", "revoked 0x1f of Example Root")]
    way: Annotated[str, about("How it was asked for.", "GET")]
    field: Annotated[str, about("What is different.", "signature")]
    ours: Annotated[str, about("How it is here.", "00")]
    theirs: Annotated[str, about("How it is there.", "01")]


class VerifiedMember(Struct, frozen=True, rename={"questions": "asked", "examples": "told"}):
    """How far another member is like this instance."""

    id: Annotated[MemberId, about("Its id.")]
    state: Annotated[Literal["identical", "different", "no answer"], about("In a word.")]
    error: Annotated[Words, about("Why something could not be compared; empty: all could.")]
    questions: Annotated[Count, about("How many questions were put to both.", 60)]
    status: Annotated[Count, about("How many answers had the same statuses.", 60)]
    response_data: Annotated[Count, about("How many answers had the same ResponseData.", 60)]
    bytes: Annotated[Count, about("How many answers were the same bytes.", 40)]
    bytes_asked: Annotated[Count, about("How many can be: the others are signed anew each time.", 40)]
    differences: Annotated[Count, about("How many differences there are.", 0)]
    examples: Annotated[list[VerifiedDifference], about("The first of them.")]
    expected: Annotated[
        list[Words],
        about("Of a Certificate System: its habits that explain other differences.", ["producedAt (40): …"]),
    ] = []


class Verification(Struct, frozen=True):
    """A comparison of this instance with the other members."""

    at: Annotated[Moment, about("When it was made.")]
    identical: Annotated[bool, about("Whether nothing is different.")]
    members: Annotated[list[VerifiedMember], about("The other members.")]


class VerificationRun(Struct, frozen=True, forbid_unknown_fields=True):
    """What to compare."""

    sample: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_SAMPLE)] | None,
        about("So many certificates of each kind and CA; null: 5, and 1000 of all CAs together.", 5),
    ] = None
    serials: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=200)]],
        Meta(max_length=MAX_SERIALS),
        about("These serial numbers instead, of every CA.", ["0x52a1c7"]),
    ] = []
    settle_seconds: Annotated[
        float,
        Meta(ge=0, le=MAX_SETTLE_SECONDS),
        about("Where there is a difference, compare again for so many seconds.", 10.0),
    ] = SETTLE_SECONDS


def _members(call: Call) -> SecurityDomain:
    services = call.services
    members = services.domain.members(call.caller)
    me, master = services.membership.me(), master_of(members)
    seen = _others_seen(call)
    return SecurityDomain(
        name=services.settings.of_set.domain,
        this_instance=me.id if me else None,
        master=master.id if master else None,
        facts_in=_facts_in(services),
        members=[_member(one, master, seen.get(one.id)) for one in members],
    )


def _others_seen(call: Call) -> dict[str, SeenMember]:
    """The other members as the running instance saw them last, by id; none while it does not run."""
    try:
        report = call.running.report()
    except LifecycleError:
        return {}
    return {one.id: _seen(one, report.issuing_points) for one in report.members}


def _member(member: facts.Member, master: facts.Member | None, seen: SeenMember | None) -> Member:
    return Member(
        id=member.id,
        role="master" if member == master else "clone",
        ee_port=member.ee_port,
        directory=_directory(member.directory) if member.directory else None,
        joined_at=shapes.moment(member.joined_at),
        fingerprint=member.tls_sha256,
        seen=seen,
    )


def _directory(server: facts.DirectoryServer) -> DirectoryServer:
    return DirectoryServer(address=server.address, connection=server.transport.value, replica_id=server.replica_id)


def _seen(member: MemberReport, points: Iterable[ServedPoint]) -> SeenMember:
    return SeenMember(
        reachable=member.reachable,
        seen_at=shapes.maybe_moment(member.seen_at),
        clock_skew_seconds=member.skew_seconds,
        error=member.error,
        lags=[MemberLag(*lag) for lag in member.lags],
        crls=[MemberCRL(*place, number) for place, number in member.crl_numbers(points).items()],
    )


def _place(call: Call) -> Place:
    services = call.services
    me, seen = services.settings.member_id, call.running.report().members
    master = next((one.id for one in seen if one.role == "master"), None)
    is_clone = services.settings.refresh_seconds == CLONE_REFRESH_SECONDS
    failure = ""
    try:
        members = services.domain.members(call.caller)
    except StoreUnavailable as error:
        failure = str(error)
    else:
        if me not in {one.id for one in members}:
            raise NotFound("this instance is in no security domain", hint="vouchd clone prepare makes it the master")
        first = master_of(members)
        master = first.id if first else None
        is_clone = me != master
    return Place(
        domain=services.settings.of_set.domain,
        this_instance=me,
        role="clone" if is_clone else "master",
        master=master or (None if is_clone else me),
        facts_in=_facts_in(services),
        registry_error=failure,
    )


def _facts_in(services: Services) -> FactsIn:
    return "directory server" if services.settings.directory else "embedded store"


def _latest(call: Call) -> Verification:
    call.services.permission.allow(call.caller, Action.READ_DOMAIN, "verification")
    verification = read_verification(call.services.layout.verification)
    if verification is None:
        raise NotFound("nothing was compared yet", hint="vouchd clone verify compares this instance with the others")
    return _verification(verification)


def _verify(call: Call) -> Verification:
    wanted: VerificationRun = call.body
    call.services.permission.allow(call.caller, Action.VERIFY_MEMBERS, "*")
    serials = [shapes.serial_octets(one) for one in wanted.serials]
    return _verification(call.services.verifying.verify(wanted.sample, serials, wanted.settle_seconds))


def read_shape(shape: Mapping[str, Any]) -> verdicts.Verification:
    """The comparison of which an operation gave that shape."""
    return verification_of({**shape, "at": shapes.posix(shape["at"], "at")})


def _verification(verification: verdicts.Verification) -> Verification:
    return Verification(
        at=shapes.moment(verification.at),
        identical=verification.identical,
        members=convert(verification.members, list[VerifiedMember], from_attributes=True),
    )


OPERATIONS = (
    Operation(
        "GET",
        "/members",
        "members.list",
        "The members of the security domain, and how the others were seen last",
        Action.READ_DOMAIN,
        _members,
        SecurityDomain,
    ),
    Operation(
        "GET",
        "/members/place",
        "members.place",
        "The place of this instance in its set; known from what was seen of the others while the store is away",
        Action.READ_DOMAIN,
        _place,
        Place,
        refusals={404: "The instance is in no set."},
    ),
    Operation(
        "GET",
        "/verification",
        "members.verification",
        "The newest comparison of this instance with the other members",
        Action.READ_DOMAIN,
        _latest,
        Verification,
        refusals={404: "Nothing was compared yet."},
    ),
    Operation(
        "POST",
        "/verification",
        "members.verify",
        "Compare lists and answers with the other members now, and wait for the result",
        Action.VERIFY_MEMBERS,
        _verify,
        Verification,
        body=VerificationRun,
        refusals={502: "This instance does not answer."},
    ),
)
