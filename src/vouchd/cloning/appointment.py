"""Who says that a member is the master: the one before it, or an administrator; never the member itself.

Members hear from each other who the master is, and one that was stolen could tell all others that it is, in whatever
term it likes. So the record of a promoted member carries its appointment: its id, the key it was known by and the term,
signed by the master of the term before with its own key, or by an administrator with the key of his certificate, who
is asked where that master is gone. Each member checks it with what it knows itself: its registry and its users.

What stands in a member's own registry needs no appointment: it came from the master that it follows, or through its
directory server, and of sets made by earlier versions there is none.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace

from vouchd.cloning.proof import MemberKey, require_signed
from vouchd.cloning.registry import master_of
from vouchd.core.facts import Group, Member, User
from vouchd.errors import BadInput

_SPEAKS = b"vouchd appointment 1\0"
_APPOINTING = frozenset({Group.ADMINISTRATORS, Group.DOMAIN_ADMINISTRATORS})


def appoint(member: Member, term: int, key: MemberKey) -> str:
    """That the member is the master in that term, signed with the key of a master or an administrator.

    Raises: SigningError.
    """
    return _written(member, key.signer.certificate_der, key.sign(statement(member, term)))


def statement(member: Member, term: int) -> bytes:
    """What is signed by who appoints it."""
    return _said(member.id, member.tls_sha256, term)


def signed_elsewhere(member: Member, term: int, certificate_der: bytes, signature: bytes) -> str:
    """The appointment whose statement was signed with a key that is not here. Raises: BadInput when it was not."""
    require_signed(certificate_der, signature, statement(member, term))
    return _written(member, certificate_der, signature)


def _written(member: Member, certificate_der: bytes, signature: bytes) -> str:
    parts = (base64.b64encode(part).decode() for part in (certificate_der, signature))
    return " ".join([member.tls_sha256, *parts])


def signer_of(member: Member) -> bytes:
    """The certificate (DER) whose key has signed the member's appointment to the term it claims. Raises: BadInput."""
    try:
        sha256, *parts = member.appointment.split(" ")
        certificate, signature = (base64.b64decode(part, validate=True) for part in parts)
    except ValueError as error:
        raise BadInput(f"{member.id} has no appointment that can be read") from error
    require_signed(certificate, signature, _said(member.id, sha256, member.term))
    return certificate


def administrators(users: Iterable[User]) -> frozenset[bytes]:
    """The certificates of those who may appoint a master."""
    return frozenset(der for user in users if user.enabled and user.groups & _APPOINTING for der in user.certificates)


def believed(claims: Iterable[Member], known: Iterable[Member], appointing: Collection[bytes]) -> Member | None:
    """The master, by the registry `known` and those of the `claims` of others that are appointed to it.

    A claim counts when it is signed by one of the certificates `appointing`, or by the master of an earlier term; so
    claims are weighed in the order of their terms. Of a member that is known here its key is the one that is known.
    """
    registry = {member.id: member for member in known}
    for claim in sorted(claims, key=lambda one: one.term):
        master, mine = master_of(registry.values()), registry.get(claim.id)
        if claim.clone or (master is not None and claim.term <= master.term):
            continue
        if mine is None and not claim.appointment.startswith(claim.pins):
            continue
        try:
            signer = signer_of(claim)
        except BadInput:
            continue
        if signer in appointing or (master and hashlib.sha256(signer).hexdigest() in master.pins):
            promoted = replace(mine or claim, clone=False, term=claim.term, appointment=claim.appointment)
            registry[claim.id] = promoted
    return master_of(registry.values())


def _said(member_id: str, tls_sha256: str, term: int) -> bytes:
    return _SPEAKS + f"{member_id} {tls_sha256} {term}".encode()
