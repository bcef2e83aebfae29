"""A status store in memory: for tests and trials; everything is gone with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vouchd.core.approval_facts import Approvals
from vouchd.core.changes import Changes, Concerned, PointFacts
from vouchd.core.facts import Authority, Epoch, Facts, IssuingPointId, JoinToken, Member, QuarantinedCRL, User
from vouchd.core.key_history import issuer_names
from vouchd.core.signer_facts import Keyring
from vouchd.errors import NotFound
from vouchd.pkix import names
from vouchd.pkix.der import Buffer
from vouchd.stores.rules import (
    CHUNK_BYTES,
    NO_HIGH_WATER,
    HighWater,
    changed_approvals,
    changed_keyring,
    crl_hashes,
    documents_of,
    keeping,
    lowered,
    mark_after,
    merged,
    named_documents,
    no_authority,
    no_document,
    no_issuing_point,
    no_member,
    no_token,
    no_user,
    quarantine_order,
    require_administrator,
    require_member_change,
    require_next,
    require_user_change,
)


class MemoryStore:
    """Keeps the contracts of all the stores but for durability; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revision = 0
        self._authorities: dict[str, Authority] = {}
        self._epochs: dict[IssuingPointId, Epoch] = {}
        self._high_water: dict[IssuingPointId, HighWater] = {}
        self._quarantined: dict[IssuingPointId, QuarantinedCRL] = {}
        self._documents: dict[str, bytes] = {}
        self._users: dict[str, User] = {}
        self._members: dict[str, Member] = {}
        self._tokens: dict[str, JoinToken] = {}
        self._keyring = Keyring()
        self._approvals = Approvals()
        self._known = ({}, {})
        self._changes: dict[str | IssuingPointId, int] = {}  # the revision in which it changed last

    def revision(self) -> int:
        """See StatusStore."""
        return self._revision

    def changes(self, since: int) -> Changes:
        """See StatusStore."""
        with self._lock:
            whole = not 0 <= since <= self._revision
            changed = [key for key, revision in self._changes.items() if whole or revision > since]
            return Changes(
                self._revision,
                {key: self._authorities.get(key) for key in changed if isinstance(key, str)},
                {key: self._point(key) for key in changed if isinstance(key, IssuingPointId)},
                whole,
            )

    def authority(self, authority_id: str) -> Authority | None:
        """See StatusStore."""
        return self._authorities.get(authority_id)

    def authorities_of(self, name_der: bytes) -> tuple[Authority, ...]:
        """See StatusStore."""
        return tuple(one for one in self.authorities() if names.canonical(name_der) in issuer_names(one))

    def authorities(self) -> tuple[Authority, ...]:
        """See StatusStore."""
        with self._lock:
            return tuple(sorted(self._authorities.values(), key=lambda authority: (authority.label, authority.id)))

    def put_authority(self, authority: Authority, documents: Mapping[str, Buffer] | None = None) -> None:
        """See StatusStore."""
        with self._lock:
            self._take(documents or {}, authority.policy.issued_serials)
            self._authorities[authority.id] = authority
            self._changed()

    def put_authorities(self, authorities: Sequence[Authority]) -> None:
        """See StatusStore."""
        for authority in authorities:
            self.put_authority(authority)

    def remove_authority(self, authority_id: str) -> None:
        """See StatusStore."""
        with self._lock:
            self._require_authority(authority_id)
            del self._authorities[authority_id]
            for facts in (self._epochs, self._quarantined):
                for point in [point for point in facts if point.authority_id == authority_id]:
                    del facts[point]
            self._changed()

    def epochs(self) -> tuple[Epoch, ...]:
        """See StatusStore."""
        with self._lock:
            return tuple(self._epochs[point] for point in sorted(self._epochs))

    def epochs_of(self, authority_id: str) -> tuple[Epoch, ...]:
        """See StatusStore."""
        return tuple(epoch for epoch in self.epochs() if epoch.issuing_point.authority_id == authority_id)

    def epoch(self, issuing_point: IssuingPointId) -> Epoch | None:
        """See StatusStore."""
        return self._epochs.get(issuing_point)

    def commit_epoch(self, epoch: Epoch, documents: Mapping[str, Buffer]) -> None:
        """See StatusStore."""
        point = epoch.issuing_point
        with self._lock:
            self._require_authority(point.authority_id)
            current = self._epochs.get(point)
            require_next(epoch, current.sequence if current else 0)
            self._take(documents, *crl_hashes(epoch))
            self._epochs[point] = keeping(epoch, self._documents.__contains__)
            self._high_water[point] = mark_after(self._high_water.get(point, NO_HIGH_WATER), epoch, current)
            suspect = self._quarantined.get(point)
            if suspect and suspect.record.sha256 in crl_hashes(epoch):
                del self._quarantined[point]
            self._changed()

    def commit_epochs(self, commits: Sequence[tuple[Epoch, Mapping[str, Buffer]]]) -> None:
        """See StatusStore."""
        for epoch, documents in commits:
            self.commit_epoch(epoch, documents)

    def retire(self, authority: Authority, scope_id: str) -> None:
        """See StatusStore."""
        point = IssuingPointId(authority.id, scope_id)
        with self._lock:
            self._require_authority(authority.id)
            if not {point} & {*self._epochs, *self._quarantined}:
                raise no_issuing_point(scope_id)
            self._epochs.pop(point, None)
            self._quarantined.pop(point, None)
            self._authorities[authority.id] = authority
            self._changed()

    def high_water(self, issuing_point: IssuingPointId) -> HighWater:
        """See StatusStore."""
        return self._high_water.get(issuing_point, NO_HIGH_WATER)

    def document(self, sha256: str) -> bytes:
        """See StatusStore."""
        try:
            return self._documents[sha256]
        except KeyError:
            raise no_document(sha256) from None

    def document_chunks(self, sha256: str) -> Iterator[bytes]:
        """See StatusStore."""
        document = self.document(sha256)
        return (document[start : start + CHUNK_BYTES] for start in range(0, len(document), CHUNK_BYTES))

    def quarantined(self) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore."""
        with self._lock:
            return tuple(sorted(self._quarantined.values(), key=quarantine_order))

    def quarantined_of(self, authority_id: str) -> tuple[QuarantinedCRL, ...]:
        """See StatusStore."""
        return tuple(crl for crl in self.quarantined() if crl.issuing_point.authority_id == authority_id)

    def put_quarantined(self, crl: QuarantinedCRL, document: Buffer) -> None:
        """See StatusStore."""
        with self._lock:
            self._require_authority(crl.issuing_point.authority_id)
            self._take({crl.record.sha256: document})
            self._quarantined[crl.issuing_point] = crl
            self._changed()

    def drop_quarantined(self, issuing_point: IssuingPointId) -> None:
        """See StatusStore."""
        with self._lock:
            if self._quarantined.pop(issuing_point, None) is None:
                raise NotFound("no CRL is held back for this issuing point")
            self._changed()

    def users(self) -> tuple[User, ...]:
        """See IdentityStore."""
        with self._lock:
            return tuple(self._users[user_id] for user_id in sorted(self._users))

    def put_user(self, user: User, replaces: User | None) -> None:
        """See IdentityStore."""
        with self._lock:
            require_user_change(self._users, user, replaces)
            self._users[user.id] = user
            self._revision += 1

    def remove_user(self, user_id: str) -> None:
        """See IdentityStore."""
        with self._lock:
            if user_id not in self._users:
                raise no_user(user_id)
            left = {name: user for name, user in self._users.items() if name != user_id}
            require_administrator(self._users, left)
            self._users = left
            self._revision += 1

    def members(self) -> tuple[Member, ...]:
        """See DomainStore."""
        with self._lock:
            return tuple(self._members[member_id] for member_id in sorted(self._members))

    def put_member(self, member: Member, replaces: Member | None) -> None:
        """See DomainStore."""
        with self._lock:
            require_member_change(self._members, member, replaces)
            self._members[member.id] = member
            self._revision += 1

    def remove_member(self, member_id: str) -> None:
        """See DomainStore."""
        with self._lock:
            if self._members.pop(member_id, None) is None:
                raise no_member(member_id)
            self._revision += 1

    def put_token(self, token: JoinToken) -> None:
        """See DomainStore."""
        with self._lock:
            self._tokens[token.digest] = token
            self._revision += 1

    def token(self, digest: str) -> JoinToken | None:
        """See DomainStore."""
        return self._tokens.get(digest)

    def tokens(self) -> tuple[JoinToken, ...]:
        """See DomainStore."""
        with self._lock:
            return tuple(sorted(self._tokens.values(), key=lambda token: (token.expires_at, token.digest)))

    def drop_tokens(self) -> None:
        """See DomainStore."""
        with self._lock:
            self._tokens.clear()
            self._revision += 1

    def take_token(self, digest: str, at: int) -> JoinToken:
        """See DomainStore."""
        with self._lock:
            token = self._tokens.get(digest)
            if token is None or token.expires_at <= at:
                raise no_token()
            del self._tokens[digest]
            self._revision += 1
            return token

    def keyring(self) -> Keyring:
        """See KeyringStore."""
        return self._keyring

    def put_keyring(self, keyring: Keyring, replaces: Keyring) -> None:
        """See KeyringStore."""
        with self._lock:
            self._keyring = changed_keyring(self._keyring, keyring, replaces)
            self._revision += 1

    def approvals(self) -> Approvals:
        """See ApprovalStore."""
        return self._approvals

    def put_approvals(self, approvals: Approvals, replaces: Approvals) -> None:
        """See ApprovalStore."""
        with self._lock:
            self._approvals = changed_approvals(self._approvals, approvals, replaces)
            self._revision += 1

    def facts(self) -> Facts:
        """See MirrorStore."""
        with self._lock:
            return Facts(
                authorities=tuple(sorted(self._authorities.values(), key=lambda ca: (ca.label, ca.id))),
                epochs=tuple(self._epochs[point] for point in sorted(self._epochs)),
                quarantined=tuple(sorted(self._quarantined.values(), key=quarantine_order)),
                high_water=tuple((point, *self._high_water[point]) for point in sorted(self._high_water)),
                users=tuple(self._users[user_id] for user_id in sorted(self._users)),
                members=tuple(self._members[member_id] for member_id in sorted(self._members)),
                keyring=self._keyring,
                approvals=self._approvals,
            )

    def facts_since(self, revision: int) -> tuple[int, Facts, Concerned | None]:
        """See MirrorStore."""
        changes, facts = self.changes(revision), self.facts()
        if changes.whole:
            return changes.revision, facts, None
        part = replace(
            facts,
            authorities=tuple(one for one in facts.authorities if one.id in changes.authorities),
            epochs=tuple(one for one in facts.epochs if one.issuing_point in changes.points),
            quarantined=tuple(one for one in facts.quarantined if one.issuing_point in changes.points),
            high_water=tuple(mark for mark in facts.high_water if mark[0] in changes.points),
        )
        return changes.revision, part, Concerned(frozenset(changes.authorities), frozenset(changes.points))

    def lacking(self, facts: Facts) -> tuple[str, ...]:
        """See MirrorStore."""
        with self._lock:
            return tuple(named_documents(facts) - self._documents.keys())

    def adopt(self, facts: Facts, documents: Mapping[str, Buffer], concerned: Concerned | None = None) -> None:
        """See MirrorStore."""
        with self._lock:
            self._take(documents, *named_documents(facts))
            fallen = lowered(facts.epochs, self._epochs.values())
            if concerned is None:
                concerned = Concerned(frozenset(self._authorities), frozenset({*self._epochs, *self._quarantined}))
            gone = concerned.authorities - {authority.id for authority in facts.authorities}
            for known in (self._epochs, self._quarantined):
                for point in [one for one in known if one in concerned.points or one.authority_id in gone]:
                    del known[point]
            self._authorities = {key: one for key, one in self._authorities.items() if key not in gone}
            self._authorities |= {authority.id: authority for authority in facts.authorities}
            self._epochs |= {epoch.issuing_point: epoch for epoch in facts.epochs}
            self._quarantined |= {crl.issuing_point: crl for crl in facts.quarantined}
            for point, number, this_update in facts.high_water:
                mark = NO_HIGH_WATER if point in fallen else self._high_water.get(point, NO_HIGH_WATER)
                self._high_water[point] = merged(mark, (number, this_update))
            self._users = {user.id: user for user in facts.users}
            self._members = {member.id: member for member in facts.members}
            self._keyring = facts.keyring
            self._approvals = facts.approvals
            self._changed()

    def close(self) -> None:
        """See StatusStore; there is nothing to release."""

    def _require_authority(self, authority_id: str) -> None:
        if authority_id not in self._authorities:
            raise no_authority(authority_id)

    def _take(self, documents: Mapping[str, Buffer], *named: str | None) -> None:
        missing = [name for name in named if name and name not in documents and name not in self._documents]
        if missing:
            raise no_document(missing[0])
        self._documents |= {sha256: bytes(document) for sha256, document in documents.items()}

    def _changed(self) -> None:
        named = {name for epoch in self._epochs.values() for name in documents_of(epoch)}
        named |= {crl.record.sha256 for crl in self._quarantined.values()}
        named |= {authority.policy.issued_serials or "" for authority in self._authorities.values()}
        self._documents = {sha256: document for sha256, document in self._documents.items() if sha256 in named}
        self._revision += 1
        points = {*self._epochs, *self._quarantined, *self._high_water}
        known = ({**self._authorities}, {point: self._point(point) for point in points})
        for before, now in zip(self._known, known, strict=True):
            for key in before.keys() | now.keys():
                if before.get(key) != now.get(key):
                    self._changes[key] = self._revision
        self._known = known

    def _point(self, point: IssuingPointId) -> PointFacts:
        return PointFacts(self._epochs.get(point), self._quarantined.get(point))
