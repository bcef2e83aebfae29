"""The set changed: who may join, who leaves, who is the master; and how the directory servers replicate."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vouchd.api import shapes
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import BOOLEAN, COUNT, MAYBE_NUMBER, MOMENT, TEXT, Schema, array, record, reference
from vouchd.cloning.leaving import still_known, take_out
from vouchd.cloning.registry import LONGEST_TOKEN_SECONDS, TOKEN_SECONDS
from vouchd.cloning.replication import replication_health, retiring
from vouchd.cloning.roles import Handing
from vouchd.service.permission import Action

if TYPE_CHECKING:  # it brings an LDAP library along, which the embedded store starts without
    from vouchd.directory.health import PeerHealth

SCHEMAS: dict[str, Schema] = {
    "JoinTokenRequest": record({}, {"seconds": {"type": "integer", "minimum": 1, "maximum": LONGEST_TOKEN_SECONDS}}),
    "JoinToken": record({"token": TEXT, "good_until": MOMENT}, description="Shown this once and kept nowhere."),
    "MovedRole": record({"master": TEXT, "term": COUNT}),
    "LeftMember": record({"left": TEXT, "still_known": array(reference("StillKnown"))}),
    "StillKnown": record(
        {"what": TEXT, "renewal": TEXT}, description="What it still knows, and how that is renewed if need be."
    ),
    "Replication": record(
        {
            "address": TEXT,
            "suffix": TEXT,
            "replica_id": MAYBE_NUMBER,
            "state": TEXT,
            "in_sync": BOOLEAN,
            "conflicts": COUNT,
            "servers": array(reference("ReplicationPeer")),
        }
    ),
    "ReplicationPeer": record(
        {"address": TEXT, "replica_id": MAYBE_NUMBER, "state": TEXT, "lag_seconds": MAYBE_NUMBER, "message": TEXT}
    ),
}


def _token(call: Call) -> dict[str, Any]:
    services = call.services
    services.membership.require_me()
    services.membership.require_registrar()
    text, token = services.domain.issue_token(call.caller, call.body.get("seconds", TOKEN_SECONDS))
    return {"token": text, "good_until": shapes.moment(token.expires_at)}


def _promote(call: Call) -> dict[str, Any]:
    services = call.services
    handing = Handing(services.layout, services.settings, services.store, services.domain)
    promoted = handing.to(call.path["member"], call.caller)
    return {"master": promoted.id, "term": promoted.term}


def _leave(call: Call) -> dict[str, Any]:
    services = call.services
    retire = retiring(services.layout, services.settings, services.store)
    left = take_out(services.domain, services.membership, retire, call.path["member"], call.caller)
    known = [asdict(one) for one in still_known(services.settings, left)]
    return {"left": left.id, "still_known": known}


def _replication(call: Call) -> dict[str, Any]:
    services = call.services
    services.permission.allow(call.caller, Action.READ_DOMAIN, "replication")
    members, layout, settings = services.store.members(), services.layout, services.settings
    health = replication_health(layout, settings, members, services.clock)
    server = settings.directory.server if settings.directory else None
    return {
        "address": server.address if server else "",
        "suffix": server.suffix if server else "",
        "replica_id": health.vector.replica_id if health.vector else None,
        "state": health.state.value if health.vector else "off",
        "in_sync": health.in_sync,
        "conflicts": health.conflicts,
        "servers": [_peer(peer) for peer in health.peers],
    }


def _peer(peer: PeerHealth) -> dict[str, Any]:
    return {
        "address": peer.server.address,
        "replica_id": peer.server.replica_id,
        "state": peer.state.value,
        "lag_seconds": peer.lag_seconds,
        "message": peer.agreement.message if peer.agreement else "no agreement",
    }


_REGISTRAR = "A clone that follows its master keeps a copy of the registry: ask the master."
OPERATIONS = (
    Operation(
        "POST",
        "/join-tokens",
        "cloning.issue_token",
        "Let one instance join the security domain, once",
        Action.ISSUE_TOKEN,
        _token,
        reference("JoinToken"),
        status=201,
        body=reference("JoinTokenRequest"),
        refusals={400: _REGISTRAR, 404: "This instance is in no security domain."},
    ),
    Operation(
        "POST",
        "/members/{member}/promote",
        "cloning.promote",
        "Hand the role of the master over, asked of the master; the member takes it within seconds",
        Action.MOVE_ROLE,
        _promote,
        reference("MovedRole"),
        refusals={400: "This instance is not the master.", 404: "No such member."},
    ),
    Operation(
        "DELETE",
        "/members/{member}",
        "cloning.remove",
        "Take a clone out of the security domain; what it still knows is told",
        Action.CHANGE_DOMAIN,
        _leave,
        reference("LeftMember"),
        refusals={400: f"The master of others cannot leave. {_REGISTRAR}", 404: "No such member."},
    ),
    Operation(
        "GET",
        "/replication",
        "cloning.replication",
        "How the directory server of this instance replicates with the others, which are asked",
        Action.READ_DOMAIN,
        _replication,
        reference("Replication"),
        refusals={400: "The facts are in the embedded store."},
    ),
)
