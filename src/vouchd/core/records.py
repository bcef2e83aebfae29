"""Facts to JSON and back: one spelling for the SQLite columns, the serving manifest and whatever replicates.

An unknown field is passed over on reading, so that an older program can go on beside a newer one; a change that must
not be passed over raises the schema version of the store instead. Bytes are base64, None stands as null.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from vouchd.core.facts import (
    Authority,
    AuthorityPolicy,
    CRLRecord,
    Epoch,
    ExpiredCRLPolicy,
    Group,
    IssuingPointId,
    QuarantinedCRL,
    User,
)
from vouchd.errors import StoreError

T = TypeVar("T")
Record = dict[str, Any]


def to_json(record: Mapping[str, Any]) -> str:
    """JSON text of one record: compact, fields in their order, ASCII."""
    return json.dumps(record, separators=(",", ":"))


def from_json(text: str | bytes, read: Callable[[Record], T]) -> T:
    """The fact that `read` makes of JSON `text`. Raises: StoreError when it is damaged."""
    try:
        return read(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"a stored record is damaged: {type(error).__name__}: {error}") from error


def policy_record(policy: AuthorityPolicy) -> Record:
    """The record of a policy."""
    record = asdict(policy)
    record["crl_issuers"] = [_text(der) for der in policy.crl_issuers]
    return record


def read_policy(record: Record) -> AuthorityPolicy:
    """The policy of a record; a field that is missing has its default."""
    known = known_fields(AuthorityPolicy, record)
    known["crl_issuers"] = tuple(_bytes(text) for text in known.get("crl_issuers", ()))
    known["expected_scopes"] = tuple(known.get("expected_scopes", ()))
    if known.get("expired_crl") is not None:
        known["expired_crl"] = ExpiredCRLPolicy(known["expired_crl"])
    return AuthorityPolicy(**known)


def authority_record(authority: Authority) -> Record:
    """The record of an authority with its policy."""
    return {
        "id": authority.id,
        "label": authority.label,
        "certificate": _text(authority.certificate_der),
        "policy": policy_record(authority.policy),
    }


def read_authority(record: Record) -> Authority:
    """The authority of a record."""
    return Authority(record["id"], _bytes(record["certificate"]), record["label"], read_policy(record["policy"]))


def epoch_record(epoch: Epoch) -> Record:
    """The record of an epoch."""
    return asdict(epoch) | {"idp_der": _text(epoch.idp_der)}


def read_epoch(record: Record) -> Epoch:
    """The epoch of a record."""
    known = known_fields(Epoch, record)
    known["issuing_point"] = _read_issuing_point(known["issuing_point"])
    known["base"] = _read_crl(known["base"])
    known["delta"] = _read_crl(known["delta"]) if known.get("delta") else None
    known["idp_der"] = _bytes(known.get("idp_der", ""))
    return Epoch(**known)


def quarantined_record(crl: QuarantinedCRL) -> Record:
    """The record of a CRL held back."""
    return asdict(crl)


def read_quarantined(record: Record) -> QuarantinedCRL:
    """The CRL held back of a record."""
    known = known_fields(QuarantinedCRL, record)
    known["issuing_point"] = _read_issuing_point(known["issuing_point"])
    known["record"] = _read_crl(known["record"])
    return QuarantinedCRL(**known)


def user_record(user: User) -> Record:
    """The record of a user."""
    return {
        "id": user.id,
        "full_name": user.full_name,
        "groups": sorted(user.groups),
        "certificates": [_text(der) for der in user.certificates],
        "enabled": user.enabled,
    }


def read_user(record: Record) -> User:
    """The user of a record; a group that this program does not know gives no right and is passed over."""
    known = {group.value for group in Group}
    return User(
        id=record["id"],
        full_name=record["full_name"],
        groups=frozenset(Group(name) for name in record["groups"] if name in known),
        certificates=tuple(_bytes(text) for text in record["certificates"]),
        enabled=record["enabled"] is True,
    )


def _read_issuing_point(record: Record) -> IssuingPointId:
    return IssuingPointId(**known_fields(IssuingPointId, record))


def _read_crl(record: Record) -> CRLRecord:
    return CRLRecord(**known_fields(CRLRecord, record))


def known_fields(cls: type[Any], record: Record) -> Record:
    """Those fields of the record that the dataclass has."""
    names = {field.name for field in fields(cls)}
    return {name: value for name, value in record.items() if name in names}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
