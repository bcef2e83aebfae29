"""The protocols that the core and the services need of the world, each with its contract in prose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from vouchd.core.approval_facts import Approvals
from vouchd.core.changes import Changes, Concerned
from vouchd.core.facts import (
    Authority,
    Caller,
    Epoch,
    Facts,
    IndexNames,
    IssuingPointId,
    JoinToken,
    Member,
    QuarantinedCRL,
    User,
)
from vouchd.core.signer_facts import Keyring
from vouchd.pkix.der import Buffer
from vouchd.pkix.reasons import RevocationEntry

SEALED_KINDS = CA_KIND, USER_KIND, MEMBER_KIND, TOKEN_KIND, KEYRING_KIND, APPROVALS_KIND = (
    "CA",
    "user",
    "member",
    "join token",
    "keyring",
    "approvals",
)
KEPT_BY_MASTER = frozenset({USER_KIND, APPROVALS_KIND})  # what no other member may change


class StatusStore(Protocol):
    """Durable facts: authorities, the current epoch of each issuing point, quarantined CRLs, documents.

    Every method is one atomic step: when it returns the change survives `kill -9` and loss of power, when it raises
    nothing changed. Any number of processes may use one store; readers are never blocked by a writer. All methods raise
    `StoreUnavailable` when the store cannot be reached; the caller decides whether to try again. A store on a
    server that died before it said whether it made a change, and is not back, raises that too; doing it again tells.
    """

    def revision(self) -> int:
        """A number that rises with every change by anyone; cheap enough to ask ten times a second."""

    def changes(self, since: int) -> Changes:
        """What is held now of all that changed after revision `since`, in one consistent view; NEVER: of everything.

        It costs what changed, however much the store holds. Changes of users, members and tokens count in the revision
        and are not among these. A store that cannot tell what changed since says that this is all there is: `whole`.
        """

    def authorities(self) -> tuple[Authority, ...]:
        """All authorities, ordered by label then id."""

    def authority(self, authority_id: str) -> Authority | None:
        """The authority of that id, None when it is not registered."""

    def authorities_of(self, name_der: bytes) -> tuple[Authority, ...]:
        """Those whose CRLs an issuer of that Name (DER) may sign, ordered as all are: see core.key_history.

        They are the CA of that name (RFC 5280 section 7.1), and the CAs whose policy names a CRL issuer of that name.
        """

    def put_authority(self, authority: Authority, documents: Mapping[str, Buffer] | None = None) -> None:
        """Add the authority or replace the one of the same id, with the documents that its policy names.

        Its epochs stay. Raises: NotFound when a document that the policy names is neither stored nor given.
        """

    def put_authorities(self, authorities: Sequence[Authority]) -> None:
        """Do for each what `put_authority` does, as one change.

        A store that changes one thing at a time, as a directory does, has changed those before one that fails.
        """

    def remove_authority(self, authority_id: str) -> None:
        """Remove the authority with its epochs and quarantined CRLs; the highest CRL numbers stay known.

        Raises: NotFound.
        """

    def epochs(self) -> tuple[Epoch, ...]:
        """The current epoch of every issuing point, ordered by issuing point."""

    def epochs_of(self, authority_id: str) -> tuple[Epoch, ...]:
        """Those of one authority's issuing points."""

    def epoch(self, issuing_point: IssuingPointId) -> Epoch | None:
        """The current epoch of one issuing point, None when it has none."""

    def commit_epoch(self, epoch: Epoch, documents: Mapping[str, Buffer]) -> None:
        """Make `epoch` current, together with the CRLs it names that are not stored yet, all or nothing.

        `documents` maps SHA-256 (hex) to bytes of up to 2 GiB. Drops the documents that no current epoch, policy or
        quarantine entry names any more. A quarantined CRL that the epoch contains leaves quarantine in the same step.
        Of the former CRLs that the epoch names those stay that are stored or given; the others it does not name then.

        Raises: StoreConflict when `epoch.sequence` is not one above the current sequence (1 when there is none);
        NotFound when the authority is not registered, or a CRL of the epoch is neither stored nor given.
        """

    def commit_epochs(self, commits: Sequence[tuple[Epoch, Mapping[str, Buffer]]]) -> None:
        """Do for each what `commit_epoch` does, as one change; see `put_authorities`."""

    def retire(self, authority: Authority, scope_id: str) -> None:
        """Store `authority`; drop the current epoch of its issuing point of that scope, and the CRL held back for it.

        The highest CRL number stays known. Raises: NotFound when the authority is not registered, or there is neither.
        """

    def high_water(self, issuing_point: IssuingPointId) -> tuple[int | None, int]:
        """Highest (CRL number, thisUpdate) ever committed for the issuing point, (None, 0) when none was.

        Survives removal of the authority: rollback protection. An epoch with a higher `renumbered` than the current one
        begins it anew.
        """

    def document(self, sha256: str) -> bytes:
        """The bytes of one document. Raises: NotFound."""

    def document_chunks(self, sha256: str) -> Iterator[bytes]:
        """The same in pieces of at most 1 MiB, in order. Raises: NotFound."""

    def quarantined(self) -> tuple[QuarantinedCRL, ...]:
        """CRLs held back, oldest first."""

    def quarantined_of(self, authority_id: str) -> tuple[QuarantinedCRL, ...]:
        """Those of one authority."""

    def put_quarantined(self, crl: QuarantinedCRL, document: Buffer) -> None:
        """Hold back one CRL; replaces an older one of the same issuing point.

        Raises: NotFound when the authority is not registered.
        """

    def drop_quarantined(self, issuing_point: IssuingPointId) -> None:
        """Forget the CRL held back for the issuing point. Raises: NotFound."""

    def close(self) -> None:
        """Release what the store holds; it is not used afterwards."""


class IdentityStore(Protocol):
    """Durable facts about who may come to the agent port.

    Every method is one atomic step, durable as those of StatusStore are; where one store keeps both, its revision
    counts the changes of both. All raise `StoreUnavailable` when the store cannot be reached.
    """

    def revision(self) -> int:
        """See StatusStore."""

    def users(self) -> tuple[User, ...]:
        """All users, ordered by id."""

    def put_user(self, user: User, replaces: User | None) -> None:
        """Store `user` in place of `replaces`, the user of the same id as the caller has read it; None: a new user.

        Raises: StoreConflict when that is not what is stored; AlreadyExists when another user has one of the
        certificates; LastAdministrator when no enabled user would be left in the group Administrators where one was.
        """

    def remove_user(self, user_id: str) -> None:
        """Remove the user with its certificates.

        Raises: NotFound; LastAdministrator when it is the last enabled user in the group Administrators.
        """


class DomainStore(Protocol):
    """Durable facts of the security domain: who is in it, and who may join.

    Every method is one atomic step, durable as those of StatusStore are, and counted by the same revision. All raise
    `StoreUnavailable` when the store cannot be reached.
    """

    def members(self) -> tuple[Member, ...]:
        """All members, ordered by id."""

    def put_member(self, member: Member, replaces: Member | None) -> None:
        """Store `member` in place of `replaces`, the member of that id as the caller has read it; None: a new one.

        Raises: StoreConflict when that is not what is stored; AlreadyExists when another member has the replica id.
        """

    def remove_member(self, member_id: str) -> None:
        """Remove the member. Raises: NotFound."""

    def put_token(self, token: JoinToken) -> None:
        """Keep a new join token; those that expired before `token` was made may be dropped."""

    def token(self, digest: str) -> JoinToken | None:
        """The token of that digest, which may have expired; None when it was used, forgotten or never there."""

    def tokens(self) -> tuple[JoinToken, ...]:
        """All that are kept, those that have expired too, ordered by their end and digest."""

    def drop_tokens(self) -> None:
        """Forget all join tokens: none of them is good any more."""

    def take_token(self, digest: str, at: int) -> JoinToken:
        """Use up the token of that digest: of several that ask for one token, one gets it.

        Raises: NotFound when there is none, or it has expired at `at`.
        """


class Seals(Protocol):
    """Tells which records of a store that others can write to are believed, and seals what is written there.

    `kind` is one of SEALED_KINDS, a record is the JSON object of a fact with what else stands in it.
    """

    def seal(self, kind: str, identifier: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with this instance's seal. Raises: as `require`; ConfigError when the key for it is gone."""

    def removal(self, kind: str, identifier: str) -> dict[str, Any] | None:
        """What says, with this instance's seal, that the fact is removed; None where nobody wants that said.

        Raises: as `seal`; PermissionDenied for a fact that this instance may not remove.
        """

    def require(self, kind: str) -> None:
        """Return where this instance may change such a fact. Raises: PermissionDenied."""

    def wants_all(self, kind: str) -> bool:
        """Whether all that is stored of a kind is to be believed once, so that it has to be told whole."""

    def mark(self) -> int:
        """What is believed now, to be taken before a store is read for `believe`."""

    def believe(
        self,
        kind: str,
        stored: Mapping[str, Sequence[Mapping[str, Any]]],
        mark: int,
        registry: Callable[[], object],
        damaged: Collection[str] = (),
        removals: Collection[Mapping[str, Any]] = (),
        missing: Collection[str] | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """By identifier what is believed of the `stored` records; in place of what is not, what was before it.

        What was believed and is not stored is believed still, unless one of the `removals` says that it is gone. With
        `missing`, `stored` is not all there is: it is what changed and what was not believed before, and these are
        gone. `damaged` are the names of records that cannot be read. What has come to be believed since the `mark` is
        newer than what is stored. `registry` reads the members of the set, whose keys may have changed.
        """


class KeyringStore(Protocol):
    """The durable fact of which signers the set has.

    Every method is one atomic step, durable as those of StatusStore are, and counted by the same revision. All raise
    `StoreUnavailable` when the store cannot be reached.
    """

    def keyring(self) -> Keyring:
        """The keyring; an empty one before the first was put."""

    def put_keyring(self, keyring: Keyring, replaces: Keyring) -> None:
        """Store `keyring`, counted as one more change, in place of `replaces`, as the caller has read it.

        Raises: StoreConflict when that is not what is stored.
        """


class ApprovalStore(Protocol):
    """The durable fact of what waits for a second agent.

    Every method is one atomic step, durable as those of StatusStore are, and counted by the same revision. All raise
    `StoreUnavailable` when the store cannot be reached.
    """

    def approvals(self) -> Approvals:
        """All of them; none before the first was put."""

    def put_approvals(self, approvals: Approvals, replaces: Approvals) -> None:
        """Store `approvals`, counted as one more change, in place of `replaces`, as the caller has read them.

        Raises: StoreConflict when that is not what is stored.
        """


class Store(StatusStore, IdentityStore, DomainStore, KeyringStore, ApprovalStore, Protocol):
    """A store of all five kinds of facts, with one revision."""


class MirrorStore(Protocol):
    """A store that can be made equal to another one, for instances that follow a master without a directory."""

    def facts(self) -> Facts:
        """Everything that members have alike, in one consistent view."""

    def facts_since(self, revision: int) -> tuple[int, Facts, Concerned | None]:
        """The revision now, and the facts of the CAs and issuing points that changed after that one, in one view.

        What is of no CA (users, members, keyring, approvals) is among them in full. None in place of what they are of:
        they are all there are.
        """

    def lacking(self, facts: Facts) -> tuple[str, ...]:
        """SHA-256 (hex) of the documents that `facts` names and the store does not hold, in no order."""

    def adopt(self, facts: Facts, documents: Mapping[str, Buffer], concerned: Concerned | None = None) -> None:
        """Make this store's facts equal to `facts`, all or nothing, whatever sequence numbers say.

        With `concerned`, those of these CAs and issuing points, and what is of none; others stay as they are.

        High-water marks never fall but where `facts` have numbers lowered: a mark that is higher here stays. Raises:
        NotFound when a document that `facts` names is neither stored nor given.
        """


@runtime_checkable
class ChangeNotifier(Protocol):
    """A store that tells of changes by anyone as they come, beside being asked for its revision."""

    def notify(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed`, from a thread of the store's, after each change, until the function returned is called.

        Changes that come together may be told as one. A connection that breaks is made again, and `changed` is called
        when it stands again, as there may have been changes meanwhile.
        """


class Partitions(Protocol):
    """Which of a CA's many issuing points list a serial: candidates, of which each is asked by itself."""

    def holds(self, index: RevocationIndex) -> bool:
        """Whether the entries of that index are in here, so that it need not be asked for others."""

    def scopes(self, serial: bytes) -> tuple[str, ...]:
        """The scope ids of points that may list `serial` (DER INTEGER content octets)."""


class RevocationIndex(Protocol):
    """The entries of one epoch, immutable."""

    def find(self, serial: bytes) -> RevocationEntry | None:
        """The entry of `serial` (DER INTEGER content octets), None when it is not revoked.

        Raises: IndexFileError when what would tell is damaged.
        """

    def __len__(self) -> int:
        """How many entries there are."""

    @property
    def size_bytes(self) -> int:
        """How large it is."""

    def at(self, position: int) -> RevocationEntry:
        """The entry at that position, from 0, in an order of the index's own."""


class IndexWriter(Protocol):
    """The folder of immutable index files that answering reads.

    A file's name is derived from what it holds, so a file that is there and whole is right. Every method is atomic and
    durable as those of StatusStore are. All raise `StoreUnavailable` when the folder cannot be written or read, and
    those that read an index IndexFileError when a file is not there or damaged.
    """

    def write(self, name: str, crl: Callable[[], Buffer], certificate_issuer: bytes) -> int:
        """Write what one CRL says, complete or delta, unless it is there; returns how many serials it lists.

        `crl` gives its DER when it is wanted. `certificate_issuer` is DER of the Name whose certificates count; it
        matters for an indirect CRL.

        Raises: CRLRejected at an entry that is malformed; what `crl` raises.
        """

    def count(self, index: IndexNames) -> int:
        """How many entries base and changes have together; costs what changed."""

    def fold(self, index: IndexNames) -> None:
        """Write base and changes as one file, which is read in their place from then on."""

    def write_serials(self, name: str, serials: Iterable[bytes]) -> None:
        """Write the set of `serials` (DER INTEGER content octets), unless it is there."""

    def is_present(self, name: str) -> bool:
        """Whether there is such a file, whole or not."""

    def is_intact(self, name: str) -> bool:
        """Whether the file is there and whole."""

    def doubt(self, name: str) -> None:
        """Read the file through before it is taken as whole again: what was read of it was wrong."""

    def difference(self, old: IndexNames, new: IndexNames) -> tuple[int, int, int]:
        """How many serials of `old` the index `new` lacks, how many it has that `old` lacks, and how many `old` has.

        Between two on one base it costs what they change.
        """

    def missing(self, old: IndexNames, new: IndexNames, limit: int) -> tuple[bytes, ...]:
        """At most `limit` serials (DER INTEGER content octets) of `old` that the index `new` lacks, lowest first."""

    def names(self) -> frozenset[str]:
        """The index files that are there, and what was left of writing that was cut short."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; whoever has mapped it keeps it."""


class SerialSet(Protocol):
    """The serials that a CA is known to have issued, immutable."""

    def __contains__(self, serial: bytes) -> bool:
        """Whether `serial` (DER INTEGER content octets) was issued. Raises: IndexFileError."""

    def __len__(self) -> int:
        """How many there are."""

    def at(self, position: int) -> bytes:
        """The serial at that position, from 0, in an order of the set's own."""


class Signer(Protocol):
    """A key that signs OCSP responses, with its certificate: a delegated signer's, or the CA's own."""

    @property
    def nickname(self) -> str:
        """The name of the signer in settings."""

    @property
    def certificate_der(self) -> bytes:
        """DER of the certificate that answers are verified with."""

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """DER certificates between the signer's and the CA's, sent along after the signer's own."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Names of `core.signatures.ALGORITHMS` that the key can make, the default first."""

    @property
    def is_slow(self) -> bool:
        """Whether a signature takes so long that nobody else should wait for it."""

    @property
    def together(self) -> int:
        """How many signatures are best asked for at once, where so many are wanted."""

    def sign_all(self, wanted: Sequence[bytes], algorithm: str) -> list[bytes]:
        """Signature octets over each that is wanted, as `sign` makes them. Raises: SigningError."""

    def repeats(self, algorithm: str) -> bool:
        """Whether it makes the same signature over the same data each time."""

    def sign(self, tbs: bytes, algorithm: str) -> bytes:
        """Signature octets over `tbs`. Raises: SigningError."""


class AuditSink(Protocol):
    """Where administrative acts are recorded; no record, no act."""

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        """Make the event durable before returning."""


class Clock(Protocol):
    """Wall-clock time."""

    def now(self) -> int:
        """POSIX seconds, UTC."""
