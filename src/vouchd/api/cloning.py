"""The set changed: who may join, who leaves, who is the master; and how the directory servers replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, Struct, convert

from vouchd.api import shapes
from vouchd.api.keys import KeyName, Password
from vouchd.api.model import SHA256, Changes, Count, MemberId, Moment, about
from vouchd.api.operation import Call, Operation
from vouchd.cloning import leaving
from vouchd.cloning.preparation import prepare
from vouchd.cloning.registry import LONGEST_TOKEN_SECONDS, TOKEN_SECONDS, master_of
from vouchd.cloning.replication import replication_health, retiring
from vouchd.cloning.roles import Handing
from vouchd.core.facts import Transport
from vouchd.service.permission import Action

if TYPE_CHECKING:  # it brings an LDAP library along, which the embedded store starts without
    from vouchd.directory.health import PeerHealth

_NAME_DIGITS = 16
Server = Annotated[str, about("A directory server.", "ldap1.example.org:636")]
ReplicaId = Annotated[int, about("The id of a replica.", 1)]


class JoinTokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """For how long a join token shall be good."""

    seconds: Annotated[int, Meta(ge=1, le=LONGEST_TOKEN_SECONDS), about("For so many seconds.", 600)] = TOKEN_SECONDS


class JoinToken(Struct, frozen=True):
    """A join token, shown this once and kept nowhere."""

    token: Annotated[str, about("The token.", "Zm9yIG9uZSBpbnN0YW5jZSBvbmx5")]
    good_until: Annotated[Moment, about("Until when it is good, once.")]


class KnownToken(Struct, frozen=True):
    """A join token that is good still; what it reads is kept nowhere."""

    id: Annotated[str, about("By what it is named: the first digits of its SHA-256.", "4f2a91c07bd1e6f3")]
    good_until: Annotated[Moment, about("Until when it is good, once.")]
    issued_by: Annotated[str, about("Who made it.", "alice")]


class Preparation(Struct, frozen=True, forbid_unknown_fields=True):
    """How a member is made ready to be cloned; without a password no keys are taken out, where a token has them."""

    password: Annotated[Password | None, about("The password that the keys are put under; null: none are taken.")] = (
        None
    )
    host: Annotated[
        str,
        Meta(max_length=253, pattern="^[A-Za-z0-9.:-]*$"),
        about("Its fully qualified name, as clones reach it.", "ocsp1.example.org"),
    ] = ""
    domain: Annotated[
        str,
        Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
        about("The name of the security domain.", "Example Security Domain"),
    ] = ""
    hours: Annotated[int, Meta(ge=1, le=168), about("How long the join token is good.", 1)] = 1


class NeededDirectory(Struct, frozen=True):
    """What the directory server of a clone has in common with the master's."""

    suffix: Annotated[str, about("The suffix.", "dc=ocsp,dc=example,dc=org")]
    connection: Annotated[str, about("How it is reached.", Transport.TLS.value)]


class PreparedMember(Struct, frozen=True):
    """What a clone is made of."""

    member: Annotated[MemberId, about("The member that it is cloned from: the agent port, HOST:PORT.")]
    fingerprint: Annotated[SHA256, about("SHA-256 of the certificate of that port.")]
    pkcs12: Annotated[bytes | None, about("The PKCS #12 file (DER), base64; null: none was wanted.", "TUlJSg==")]
    keys: Annotated[list[KeyName], about("The names of the keys in it.")]
    on_tokens: Annotated[list[KeyName], about("The names of those that are on a token.", [])]
    token: Annotated[str, about("A join token, shown this once and kept nowhere.", "Zm9yIG9uZSBpbnN0YW5jZSBvbmx5")]
    good_until: Annotated[Moment, about("Until when it is good, once.")]
    directory: Annotated[
        NeededDirectory | None, about("What its directory server has to be like; null: it needs none.")
    ]
    notes: Annotated[list[str], about("What else was done.", [])]
    pending_restart: Annotated[bool, about("Whether settings were changed, which count from the next restart on.")]


class MovedRole(Struct, frozen=True):
    """The role of the master, handed over."""

    master: Annotated[MemberId, about("The member that is the master now.")]
    term: Annotated[Count, about("The number of its term.", 2)]
    changes: Changes = UNSET


class StillKnown(Struct, frozen=True):
    """What a member that left still knows, and how that is renewed if need be."""

    what: Annotated[str, about("What it knows.", "the signing keys")]
    renewal: Annotated[str, about("How that is renewed.", "vouchd certs renew")]


class RenewalStep(Struct, frozen=True):
    """A step of the renewal of what a member knew that was taken out."""

    name: Annotated[str, about("Its name.", "request")]
    about: Annotated[str, about("What it is.", "a new key for each signer")]
    done: Annotated[bool, about("Whether it is done.")]
    waiting: Annotated[list[str], about("What, or whom, it waits for.", [])]


class SetRenewal(Struct, frozen=True):
    """How far the renewal of the keys of the set is."""

    renewing: Annotated[bool, about("Whether it is under way.")]
    steps: Annotated[list[RenewalStep], about("Its steps, in order; none while none is under way.")]


class TakingOut(Struct, frozen=True, forbid_unknown_fields=True):
    """How a member is taken out."""

    renew: Annotated[bool, about("Whether those who stay renew the keys that it knew.")] = False


class LeftMember(Struct, frozen=True):
    """A member that was taken out."""

    left: Annotated[MemberId, about("The member.")]
    still_known: Annotated[list[StillKnown], about("What it still knows.")]


class Destruction(Struct, frozen=True, forbid_unknown_fields=True):
    """How this clone is taken out of its set."""

    master: Annotated[
        str, Meta(max_length=300), about("The agent port of the master, where the registry here has none.", "")
    ] = ""
    fingerprint: Annotated[str, Meta(max_length=95), about("SHA-256 of its certificate, likewise.", "")] = ""
    force: Annotated[bool, about("Give up what only its own directory server has, or that server.")] = False
    renew: Annotated[bool, about("Whether those who stay renew the keys that it knew.")] = False


class Destroyed(Struct, frozen=True):
    """A clone that is out of its set, and stops."""

    left: Annotated[MemberId, about("The member that it was.")]
    notes: Annotated[list[str], about("What was done.", ["ocsp2.example.org:8443 has left the domain"])]


class ReplicationPeer(Struct, frozen=True):
    """A directory server that this instance's own replicates with."""

    address: Annotated[Server, about("Its address.")]
    replica_id: Annotated[ReplicaId | None, about("Its replica id.")]
    state: Annotated[str, about("`green`, `amber` (changes are under way) or `red` (they do not flow).", "green")]
    lag_seconds: Annotated[int | None, about("The age of the newest change that it lacks; null: not known.", 0)]
    message: Annotated[str, about("What its agreement says.", "Replica acquired successfully")]


class Replication(Struct, frozen=True):
    """How the directory server of this instance replicates with the others."""

    address: Annotated[Server, about("Its address.")]
    suffix: Annotated[str, about("The suffix that is replicated.", "dc=ocsp,dc=example,dc=org")]
    replica_id: Annotated[ReplicaId | None, about("Its replica id; null: it does not replicate.")]
    state: Annotated[str, about("`green`, `amber`, `red`, or `off`: it does not replicate.", "green")]
    in_sync: Annotated[bool, about("Whether all others have all changes.")]
    conflicts: Annotated[Count, about("Entries that two servers made at one time.", 0)]
    servers: Annotated[list[ReplicationPeer], about("The others.")]


def _token(call: Call) -> JoinToken:
    services = call.services
    wanted: JoinTokenRequest = call.body
    services.membership.require_me()
    services.membership.require_registrar()
    text, token = services.domain.issue_token(call.caller, wanted.seconds)
    return JoinToken(token=text, good_until=shapes.moment(token.expires_at))


def _tokens(call: Call) -> list[KnownToken]:
    call.services.membership.require_registrar()
    return [
        KnownToken(id=one.digest[:_NAME_DIGITS], good_until=shapes.moment(one.expires_at), issued_by=one.issued_by)
        for one in call.services.domain.tokens(call.caller)
    ]


def _void(call: Call) -> None:
    call.services.membership.require_registrar()
    call.services.domain.void_token(call.path["join_token"], call.caller)
    call.running.settle(0)


def _prepare(call: Call) -> PreparedMember:
    wanted: Preparation = call.body
    notes: list[str] = []
    prepared, changed = prepare(
        call.services,
        call.caller,
        wanted.password,
        host=wanted.host,
        domain=wanted.domain,
        hours=wanted.hours,
        say=notes.append,
    )
    call.running.settle(0)
    member, exported = prepared.member, prepared.exported
    server = member.directory
    return PreparedMember(
        member=member.id,
        fingerprint=member.tls_sha256,
        pkcs12=exported.pkcs12 if exported else None,
        keys=list(exported.names) if exported else [],
        on_tokens=list(prepared.on_tokens),
        token=prepared.token,
        good_until=shapes.moment(prepared.good_until),
        directory=NeededDirectory(suffix=server.suffix, connection=server.transport.value) if server else None,
        notes=notes,
        pending_restart=changed,
    )


def _promote(call: Call) -> MovedRole:
    services = call.services
    handing = Handing(services.layout, services.settings, services.store, services.domain)
    before = master_of(services.store.members())
    promoted = handing.to(call.path["member"], call.caller)
    call.running.settle(0)
    moved = before is None or before.id != promoted.id
    return MovedRole(master=promoted.id, term=promoted.term, changes=["the role was moved"] if moved else [])


def _leave(call: Call) -> LeftMember:
    services = call.services
    retire = retiring(services.layout, services.settings, services.store)
    left = leaving.take_out(services.domain, services.membership, retire, call.path["member"], call.caller)
    wanted: TakingOut = call.query
    if wanted.renew:
        services.set_renewal.begin(call.caller, left.id)
    call.running.settle(0)
    known = leaving.still_known(services.settings, left)
    return LeftMember(left=left.id, still_known=convert(known, list[StillKnown], from_attributes=True))


def _destroy(call: Call) -> Destroyed:
    wanted: Destruction = call.body
    how = leaving.Leaving(wanted.master, wanted.fingerprint, wanted.force, wanted.renew)
    notes: list[str] = []
    left = leaving.destroy(call.services, how, call.running.ending, call.caller, notes.append)
    return Destroyed(left=left, notes=notes)


def _renew(call: Call) -> SetRenewal:
    call.services.set_renewal.begin(call.caller)
    call.running.settle(0)
    return _renewal_state(call)


def _renewal_state(call: Call) -> SetRenewal:
    call.services.permission.allow(call.caller, Action.READ_DOMAIN, "renewal")
    steps = call.services.set_renewal.steps()
    return SetRenewal(renewing=bool(steps), steps=convert(steps, list[RenewalStep], from_attributes=True))


def _replication(call: Call) -> Replication:
    services = call.services
    services.permission.allow(call.caller, Action.READ_DOMAIN, "replication")
    members, layout, settings = services.store.members(), services.layout, services.settings
    health = replication_health(layout, settings, members, services.clock)
    server = settings.directory.server if settings.directory else None
    return Replication(
        address=server.address if server else "",
        suffix=server.suffix if server else "",
        replica_id=health.vector.replica_id if health.vector else None,
        state=health.state.value if health.vector else "off",
        in_sync=health.in_sync,
        conflicts=health.conflicts,
        servers=[_peer(peer) for peer in health.peers],
    )


def _peer(peer: PeerHealth) -> ReplicationPeer:
    return ReplicationPeer(
        address=peer.server.address,
        replica_id=peer.server.replica_id,
        state=peer.state.value,
        lag_seconds=peer.lag_seconds,
        message=peer.agreement.message if peer.agreement else "no agreement",
    )


_REGISTRAR = "A clone that follows its master keeps a copy of the registry: ask the master."
OPERATIONS = (
    Operation(
        "POST",
        "/join-tokens",
        "cloning.issue_token",
        "Let one instance join the security domain, once",
        Action.ISSUE_TOKEN,
        _token,
        JoinToken,
        status=201,
        body=JoinTokenRequest,
        refusals={400: _REGISTRAR, 404: "This instance is in no security domain."},
    ),
    Operation(
        "GET",
        "/join-tokens",
        "cloning.list_tokens",
        "The join tokens that are good still, the first to end first",
        Action.READ_DOMAIN,
        _tokens,
        list[KnownToken],
        refusals={400: _REGISTRAR},
    ),
    Operation(
        "DELETE",
        "/join-tokens/{join_token}",
        "cloning.void_token",
        "Take a join token back: nobody joins with it any more",
        Action.ISSUE_TOKEN,
        _void,
        status=204,
        refusals={400: _REGISTRAR, 404: "No such token, or it was used."},
    ),
    Operation(
        "POST",
        "/members/prepare",
        "cloning.prepare",
        "Make this member ready to be cloned: registered, its keys in PKCS #12, a master's settings, a join token",
        Action.EXPORT_KEYS,
        _prepare,
        PreparedMember,
        body=Preparation,
        refusals={400: _REGISTRAR},
    ),
    Operation(
        "POST",
        "/members/{member}/promote",
        "cloning.promote",
        "Hand the role of the master over, asked of the master; the member takes it within seconds",
        Action.MOVE_ROLE,
        _promote,
        MovedRole,
        refusals={400: "This instance is not the master.", 404: "No such member."},
    ),
    Operation(
        "POST",
        "/members/destroy",
        "cloning.destroy",
        "Take this clone out of its set, with its directory server out of the replication, and stop it",
        Action.CHANGE_DOMAIN,
        _destroy,
        Destroyed,
        body=Destruction,
        refusals={400: "The master of others cannot leave.", 502: "The master does not answer."},
    ),
    Operation(
        "DELETE",
        "/members/{member}",
        "cloning.remove",
        "Take a clone out of the security domain; what it still knows is told",
        Action.CHANGE_DOMAIN,
        _leave,
        LeftMember,
        query=TakingOut,
        refusals={400: f"The master of others cannot leave. {_REGISTRAR}", 404: "No such member."},
    ),
    Operation(
        "POST",
        "/members/renewal",
        "cloning.renew",
        "Renew the keys that a member knew which was taken out: signers, and own certificates of all who stay",
        Action.CHANGE_DOMAIN,
        _renew,
        SetRenewal,
        refusals={400: _REGISTRAR, 404: "This instance is in no security domain."},
    ),
    Operation(
        "GET",
        "/members/renewal",
        "cloning.renewal",
        "How far the renewal of the keys of the set is, step by step",
        Action.READ_DOMAIN,
        _renewal_state,
        SetRenewal,
    ),
    Operation(
        "GET",
        "/replication",
        "cloning.replication",
        "How the directory server of this instance replicates with the others, which are asked",
        Action.READ_DOMAIN,
        _replication,
        Replication,
        refusals={400: "The facts are in the embedded store."},
    ),
)
