"""Facts to JSON and back: one spelling for the SQLite columns, the serving manifest and whatever replicates.

An unknown field is passed over on reading, so that an older program can go on beside a newer one; a change that must
not be passed over raises the schema version of the store instead. Bytes are base64, None stands as null.
"""

from __future__ import annotations

import base64
import json
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from vouchd.core.approval_facts import Approvals, approvals_record, read_approvals
from vouchd.core.changes import Concerned
from vouchd.core.facts import (
    Authority,
    AuthorityPolicy,
    CRLRecord,
    DirectoryServer,
    Epoch,
    Facts,
    Group,
    IssuingPointId,
    JoinToken,
    Member,
    QuarantinedCRL,
    StepBack,
    Transport,
    User,
)
from vouchd.core.signer_facts import Keyring, keyring_record, read_keyring
from vouchd.errors import StoreError
from vouchd.pkix.memo import shared

_PLAIN = frozenset({str, bytes, int, bool, float, type(None)})
T = TypeVar("T")
Record = dict[str, Any]


_encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: a start writes ten thousands of records


def to_json(record: Mapping[str, Any]) -> str:
    """JSON text of one record: compact, fields in their order, ASCII."""
    return _encode(record)


def from_json(text: str | bytes, read: Callable[[Record], T]) -> T:
    """The fact that `read` makes of JSON `text`. Raises: StoreError when it is damaged."""
    if read in _DECODED and (fact := _decoders()[read](text)) is not None:
        return fact  # type: ignore[no-any-return]
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"a stored record is damaged: {type(error).__name__}: {error}") from error
    return from_record(record, read)


def from_record(record: Record, read: Callable[[Record], T]) -> T:
    """The fact that `read` makes of the record. Raises: StoreError when it is damaged."""
    try:
        fact = read(record)
        require_types(fact)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"a stored record is damaged: {type(error).__name__}: {error}") from error
    return fact


def require_types(fact: object) -> None:
    """Return when each field of a fact, and of the facts in it, is of the type that it is declared with.

    A value of another type would be an error far from here, and that of the whole store. Raises: TypeError.
    """
    if isinstance(fact, tuple):
        for one in fact:
            if type(one) not in _PLAIN:
                require_types(one)
    fields = _fields_of(type(fact))  # type: ignore[arg-type]  # a class is hashable
    if fields is None:
        return
    for name, value, kinds in zip(fields.names, fields.values(fact), fields.kinds, strict=True):
        actual = type(value)
        if actual not in kinds and not any(issubclass(actual, kind) for kind in kinds if kind is not int):
            raise TypeError(f"{name} is {actual.__name__}")
        if actual not in _PLAIN and value != ():
            require_types(value)


class _FieldsOf(NamedTuple):
    """The fields of a kind of facts: what they are called, what reads them all at once, and what each may be."""

    names: tuple[str, ...]
    values: Callable[[object], tuple[object, ...]]
    kinds: tuple[frozenset[type], ...]


@cache
def _fields_of(cls: type[Any]) -> _FieldsOf | None:
    """Those of a class of facts, None of any other: what is made of facts has other rules."""
    if cls.__module__ != Epoch.__module__ or not is_dataclass(cls):
        return None
    kinds = {name: frozenset(_kinds(hint)) for name, hint in get_type_hints(cls).items()}
    read = attrgetter(*kinds)
    return _FieldsOf(tuple(kinds), read if len(kinds) > 1 else lambda fact: (read(fact),), tuple(kinds.values()))


def _kinds(hint: Any) -> Iterator[type]:
    if get_origin(hint) in {Union, UnionType}:
        for one in get_args(hint):
            yield from _kinds(one)
    else:
        kind = get_origin(hint) or hint
        yield kind
        if kind is float:
            yield int


def policy_record(policy: AuthorityPolicy) -> Record:
    """The record of a policy."""
    record = _fields(policy)
    record["crl_issuers"] = [_text(der) for der in policy.crl_issuers]
    return record


def authority_record(authority: Authority) -> Record:
    """The record of an authority with its policy."""
    return {
        "id": authority.id,
        "label": authority.label,
        "certificate": _text(authority.certificate_der),
        "history": [_text(der) for der in authority.history],
        "retired_scopes": list(authority.retired_scopes),
        "steps_back": [list(step) for step in authority.steps_back],
        "policy": policy_record(authority.policy),
    }


@dataclass(frozen=True, slots=True)
class _AuthorityRecord:
    """The fields of `authority_record`; a field of the policy that is missing has its default."""

    id: str
    label: str
    certificate: bytes
    policy: AuthorityPolicy
    history: tuple[bytes, ...] = ()
    retired_scopes: tuple[str, ...] = ()
    steps_back: tuple[StepBack, ...] = ()


def read_authority(record: Record) -> Authority:
    """The authority of a record. Raises: ValueError."""
    return _authority(_converted(record, _AuthorityRecord))


def _authority(record: _AuthorityRecord) -> Authority:
    return Authority(
        shared(record.id),
        record.certificate,
        record.label,
        record.policy,
        record.history,
        record.retired_scopes,
        record.steps_back,
    )


def epoch_record(epoch: Epoch) -> Record:
    """The record of an epoch."""
    return _fields(epoch) | {
        "issuing_point": _fields(epoch.issuing_point),
        "base": _fields(epoch.base),
        "delta": None if epoch.delta is None else _fields(epoch.delta),
        "former": [_fields(one) for one in epoch.former],
        "idp_der": _text(epoch.idp_der),
    }


def served_record(epoch: Epoch) -> Record:
    """The record of an epoch without what nothing is answered from."""
    record = epoch_record(epoch)
    del record["former"]
    return record


def read_epoch(record: Record) -> Epoch:
    """The epoch of a record. Raises: ValueError."""
    return _epoch(_converted(record, Epoch))


def _epoch(epoch: Epoch) -> Epoch:
    """The same, which has just been made, with one object for what stands in many facts."""
    for fact, names in ((epoch, ("origin", "issuer_key")), (epoch.issuing_point, ("authority_id", "scope_id"))):
        for name in names:
            object.__setattr__(fact, name, shared(getattr(fact, name)))
    return epoch


def _converted(record: Record, kind: type[T]) -> T:
    """The object of a record, each field of the type that it is declared with. Raises: ValueError."""
    import msgspec  # noqa: PLC0415  see _decoders

    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


@cache
def _decoders() -> Mapping[Callable[[Record], Any], Callable[[str | bytes], Any]]:
    """What makes a fact of JSON at once; None of a text that has to be read as any other, for what it is or lacks.

    Of CAs and epochs there are ten thousand: this takes a fifth of the time that a dictionary in between does.
    """
    import msgspec  # noqa: PLC0415  commands that read no facts start without it

    authorities, epochs = msgspec.json.Decoder(_AuthorityRecord), msgspec.json.Decoder(Epoch)

    def decoding(decode: Callable[[str | bytes], T], made: Callable[[T], Any]) -> Callable[[str | bytes], Any]:
        def read(text: str | bytes) -> Any:
            try:
                return made(decode(text))
            except msgspec.DecodeError:
                return None

        return read

    return {read_authority: decoding(authorities.decode, _authority), read_epoch: decoding(epochs.decode, _epoch)}


_DECODED = frozenset({read_authority, read_epoch})


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
    names = cls.__dataclass_fields__
    return {name: value for name, value in record.items() if name in names}


def _fields(fact: Any) -> Record:
    """The fields of a fact that holds no other one: `asdict` copies each value, and looks into each for facts."""
    return {name: getattr(fact, name) for name in fact.__dataclass_fields__}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return a2b_base64(text, strict_mode=True)


# Records of what members of a set share, beside those of core/py and with the same rules.

_LONGEST = 255
_LONGEST_APPOINTMENT = 1 << 14  # a certificate and a signature
_LONGEST_CERTIFICATE, _MOST_CERTIFICATES = 1 << 14, 4
_PASSING = frozenset({"other_tls_sha256", "client_certificates"})


def member_record(member: Member) -> Record:
    """The record of a member; what few have, and none for long, stands in it where it is there."""
    record = asdict(member) | {"client_certificates": [_text(der) for der in member.client_certificates]}
    return {name: value for name, value in record.items() if value or name not in _PASSING}


def read_member(record: Record) -> Member:
    """The member of a record."""
    known = known_fields(Member, record)
    if known.get("directory") is not None:
        known["directory"] = read_directory(known["directory"])
    if "client_certificates" in known:
        known["client_certificates"] = tuple(_bytes(text) for text in known["client_certificates"])
    return Member(**known)


def checked_member(record: Record) -> Member:
    """The member of a record that a stranger sent. Raises: TypeError, ValueError, KeyError when it is none."""
    member = read_member(record)
    texts = (member.host, member.name, member.subsystem, member.tls_sha256, member.other_tls_sha256)
    numbers = (member.secure_port, member.ee_port, member.joined_at, member.term)
    if not all(isinstance(text, str) and len(text) <= _LONGEST and text.isprintable() for text in texts):
        raise ValueError("not a text")
    if not all(type(number) is int for number in numbers) or type(member.clone) is not bool:
        raise ValueError("not a number")
    if not isinstance(member.appointment, str) or len(member.appointment) > _LONGEST_APPOINTMENT:
        raise ValueError("not an appointment")
    if len(member.client_certificates) > _MOST_CERTIFICATES or any(
        len(der) > _LONGEST_CERTIFICATE for der in member.client_certificates
    ):
        raise ValueError("not its certificates")
    directory = member.directory
    if directory is not None and not (
        all(isinstance(text, str) and len(text) <= _LONGEST for text in (directory.host, directory.suffix))
        and type(directory.port) is int
        and (directory.replica_id is None or type(directory.replica_id) is int)
    ):
        raise ValueError("not a directory server")
    return member


def read_directory(record: Record) -> DirectoryServer:
    """The directory server of a record."""
    known = known_fields(DirectoryServer, record)
    known["transport"] = Transport(known["transport"])
    return DirectoryServer(**known)


def token_record(token: JoinToken) -> Record:
    """The record of a join token."""
    return asdict(token)


def read_token(record: Record) -> JoinToken:
    """The join token of a record."""
    return JoinToken(**known_fields(JoinToken, record))


def facts_record(facts: Facts) -> Record:
    """The record of everything that members have alike."""
    later = {
        **({"keyring": keyring_record(facts.keyring)} if facts.keyring != Keyring() else {}),
        **({"approvals": approvals_record(facts.approvals)} if facts.approvals != Approvals() else {}),
    }
    return {
        "authorities": [authority_record(authority) for authority in facts.authorities],
        "epochs": [epoch_record(epoch) for epoch in facts.epochs],
        "quarantined": [quarantined_record(crl) for crl in facts.quarantined],
        "high_water": [[asdict(point), number, this_update] for point, number, this_update in facts.high_water],
        "users": [user_record(user) for user in facts.users],
        "members": [member_record(member) for member in facts.members],
    } | later


def read_facts(record: Record) -> Facts:
    """The facts of a record."""
    return Facts(
        authorities=tuple(map(read_authority, record["authorities"])),
        epochs=tuple(map(read_epoch, record["epochs"])),
        quarantined=tuple(map(read_quarantined, record["quarantined"])),
        high_water=tuple(
            (IssuingPointId(**known_fields(IssuingPointId, point)), number, this_update)
            for point, number, this_update in record["high_water"]
        ),
        users=tuple(map(read_user, record["users"])),
        members=tuple(map(read_member, record["members"])),
        keyring=read_keyring(record.get("keyring", {})),  # a master of an earlier version has none
        approvals=read_approvals(record.get("approvals", {})),  # likewise
    )


def concerned_record(concerned: Concerned) -> Record:
    """The record of what a part of the facts is of."""
    return {
        "authorities": sorted(concerned.authorities),
        "points": [asdict(point) for point in sorted(concerned.points)],
    }


def read_concerned(record: Record) -> Concerned:
    """What a part of the facts is of."""
    points = (IssuingPointId(**known_fields(IssuingPointId, point)) for point in record["points"])
    return Concerned(frozenset(map(str, record["authorities"])), frozenset(points))


# Moments as people and programs read them.

_FIRST, _LAST = -62135596800, 253402300799  # the years 1 and 9999


def rfc3339(at: int) -> str:
    """POSIX seconds as `2026-11-24T05:41:44Z`; what no year of four digits holds is told as the nearest that does."""
    bounded = min(max(at, _FIRST), _LAST)
    return datetime.fromtimestamp(bounded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
