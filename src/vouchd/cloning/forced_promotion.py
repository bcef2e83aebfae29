"""A clone made the master where the one before is away for ever, by an administrator who is not on its host.

The members believe a new master by its appointment alone (`appointment`). Whoever orders it signs that with the key of
his certificate, which stays where it is: this member tells what is to be signed, and takes the signature.
"""

from __future__ import annotations

from dataclasses import dataclass

from vouchd.client.fingerprints import shown_fingerprint
from vouchd.cloning.appointment import administrators, signed_elsewhere, statement
from vouchd.cloning.needs import MemberServices
from vouchd.cloning.registry import find, master_of
from vouchd.core.facts import Caller, Member
from vouchd.errors import ClientError, ConfigError, PermissionDenied, StoreConflict

_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """The signature over the statement for that term, by the key of that certificate (DER)."""

    term: int
    certificate: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Candidacy:
    """This member, the master that would be passed over, the term that would begin, and what is to be signed."""

    member: Member
    former: Member | None
    term: int
    statement: bytes


def candidacy(services: MemberServices) -> Candidacy:
    """How this member stands to the role. Raises: NotFound; ConfigError where there is nothing to take."""
    if services.settings.certsystem.url:
        raise ConfigError(
            "this instance is a clone of a Certificate System, which has no role to give",
            hint="to follow it no more, on this host: vouchd clone promote --force",
        )
    members = services.store.members()
    member, former = find(members, services.settings.member_id), master_of(members)
    if former is not None and former.id == member.id:
        raise ConfigError("this instance is the master", hint="there is nothing to do")
    term = 1 + max(one.term for one in members)
    return Candidacy(member, former, term, statement(member, term))


def take_role(services: MemberServices, order: Order, caller: Caller) -> Member:
    """This member as the master, which it takes for itself within seconds; the one before has to be away.

    Raises: ConfigError while the master answers; PermissionDenied; BadInput; StoreConflict when the term is another.
    """
    standing = candidacy(services)
    if standing.former is not None:
        _require_away(standing.former, standing.member)
    if order.certificate not in administrators(services.store.users()):
        raise PermissionDenied(
            "the certificate that signed is of nobody who may appoint a master: the other members would not believe it",
            hint="sign with the key of an enabled user in Administrators or Security Domain Administrators",
        )

    def appointment(member: Member, term: int) -> str:
        if term != order.term:
            raise StoreConflict(f"term {term} would begin by now, not {order.term}", hint="look again, and sign anew")
        return signed_elsewhere(member, term, order.certificate, order.signature)

    return services.domain.promote(standing.member.id, caller, appointment)


def _require_away(master: Member, member: Member) -> None:
    try:
        fingerprint = shown_fingerprint(master.host, master.secure_port, _SECONDS)
    except ClientError:
        return
    if fingerprint in master.pins:
        raise ConfigError(
            f"the master {master.id} answers: it hands its role over by itself, and nothing is lost",
            hint=f"there: vouchd clone promote {member.id}, or its page of this member",
        )
