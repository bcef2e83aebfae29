"""The facts that stores keep, the index holds and answers are made of.

Times are POSIX seconds (int, UTC): they order, subtract and stand in a record as they are. A serial number is the
content octets of its DER INTEGER (minimal two's complement), so it is compared as the CertID carries it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cmp_to_key
from typing import Any, NamedTuple

from vouchd.core.approval_facts import Approvals
from vouchd.core.signer_facts import Keyring
from vouchd.pkix.scope import COMPLETE_SCOPE


class ExpiredCRLPolicy(StrEnum):
    """What is answered when the CRL has passed its nextUpdate; never a silent `good`."""

    TRY_LATER = "tryLater"
    UNKNOWN = "unknown"
    SERVE = "serve"  # the stale facts with their true, past nextUpdate: the client decides


class ExpiredDeltaPolicy(StrEnum):
    """What is answered when a delta CRL has passed its nextUpdate and its base has not."""

    BASE = "base"  # as of the base, with its times; what the delta told of revocations stays
    EXPIRED = "expired"  # as when a CRL has passed its nextUpdate


class CompromisedAnswer(StrEnum):
    """What is answered of the certificates of a CA that was declared compromised or ended."""

    REVOKED = "revoked"  # all of them, cACompromise
    TRY_LATER = "tryLater"  # nobody is to rely on a word about them


@dataclass(frozen=True, slots=True)
class AuthorityPolicy:
    """How one CA is answered for; None means: as the instance's CS.cfg says. All fields replicate with the CA."""

    not_found_as_good: bool | None = None
    include_next_update: bool | None = None
    reasons: bool | None = None
    expired_crl: ExpiredCRLPolicy | None = None
    invalidity_date: bool = False  # singleExtension invalidityDate (RFC 6960 4.4.5, CRL entry extensions)
    crl_reference: bool = False  # singleExtension id-pkix-ocsp-crl (RFC 6960 4.4.2)
    archive_cutoff_seconds: int | None = None  # retention; archiveCutoff = producedAt - this (RFC 6960 4.4.4)
    extended_revoke: bool = False  # a non-issued serial is `revoked`, 1970-01-01, certificateHold (RFC 6960 4.4.8)
    signer: str | None = None  # nickname of the signer that answers for this CA
    trusted_responder: bool = False  # which it need not have issued: its clients trust that signer by configuration
    crl_issuers: tuple[bytes, ...] = ()  # DER certificates whose CRLs are taken for this CA: see core.key_history
    expected_scopes: tuple[str, ...] = ()  # scope ids that together cover every serial; empty: one complete CRL does
    named_point_covers_all: bool = False  # the only CRL restricts nothing but names its distribution point: complete
    expired_delta: ExpiredDeltaPolicy = ExpiredDeltaPolicy.BASE
    live_times: bool = False  # producedAt is the start of the current slot: see core.times
    live_this_update: bool = False  # thisUpdate, too
    slot_seconds: int | None = None  # length of a slot; None: 30
    quarantine_percent: float | int | None = None  # hold back a CRL that loses more than this share of entries
    quarantine_entries: int = 0  # but never for so many or fewer
    quarantine_gains: bool = False  # nor for entries gained, unless: holding a revocation back fails open
    compromised_at: int | None = None  # since when, as an agent has declared; POSIX seconds
    compromised_answer: CompromisedAnswer = CompromisedAnswer.REVOKED
    issued_serials: str | None = None  # SHA-256 (hex) of the issued-serials document in the store


class StepBack(NamedTuple):
    """An administrator's word that the epoch of index `after` may be served where `before` is, which is newer."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Authority:
    """A certification authority that this responder answers for.

    A CA is a name with a history of keys: `certificate_der` is its newest certificate and `history` holds the others
    that it has or had under its name (RFC 5280 7.1): renewals, key rollovers, other spellings, cross-certificates, and
    one for a separate CRL key. `id` is the SHA-256 (hex) of subject name DER followed by the subject public key bits of
    the certificate that it was first registered with, and stays when that one goes.
    """

    id: str
    certificate_der: bytes
    label: str
    policy: AuthorityPolicy = field(default_factory=AuthorityPolicy)
    history: tuple[bytes, ...] = ()
    retired_scopes: tuple[str, ...] = ()  # of issuing points that will not come again, sorted
    steps_back: tuple[StepBack, ...] = ()  # the latest words of administrators, in their order

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """All certificates (DER), the newest first."""
        return self.certificate_der, *self.history


@dataclass(frozen=True, slots=True, order=True)
class IssuingPointId:
    """A CRL issuing point: one CA and one scope (`complete`, or SHA-256 hex of the IssuingDistributionPoint DER)."""

    authority_id: str
    scope_id: str = COMPLETE_SCOPE


@dataclass(frozen=True, slots=True)
class CRLRecord:
    """What is kept of one accepted CRL; its bytes are the store's document of that SHA-256."""

    sha256: str
    size_bytes: int
    this_update: int
    next_update: int | None
    crl_number: int | None
    base_crl_number: int | None = None  # of a delta CRL: BaseCRLNumber
    entry_count: int = 0


class IndexNames(NamedTuple):
    """File names of an epoch's index.

    What the complete CRL says is in `base`, what the delta CRL says in `changes`, empty where there is none. `whole` is
    both in one, or the base where there is no delta.
    """

    whole: str
    base: str
    changes: str = ""


def _index_names(authority_id: str, base_sha256: str, delta_sha256: str) -> IndexNames:
    def stem(delta: str) -> str:
        return hashlib.sha256(f"{authority_id} {base_sha256} {delta}".encode()).hexdigest()[:40]

    base = f"{stem('')}.idx"
    if not delta_sha256:
        return IndexNames(base, base)
    return IndexNames(f"{stem(delta_sha256)}.idx", base, f"{stem(delta_sha256)}.delta")


@dataclass(frozen=True, slots=True)
class Epoch:
    """The state of one issuing point from one acceptance to the next; everything in a response comes from here.

    `sequence` counts from 1. `accepted_at` is the moment of acceptance and becomes producedAt. `idp_der` is the
    IssuingDistributionPoint extension value (empty when the CRL has none). `issuer_key` is the `certs.key_id` of the
    key that the newest CRL was verified with; empty in facts of earlier versions, which did not keep it. `key_only`:
    the CRLs speak only of what was issued under that key. `renumbered` counts how often an administrator has had a CRL
    with a lower number taken here, and `renumbering` says why that was done with this one. `merged_count` counts the
    entries of base and delta together, None where there is no delta. `former` are CRLs of before that are kept, the
    newest first: nothing is answered from them, and two epochs that differ in them alone are equal.
    """

    issuing_point: IssuingPointId
    sequence: int
    base: CRLRecord
    accepted_at: int
    delta: CRLRecord | None = None
    idp_der: bytes = b""
    origin: str = ""
    issuer_key: str = ""
    key_only: bool = False
    renumbered: int = 0
    renumbering: str = ""
    merged_count: int | None = None
    former: tuple[CRLRecord, ...] = field(default=(), compare=False)

    @property
    def entry_count(self) -> int:
        """How many entries there are; of base and delta together removeFromCRL takes away and a repeat is one.

        Facts of earlier versions, which did not keep that, count both.
        """
        if self.merged_count is not None:
            return self.merged_count
        return self.base.entry_count + (self.delta.entry_count if self.delta else 0)

    @property
    def records(self) -> tuple[CRLRecord, ...]:
        """The base, and the delta CRL if there is one."""
        return (self.base, self.delta) if self.delta else (self.base,)

    @property
    def newest(self) -> CRLRecord:
        """The delta CRL if there is one, else the base."""
        return self.delta or self.base

    @property
    def high_water(self) -> tuple[int | None, int]:
        """The highest CRL number and thisUpdate in it."""
        crls = (self.base, self.delta) if self.delta else (self.base,)
        numbers = [crl.crl_number for crl in crls if crl.crl_number is not None]
        return max(numbers, default=None), max(crl.this_update for crl in crls)

    @property
    def this_update(self) -> int:
        """thisUpdate of the newest CRL."""
        return self.newest.this_update

    @property
    def next_update(self) -> int | None:
        """nextUpdate of the newest CRL."""
        return self.newest.next_update

    @property
    def index_name(self) -> str:
        """The name that stands for this epoch: the same facts have the same name on every instance."""
        return self.index_names.whole

    @property
    def index_names(self) -> IndexNames:
        """Of its index files; worked out each time, as those of ten thousand CAs are many octets and seldom wanted."""
        return _index_names(*self.essence)

    @property
    def essence(self) -> tuple[str, str, str]:
        """What its index is made of, the CA's id and the SHA-256 of its CRLs: equal where the index names are."""
        return self.issuing_point.authority_id, self.base.sha256, self.delta.sha256 if self.delta else ""


class AuthorityFacts(NamedTuple):
    """A CA with the epochs of its issuing points, in their order.

    `behind`: another member of the set has had a newer CRL for longer than is allowed, and nothing is answered.
    """

    authority: Authority
    epochs: tuple[Epoch, ...] = ()
    behind: bool = False


def by_authority(
    authorities: Iterable[Authority], epochs: Iterable[Epoch], behind: Collection[str] = ()
) -> dict[str, AuthorityFacts]:
    """The facts of each CA by its id; epochs of others are left out."""
    points: dict[str, list[Epoch]] = {}
    for epoch in epochs:
        points.setdefault(epoch.issuing_point.authority_id, []).append(epoch)
    return {one.id: AuthorityFacts(one, in_order(points.get(one.id, ())), one.id in behind) for one in authorities}


def in_order(epochs: Iterable[Epoch]) -> tuple[Epoch, ...]:
    """The epochs of one CA as stores and manifests have them."""
    return tuple(sorted(epochs, key=lambda epoch: epoch.issuing_point.scope_id))


@dataclass(frozen=True, slots=True)
class QuarantinedCRL:
    """A CRL that was valid but changed too much; `document` in the store is its SHA-256."""

    issuing_point: IssuingPointId
    record: CRLRecord
    received_at: int
    origin: str
    why: str


class CertStatus(StrEnum):
    """CertStatus of RFC 6960 section 4.2.1."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class Group(StrEnum):
    """The groups of users, named as the Certificate System names them; a group is what gives rights."""

    ADMINISTRATORS = "Administrators"
    AGENTS = "Online Certificate Status Manager Agents"
    AUDITORS = "Auditors"
    TRUSTED_MANAGERS = "Trusted Managers"  # CAs that publish their CRLs
    DOMAIN_ADMINISTRATORS = "Security Domain Administrators"
    OCSP_ADMINISTRATORS = "Enterprise OCSP Administrators"


@dataclass(frozen=True, slots=True)
class User:
    """A person or program that may come to the agent port with one of `certificates` (DER, compared byte for byte)."""

    id: str
    full_name: str
    groups: frozenset[Group] = frozenset()
    certificates: tuple[bytes, ...] = ()
    enabled: bool = True


LOCAL = "local"  # where somebody comes from who works on the folder


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an administrative act; `name` is a user's id, `origin` an address or `local`.

    `key_sha256` is the own key that another instance has proven, as the registry pins it, and `member` the id of the
    member that has it there; both are empty for everybody else. `read_only`: known from before the store went away.
    """

    name: str
    groups: frozenset[str] = frozenset()
    origin: str = LOCAL
    key_sha256: str = ""
    member: str = ""
    read_only: bool = False

    @property
    def is_local(self) -> bool:
        """Whether it works on the instance's folder, where who may is the operating system's matter."""
        return self.origin == LOCAL


class Transport(StrEnum):
    """How a directory server is spoken to, by its instance and by the other servers that replicate with it."""

    PLAIN = "plain"
    TLS = "tls"  # LDAPS: TLS from the first octet, on the secure port
    STARTTLS = "starttls"  # the StartTLS operation on the plain port (RFC 4511 4.14)


@dataclass(frozen=True, slots=True)
class DirectoryServer:
    """The directory server of one instance; `host` is a fully qualified name, as its certificate has it."""

    host: str
    port: int
    transport: Transport
    suffix: str  # DN
    replica_id: int | None = None  # nsDS5ReplicaId, 1..65534, unique in the set; None: it does not replicate

    @property
    def address(self) -> str:
        """HOST:PORT, the same however the name is spelt."""
        return f"{self.host.lower()}:{self.port}"


@dataclass(frozen=True, slots=True)
class Member:
    """An instance in the security domain, as the registry of the domain has it.

    `term` counts moves of the master role: the master is the member with the highest term that is not a clone. One that
    is not a clone and has a lower term has been replaced while it was away, and takes itself for a clone.

    While its TLS server certificate changes it is known by two: `other_tls_sha256` is the next one before the switch,
    and the one before for a while after it.
    """

    host: str  # fully qualified
    secure_port: int  # agent port
    ee_port: int
    name: str  # SubsystemName, as people call it
    clone: bool
    joined_at: int
    term: int = 0
    subsystem: str = "OCSP"
    tls_sha256: str = ""  # hex SHA-256 of the DER of its TLS server certificate: members know each other by it
    directory: DirectoryServer | None = None  # None: embedded store
    appointment: str = ""  # who says that it is the master in this term: see cloning/appointment
    other_tls_sha256: str = ""
    client_certificates: tuple[bytes, ...] = ()  # DER of subsystem certificates that are its own, and not the set's

    @property
    def id(self) -> str:
        """`host:port` of the agent port, unique in the domain."""
        return f"{self.host}:{self.secure_port}"

    @property
    def pins(self) -> tuple[str, ...]:
        """SHA-256 (hex) of the TLS server certificates by which it is known, the one in use first."""
        return tuple(one for one in (self.tls_sha256, self.other_tls_sha256) if one)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A right to join the domain once; of the token itself only the SHA-256 (hex) is kept."""

    digest: str
    expires_at: int
    issued_by: str  # user's id


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts that every member of a set has alike, in one consistent view; documents are named, not contained."""

    authorities: tuple[Authority, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    quarantined: tuple[QuarantinedCRL, ...] = ()
    high_water: tuple[tuple[IssuingPointId, int | None, int], ...] = ()  # CRL number, thisUpdate
    users: tuple[User, ...] = ()
    members: tuple[Member, ...] = ()
    keyring: Keyring = field(default_factory=Keyring)
    approvals: Approvals = field(default_factory=Approvals)


# Which of several epochs of one issuing point is the newest, found alike by every member of a set.


def order(epoch: Epoch) -> Any:
    """Sort key: the newest CRL is the greatest.

    Two members that accept CRLs while they are cut off from each other number their epochs alike, so the sequence
    number decides nothing: what the CA says does. For one CRL accepted twice the earlier acceptance stands.
    """
    return _by_newness(epoch)


def is_newer_crl(one: Epoch, other: Epoch) -> bool:
    """Whether the CRLs of `one` are newer, whenever they were accepted."""
    return _compare_crls(one, other) > 0


def newest(epochs: Iterable[Epoch]) -> tuple[Epoch, ...]:
    """The newest epoch of each issuing point, ordered by issuing point."""
    by_point: dict[IssuingPointId, Epoch] = {}
    for epoch in sorted(epochs, key=lambda epoch: epoch.index_name):  # the same whatever the order they came in
        point = epoch.issuing_point
        if point not in by_point or order(epoch) > order(by_point[point]):
            by_point[point] = epoch
    return tuple(by_point[point] for point in sorted(by_point))


def _compare_crls(one: Epoch, other: Epoch) -> int:
    if one.renumbered != other.renumbered:
        return one.renumbered - other.renumbered
    return compare_crls(one.newest, other.newest) or compare_crls(one.base, other.base)


def compare_crls(one: CRLRecord, other: CRLRecord) -> int:
    """Above 0 when `one` is the newer CRL: the number decides where both have one, thisUpdate otherwise."""
    if one.crl_number is not None and other.crl_number is not None:
        return one.crl_number - other.crl_number
    return one.this_update - other.this_update


def _compare(one: Epoch, other: Epoch) -> int:
    return _compare_crls(one, other) or other.accepted_at - one.accepted_at or _compare_names(one, other)


def _compare_names(one: Epoch, other: Epoch) -> int:
    return (one.index_name > other.index_name) - (one.index_name < other.index_name)


_by_newness = cmp_to_key(_compare)
