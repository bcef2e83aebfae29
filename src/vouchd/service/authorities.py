"""The certification authorities that the responder answers for: add, list, remove, set what is answered how."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.core import issued
from vouchd.core.facts import (
    Authority,
    AuthorityPolicy,
    Caller,
    CompromisedAnswer,
    Epoch,
    IssuingPointId,
    QuarantinedCRL,
    order,
)
from vouchd.core.key_history import is_ca, is_named, name_of, united, with_certificate, without_certificate
from vouchd.core.ports import AuditSink, StatusStore
from vouchd.errors import (
    ConfigError,
    CRLRejected,
    NoFitSigner,
    NotFound,
    SigningError,
    UnlistedCertificates,
    VouchdError,
)
from vouchd.pkix import certs, names, pem
from vouchd.pkix.crl import read_header
from vouchd.pkix.der import Buffer
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.service.effects import Effect, differences
from vouchd.service.permission import Action, Permission
from vouchd.service.signer_certificates import SignerCertificates

F = TypeVar("F", Epoch, QuarantinedCRL)

# Certificates that somebody gives us, in whatever form they come.

_CERTIFICATE_FORMS = "PEM, DER, base64 or PKCS #7; openssl x509 -in FILE reads one"


def read_certificate(data: Buffer, max_bytes: int) -> tuple[bytes, x509.Certificate]:
    """DER and certificate of the one in `data`, at most `max_bytes`. Raises: ConfigError."""
    if len(data) > max_bytes:
        raise ConfigError(f"a certificate of more than {max_bytes} bytes")
    try:
        (certificate,) = pem.read_one(data).certificates
    except ValueError as error:
        raise ConfigError(f"not a certificate: {error}", hint=f"give one: {_CERTIFICATE_FORMS}") from error
    return certificate.public_bytes(Encoding.DER), certificate


def read_authorities(data: Buffer) -> pem.Bundle:
    """The CAs in `data`, a certificate or a bundle of them, of which those of others are left out with a note.

    Whether a lone certificate is a CA's is for `Authorities.add` to say. Raises: ConfigError.
    """
    try:
        bundle = pem.read_bundle(data)
    except ValueError as error:
        raise ConfigError(f"not a certificate: {error}", hint=_CERTIFICATE_FORMS) from error
    if any(certs.UNREADABLE in (certs.name_text(one), certs.issuer_name_text(one)) for one in bundle.certificates):
        raise ConfigError("a certificate with a name that cannot be read", hint="no client could match it either")
    if len(bundle.certificates) == 1:
        return bundle
    authorities = tuple(one for one in bundle.certificates if is_ca(one) or _signs_crls(one))
    if not authorities:
        raise ConfigError(f"{len(bundle.certificates)} certificates, and none of a certification authority")
    others = (one.subject.rfc4514_string() for one in bundle.certificates if one not in authorities)
    return pem.Bundle(authorities, (*bundle.notes, *(f"{name!r} is no CA and was left out" for name in others)))


MAX_CERTIFICATE_BYTES = 1 << 20
MAX_LABEL_CHARACTERS = 200
MAX_SLOT_SECONDS = 86400
_ADD = "OCSP_ADD_CA_REQUEST"
_ADDED = "OCSP_ADD_CA_REQUEST_PROCESSED"
_REMOVE = "OCSP_REMOVE_CA_REQUEST"
_REMOVED = "OCSP_REMOVE_CA_REQUEST_PROCESSED"
_NEW = ("the CA was added",)
_SCOPE = re.compile(f"{COMPLETE_SCOPE}|[0-9a-f]{{64}}")


# THE rule of who may sign for a CA: at a start, when a CA is added, when its policy changes.


@dataclass(frozen=True, slots=True)
class KnownSigners:
    """The signers of an instance: certificate (DER) by nickname, None for one that has not come yet."""

    certificates: Mapping[str, bytes | None]
    default: str


def signer_doubts(signers: KnownSigners, authority: Authority, at: int) -> tuple[str, ...]:
    """Check that the CA has a signer that may answer for it at POSIX time `at` (RFC 6960 section 4.2.2.2).

    Returns what is doubtful but allowed, one line each; a signer whose certificate has not come yet passes.
    Raises: ConfigError where there is no such signer, SigningError where it may not answer.
    """
    nickname = authority.policy.signer or signers.default
    if nickname not in signers.certificates:
        raise ConfigError(
            f"there is no signer {nickname or '(none named)'} for this CA",
            hint="declare it in CS.cfg: vouchd.signer.NICKNAME.key and .certificate; then: vouchd restart",
        )
    certificate_der = signers.certificates[nickname]
    if certificate_der is None:
        return ()
    try:
        fitness = certs.check_signer_of(
            certs.load_certificate(certificate_der),
            authority.certificates,
            at,
            trusted=authority.policy.trusted_responder,
        )
    except SigningError as error:
        raise SigningError(f"signer {nickname}: {error}", hint=error.hint) from error
    return tuple(f"signer {nickname}: {warning}" for warning in fitness.warnings)


def fit_signer(signers: KnownSigners, known: SignerCertificates, authority: Authority, at: int) -> str:
    """The nickname of a signer that the CA itself has certified, where none is named and the default may not answer.

    Empty: none is needed, or there is none; also while the certificate of the default is to come. `known` are those
    that have come.
    """
    near = known.near(authority)
    coming = signers.default in signers.certificates and signers.certificates[signers.default] is None
    if authority.policy.signer or coming or signers.default in near:
        return ""
    for nickname in near:
        with suppress(SigningError):
            certs.check_signer_of(certs.load_certificate(known[nickname]), authority.certificates, at)
            return nickname
    return ""


@dataclass(frozen=True, slots=True)
class Fitness:
    """What is doubtful about the signer of a CA, and which signer it has certified: see `fit_signer`."""

    doubts: Callable[[Authority], tuple[str, ...]] = lambda _: ()
    certified: Callable[[Authority], str] = lambda _: ""


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """A certificate (DER, PEM or base64) of a CA to answer for; see `Authorities.add`."""

    certificate: Buffer
    label: str = ""
    signer: str = ""
    trusted_responder: bool = False


@dataclass(frozen=True, slots=True)
class AuthoritySummary:
    """One CA as a list shows it; `not_after` of its certificate in POSIX seconds."""

    authority: Authority
    subject: str
    not_after: int
    epochs: tuple[Epoch, ...]
    quarantined: tuple[QuarantinedCRL, ...]

    @property
    def entry_count(self) -> int:
        """Revoked certificates over all issuing points, as their CRLs count them."""
        return sum(epoch.entry_count for epoch in self.epochs)


class Authorities:
    """Every change passes `permission` first and is recorded in `audit` when it is done.

    `fitness()` reads the signers as they are now; what it gives tells what is doubtful about the signer of a CA as it
    is going to be, and raises where none may answer for it: with such a CA the instance would not start again.
    """

    def __init__(
        self, store: StatusStore, permission: Permission, audit: AuditSink, fitness: Callable[[], Fitness] = Fitness
    ) -> None:
        self._store = store
        self._permission = permission
        self._audit = audit
        self._fitness = fitness

    def over(self, store: StatusStore) -> Authorities:
        """The same acts on another view of the store."""
        return Authorities(store, self._permission, self._audit, self._fitness)

    def doubts(self, authority: Authority) -> tuple[str, ...]:
        """What is doubtful about the signer of the CA, one line each.

        Raises: ConfigError when no signer of this instance may answer for it.
        """
        return _doubts(self._fitness(), authority)

    def add(
        self,
        certificate: Buffer,
        caller: Caller,
        *,
        label: str = "",
        signer: str = "",
        trusted_responder: bool = False,
    ) -> Effect[Authority]:
        """Answer for the CA of `certificate` (DER, PEM or base64); its label is its subject when none is given.

        A certificate of a name that is known goes into the history of that CA, which keeps its policy and, when none is
        given, its label: a renewal, another key, another spelling. CAs of one name that an earlier version kept apart
        become one. What is there just so already stays as it is. `signer` is the nickname of the one that answers for
        it; without, its policy or the default decides, or the CA: a signer that it has certified where the default may
        not answer for it. `trusted_responder`: it need not have issued that one.

        Raises: ConfigError when it is not a CA certificate or no signer may answer for it; PermissionDenied.
        """
        _, parsed = read_certificate(certificate, MAX_CERTIFICATE_BYTES)
        identifier, subject = certs.authority_id(parsed), parsed.subject.rfc4514_string()
        self._permission.allow(caller, Action.ADD_AUTHORITY, subject)
        with self._processing(_ADD, _ADDED, caller, ca=identifier, subject=subject):
            draft, documents = self._drafted(certificate, label, signer, trusted=trusted_responder)
            draft = _signed_for(self._fitness(), draft)
            changes = _changes(self._namesakes(certs.subject_der(parsed)), draft)
            if draft != self._store.authority(draft.id):
                self._store.put_authority(draft, documents)
            self._replace_namesakes(draft)
        effect = Effect(draft, changes)
        self._record_added(effect, caller)
        return effect

    def add_all(self, wanted: Sequence[NewAuthority], caller: Caller) -> list[Effect[Authority] | VouchdError]:
        """Do what `add` does for each, as one change of the store; what became of each, in their order.

        One that cannot be added costs itself alone. Raises: PermissionDenied; StoreError, and none of those that were
        not there already was added.
        """
        self._permission.allow(caller, Action.ADD_AUTHORITY, f"{len(wanted)} certificates")
        self._audit.record(_ADD, caller, "success", certificates=len(wanted))
        fitness = self._fitness()
        outcomes: dict[int, Effect[Authority] | VouchdError] = {}
        drafts: dict[bytes, tuple[int, Effect[Authority]]] = {}
        singly: list[int] = []  # those of a name that another of these has, or several CAs of before
        for place, new in enumerate(wanted):
            try:
                _, parsed = read_certificate(new.certificate, MAX_CERTIFICATE_BYTES)
                name = names.canonical(certs.subject_der(parsed))
                namesakes = self._namesakes(certs.subject_der(parsed))
                if name in drafts or len(namesakes) > 1:
                    singly.append(place)
                    continue
                draft, _ = self._drafted(new.certificate, new.label, new.signer, trusted=new.trusted_responder)
                draft = _signed_for(fitness, draft)
                changes = _changes(namesakes, draft)
            except VouchdError as error:
                outcomes[place] = error
                self._audit.record(_ADDED, caller, "failure", why=str(error), place=place)
            else:
                drafts[name] = place, Effect(draft, changes)
        changed = [effect for _, effect in drafts.values() if effect.changes]
        if changed:
            self._store.put_authorities([effect.subject for effect in changed])
        for place, effect in drafts.values():
            self._record_added(effect, caller)
            outcomes[place] = effect
        for place in singly:
            new = wanted[place]
            try:
                outcomes[place] = self.add(
                    new.certificate,
                    caller,
                    label=new.label,
                    signer=new.signer,
                    trusted_responder=new.trusted_responder,
                )
            except (ConfigError, SigningError) as error:
                outcomes[place] = error
        return [outcomes[place] for place in range(len(wanted))]

    def _record_added(self, effect: Effect[Authority], caller: Caller) -> None:
        authority, said = effect.subject, "; ".join(effect.changes) or "none"
        subject, count = _subject(authority), len(authority.certificates)
        self._audit.record(
            _ADDED, caller, "success", ca=authority.id, subject=subject, certificates=count, changes=said
        )

    def unite_all(self, caller: Caller) -> None:
        """Make one CA of each name out of those that an earlier version of this program kept apart, one a key.

        Each step may be repeated after it was cut short, and by several members of a set at once.
        """
        by_name: dict[bytes, list[Authority]] = {}
        for authority in self._store.authorities():
            by_name.setdefault(names.canonical(name_of(authority)), []).append(authority)
        for namesakes in by_name.values():
            if len(namesakes) > 1:
                whole, documents = self._united(namesakes)
                self._store.put_authority(whole, documents)
                self._replace_namesakes(whole)
                self._audit.record(
                    _ADDED,
                    caller,
                    "success",
                    ca=whole.id,
                    subject=_subject(whole),
                    certificates=len(whole.certificates),
                )

    def _drafted(
        self, certificate: Buffer, label: str, signer: str, *, trusted: bool
    ) -> tuple[Authority, dict[str, Buffer]]:
        certificate_der, parsed = read_certificate(certificate, MAX_CERTIFICATE_BYTES)
        namesakes = self._namesakes(certs.subject_der(parsed))
        _require_ca(parsed, may_sign_crls_only=bool(namesakes))
        if namesakes:
            known, documents = self._united(namesakes)
            known = replace(known, policy=_named(known.policy, signer, trusted=trusted))
            return replace(with_certificate(known, certificate_der), label=_label(label or known.label)), documents
        subject = parsed.subject.rfc4514_string()[:MAX_LABEL_CHARACTERS]
        return Authority(
            certs.authority_id(parsed),
            certificate_der,
            _label(label or subject),
            _named(AuthorityPolicy(), signer, trusted=trusted),
        ), {}

    def _namesakes(self, name_der: bytes) -> list[Authority]:
        return [one for one in self._store.authorities_of(name_der) if is_named(one, name_der)]

    def _united(self, namesakes: list[Authority]) -> tuple[Authority, dict[str, Buffer]]:
        """One CA in place of several, with the document of its issued serials.

        Serials are known only when each of them has a list: what one of them issued must not count as never issued.
        """
        whole, others = united(namesakes)
        lists = [one.policy.issued_serials for one in namesakes if one.policy.issued_serials]
        if not others or not lists:
            return whole, {}
        if len(lists) < len(namesakes):
            return replace(whole, policy=replace(whole.policy, issued_serials=None)), {}
        chunks = (self._store.document_chunks(sha256) for sha256 in lists)
        document = issued.document(serial for each in chunks for serial in issued.document_serials(each))
        sha256 = _sha256(document)
        return replace(whole, policy=replace(whole.policy, issued_serials=sha256)), {sha256: document}

    def _replace_namesakes(self, whole: Authority) -> None:
        """Take away the other CAs of its name once their newest CRLs are those of `whole`."""
        namesakes = [one for one in self._namesakes(name_of(whole)) if one.id != whole.id]
        if namesakes:  # first, to make room: where each key has its CRL they were of one scope
            for epoch in self._store.epochs_of(whole.id):
                self._move(epoch, whole, whole)
        for other in namesakes:
            for epoch in self._store.epochs_of(other.id):
                self._move(epoch, other, whole)
            for crl in self._store.quarantined_of(other.id):
                moved = replace(crl, issuing_point=replace(crl.issuing_point, authority_id=whole.id))
                self._store.put_quarantined(moved, self._store.document(crl.record.sha256))
            self._store.remove_authority(other.id)

    def _move(self, epoch: Epoch, owner: Authority, whole: Authority) -> None:
        """Make the epoch one of `whole`, unless that has a newer CRL of its scope, or it is in its place already."""
        crls = (*epoch.records, *epoch.former)
        documents = {crl.sha256: self._store.document(crl.sha256) for crl in crls}
        point = IssuingPointId(whole.id, epoch.issuing_point.scope_id)
        try:
            header = read_header(documents[epoch.base.sha256])
        except CRLRejected:
            header = None
        if header is not None and header.key_index is not None:
            point = IssuingPointId(whole.id, header.point_scope_id)
            epoch = replace(epoch, key_only=True, issuer_key=epoch.issuer_key or certs.key_id(owner.certificate_der))
        if point == epoch.issuing_point:
            return
        current = self._store.epoch(point)
        if current is None or order(epoch) > order(current):
            sequence = current.sequence + 1 if current else 1
            self._store.commit_epoch(replace(epoch, issuing_point=point, sequence=sequence), documents)
        if owner.id == whole.id:
            self._store.retire(whole, epoch.issuing_point.scope_id)

    def summaries(self, caller: Caller) -> tuple[AuthoritySummary, ...]:
        """All CAs with the facts of their issuing points, by label. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_AUTHORITIES, "*")
        epochs, quarantined = _by_authority(self._store.epochs()), _by_authority(self._store.quarantined())
        return tuple(
            _summary(authority, epochs.get(authority.id, ()), quarantined.get(authority.id, ()))
            for authority in self._store.authorities()
        )

    def every(self, caller: Caller) -> tuple[Authority, ...]:
        """All CAs, by label. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_AUTHORITIES, "*")
        return self._store.authorities()

    def summary_by_id(self, authority_id: str, caller: Caller) -> AuthoritySummary:
        """One of those, by its id. Raises: NotFound; PermissionDenied."""
        self._permission.allow(caller, Action.LIST_AUTHORITIES, authority_id)
        authority = self._store.authority(authority_id)
        if authority is None:
            raise NotFound("this responder does not answer for such a CA", hint="look at List Certificate Authorities")
        return self.summary(authority)

    def summary(self, authority: Authority) -> AuthoritySummary:
        """One CA with the facts of its issuing points; who may see it was asked before."""
        return _summary(authority, self._store.epochs_of(authority.id), self._store.quarantined_of(authority.id))

    def find(self, reference: str) -> Authority:
        """The CA that `reference` names: its id or at least 8 digits of its beginning, its label, or its subject.

        Raises: NotFound, also when several are meant.
        """
        matches = [authority for authority in self._store.authorities() if _is_named(authority, reference)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise NotFound(
                f"{len(matches)} CAs are named {reference!r}",
                hint="name one by its id: " + ", ".join(authority.id[:16] for authority in matches),
            )
        raise NotFound(f"no CA is named {reference!r}", hint="vouchd authority list shows those there are")

    def remove(self, reference: str, caller: Caller) -> Authority:
        """Stop answering for the CA and forget its CRLs; the highest CRL number stays known.

        Raises: NotFound; PermissionDenied.
        """
        self._permission.allow(caller, Action.REMOVE_AUTHORITY, reference)
        with self._processing(_REMOVE, _REMOVED, caller, ca=reference):
            authority = self.find(reference)
            self._store.remove_authority(authority.id)
        self._audit.record(_REMOVED, caller, "success", ca=authority.id)
        return authority

    def remove_certificate(self, reference: str, sha256: str, caller: Caller) -> Authority:
        """Take the certificate with that SHA-256 (hex) out of the CA's history.

        What was issued under its key is answered for no longer, unless another certificate holds the same key, and a
        CRL that was verified with it counts no more. Raises: NotFound; ConfigError when it is the CA's only one.
        """
        self._permission.allow(caller, Action.REMOVE_AUTHORITY, reference)
        with self._processing(_REMOVE, _REMOVED, caller, ca=reference, certificate=sha256):
            authority = self.find(reference)
            one = next((der for der in authority.certificates if _sha256(der) == sha256.lower()), None)
            if one is None:
                raise NotFound(
                    f"the CA has no certificate {sha256}", hint="vouchd authority list --json shows those it has"
                )
            try:
                left = without_certificate(authority, one)
            except ValueError as error:
                raise ConfigError(f"{error}", hint="vouchd authority remove takes away the CA") from error
            self._store.put_authority(left)
        self._audit.record(_REMOVED, caller, "success", ca=authority.id, certificate=sha256)
        return left

    @contextmanager
    def _processing(self, request: str, processed: str, caller: Caller, **detail: str) -> Iterator[None]:
        """Record the request before it is carried out, and why it was not."""
        self._audit.record(request, caller, "success", **detail)
        try:
            yield
        except VouchdError as error:
            self._audit.record(processed, caller, "failure", why=str(error), **detail)
            raise

    def set_policy(self, reference: str, policy: AuthorityPolicy, caller: Caller) -> Authority:
        """Answer for the CA as `policy` says; a list of issued serials that it names must be stored already.

        Raises: ConfigError when a value makes no sense, or no signer may answer for the CA then; NotFound;
        PermissionDenied.
        """
        self._permission.allow(caller, Action.SET_POLICY, reference)
        _require_sense(policy)
        authority = replace(self.find(reference), policy=policy)
        self.doubts(authority)
        self._store.put_authority(authority)
        self._audit.record("CONFIG_OCSP_PROFILE", caller, "success", ca=authority.id)
        return authority

    def declare_compromised(
        self, reference: str, since: int | None, answer: CompromisedAnswer, caller: Caller, *, at: int
    ) -> Authority:
        """Answer from now on that all that the CA issued is revoked (cACompromise) since `since`, or tryLater.

        None takes that back. Raises: ConfigError for a moment after `at`, now; NotFound; PermissionDenied.
        """
        self._permission.allow(caller, Action.DECLARE_COMPROMISED, reference)
        if since is not None and not 0 < since <= at:
            raise ConfigError("that moment is not in the past", hint="a CA is declared compromised since a moment")
        known = self.find(reference)
        policy = replace(known.policy, compromised_at=since, compromised_answer=answer)
        authority = replace(known, policy=policy)
        if authority != known:
            self._store.put_authority(authority)
        detail = {"compromised_since": since, "answer": str(answer)} if since is not None else {"compromised_since": 0}
        self._audit.record("CONFIG_OCSP_PROFILE", caller, "success", ca=authority.id, **detail)
        return authority

    def set_issued_serials(
        self,
        reference: str,
        serials: Buffer | None,
        caller: Caller,
        *,
        radix: int = 10,
        ours: Mapping[str, bytes] | None = None,
    ) -> Authority:
        """Take the list of the serials that the CA has issued, so that no other is `good`; None takes it away.

        `serials`: see core.issued.issued_serials. `ours` are certificates (DER) that must not be refused for it, by
        what they are called. Raises: UnlistedCertificates where one of them is of this CA and not in the list;
        ConfigError when unreadable; NotFound; PermissionDenied.
        """
        self._permission.allow(caller, Action.SET_ISSUED_SERIALS, reference)
        authority = self.find(reference)
        documents: dict[str, Buffer] = {}
        name = None
        if serials is not None:
            try:
                document = issued.document(issued.issued_serials(serials, radix))
            except ValueError as error:
                raise ConfigError(f"issued serials: {error}", hint="one serial a line, or PEM certificates") from error
            _require_listed(ours or {}, authority, document)
            name = hashlib.sha256(document).hexdigest()
            documents[name] = document
        authority = replace(authority, policy=replace(authority.policy, issued_serials=name))
        self._store.put_authority(authority, documents)
        self._audit.record("CONFIG_OCSP_PROFILE", caller, "success", ca=authority.id, issued_serials=name or "none")
        return authority


def _named(policy: AuthorityPolicy, signer: str, *, trusted: bool) -> AuthorityPolicy:
    """The policy with that signer, where one is named."""
    return replace(policy, signer=signer or policy.signer, trusted_responder=trusted or policy.trusted_responder)


def _changes(namesakes: list[Authority], draft: Authority) -> tuple[str, ...]:
    """What the CA, as it is going to be, has that none of those of its name had."""
    if not namesakes:
        return _NEW
    former = next((one for one in namesakes if one.id == draft.id), namesakes[0])
    known = {der for one in namesakes for der in one.certificates}
    added = (_sha256(der)[:16] for der in draft.certificates if der not in known)
    parts: dict[str, Callable[[Authority], object]] = {
        "label": lambda one: one.label,
        "signer": lambda one: one.policy.signer or "the default one",
        "trusted responder": lambda one: one.policy.trusted_responder,
    }
    return (
        *(f"the certificate {sha256}… was added to its history" for sha256 in added),
        *differences(former, draft, parts),
        *([f"{len(namesakes)} CAs of its name were made one"] if len(namesakes) > 1 else []),
    )


def _require_listed(ours: Mapping[str, bytes], authority: Authority, document: bytes) -> None:
    missing = []
    for name, der in ours.items():
        certificate = certs.load_certificate(der)
        serial = certs.serial_octets(certificate).hex()
        line = f"{serial}\n".encode()
        listed = document.startswith(line) or b"\n" + line in document
        if not listed and is_named(authority, certs.issuer_der(certificate)):
            missing.append(f"{name} (0x{serial})")
    if missing:
        raise UnlistedCertificates(
            f"not in the list, and refused from then on: {', '.join(missing)}",
            hint="add them to the list, or take it all the same: --yes (REST: unlisted=true)",
        )


def _signed_for(fitness: Fitness, draft: Authority) -> Authority:
    """The CA with a signer that may answer for it. Raises: NoFitSigner."""
    if certified := fitness.certified(draft):
        draft = replace(draft, policy=replace(draft.policy, signer=certified))
    _doubts(fitness, draft)
    return draft


def _doubts(fitness: Fitness, authority: Authority) -> tuple[str, ...]:
    try:
        return fitness.doubts(authority)
    except SigningError as error:  # here it is the CA that does not fit, not the signer
        raise NoFitSigner(f"no signer of this instance may answer for it: {error}", hint=error.hint) from error


def _require_ca(certificate: x509.Certificate, *, may_sign_crls_only: bool) -> None:
    if not is_ca(certificate) and not (may_sign_crls_only and _signs_crls(certificate)):
        raise ConfigError(
            f"{certificate.subject.rfc4514_string()!r} is not a certification authority",
            hint="a CA's has basicConstraints with cA, and keyCertSign where it has keyUsage (RFC 5280 4.2.1)",
        )


def _signs_crls(certificate: x509.Certificate) -> bool:
    """Whether it is for a separate CRL key of a CA: keyUsage that says cRLSign."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return False


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _label(label: str) -> str:
    if not label.isprintable() or not 0 < len(label.strip()) <= MAX_LABEL_CHARACTERS:
        raise ConfigError(f"a label has 1 to {MAX_LABEL_CHARACTERS} printable characters", hint="give one: --label")
    return label.strip()


def _require_sense(policy: AuthorityPolicy) -> None:
    percent, cutoff = policy.quarantine_percent, policy.archive_cutoff_seconds
    if percent is not None and not 0 < percent <= 100:
        raise ConfigError(f"quarantine_percent {percent}: more than 0, up to 100")
    if cutoff is not None and cutoff < 0:
        raise ConfigError(f"archive_cutoff_seconds {cutoff}: not negative")
    if policy.slot_seconds is not None and not 1 <= policy.slot_seconds <= MAX_SLOT_SECONDS:
        raise ConfigError(f"slot_seconds {policy.slot_seconds}: 1 to {MAX_SLOT_SECONDS}")
    if policy.quarantine_entries < 0:
        raise ConfigError(f"quarantine_entries {policy.quarantine_entries}: not negative")
    for scope_id in policy.expected_scopes:
        if not _SCOPE.fullmatch(scope_id):
            raise ConfigError(
                f"expected scope {scope_id!r} is neither `complete` nor a SHA-256",
                hint="vouchd crl show FILE tells the scope of a CRL",
            )
    for certificate_der in policy.crl_issuers:
        read_certificate(certificate_der, MAX_CERTIFICATE_BYTES)


def _is_named(authority: Authority, reference: str) -> bool:
    if reference == authority.label:
        return True
    known = [_shown(one) for one in authority.certificates]
    ids = {authority.id, *(one.authority_id for one in known)}  # each certificate's, so that any of them names the CA
    if len(reference) >= 8 and any(one.startswith(reference.lower()) for one in ids):
        return True
    return reference in {one.subject for one in known}


class _Shown(NamedTuple):
    """What is shown of a certificate of a CA, and what it is found by."""

    authority_id: str
    subject: str
    not_after: int


@lru_cache(maxsize=1 << 15)
def _shown(certificate_der: bytes) -> _Shown:
    certificate = certs.load_certificate(certificate_der)
    subject = certificate.subject.rfc4514_string()
    return _Shown(certs.authority_id(certificate), subject, certs.not_after(certificate))


def _subject(authority: Authority) -> str:
    return _shown(authority.certificate_der).subject


def _summary(authority: Authority, epochs: Sequence[Epoch], quarantined: Sequence[QuarantinedCRL]) -> AuthoritySummary:
    """The CA with the facts of its own issuing points."""
    shown = _shown(authority.certificate_der)
    return AuthoritySummary(authority, shown.subject, shown.not_after, tuple(epochs), tuple(quarantined))


def _by_authority(facts: Iterable[F]) -> dict[str, list[F]]:
    """The facts of each CA by its id, in their order."""
    grouped: dict[str, list[F]] = {}
    for fact in facts:
        grouped.setdefault(fact.issuing_point.authority_id, []).append(fact)
    return grouped
