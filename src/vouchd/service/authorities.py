"""The certification authorities that the responder answers for: add, list, remove, set what is answered how."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cryptography import x509

from vouchd.core import issued
from vouchd.core.facts import Authority, AuthorityPolicy, Caller, Epoch, QuarantinedCRL
from vouchd.core.ports import AuditSink, StatusStore
from vouchd.errors import ConfigError, NotFound, VouchdError
from vouchd.pkix import certs, pem
from vouchd.pkix.der import Buffer
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.service.permission import Action, Permission

# A certificate that somebody gives us, in whatever form it comes.


def read_certificate(data: Buffer, max_bytes: int) -> tuple[bytes, x509.Certificate]:
    """DER and certificate of `data`: DER, PEM or base64, at most `max_bytes`. Raises: ConfigError."""
    if len(data) > max_bytes:
        raise ConfigError(f"a certificate of more than {max_bytes} bytes")
    try:
        der = bytes(pem.single(data, pem.CERTIFICATE_LABELS))
        return der, certs.load_certificate(der)
    except ValueError as error:
        raise ConfigError(
            f"not a certificate: {error}", hint="give one certificate as PEM or DER; openssl x509 -in FILE reads it"
        ) from error


MAX_CERTIFICATE_BYTES = 1 << 20
MAX_LABEL_CHARACTERS = 200
_ADD = "OCSP_ADD_CA_REQUEST"
_ADDED = "OCSP_ADD_CA_REQUEST_PROCESSED"
_REMOVE = "OCSP_REMOVE_CA_REQUEST"
_REMOVED = "OCSP_REMOVE_CA_REQUEST_PROCESSED"
_SCOPE = re.compile(f"{COMPLETE_SCOPE}|[0-9a-f]{{64}}")


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
        return sum(epoch.base.entry_count + (epoch.delta.entry_count if epoch.delta else 0) for epoch in self.epochs)


class Authorities:
    """Every change passes `permission` first and is recorded in `audit` when it is done."""

    def __init__(self, store: StatusStore, permission: Permission, audit: AuditSink) -> None:
        self._store = store
        self._permission = permission
        self._audit = audit

    def add(self, certificate: Buffer, caller: Caller, *, label: str = "") -> Authority:
        """Answer for the CA of `certificate` (DER, PEM or base64); its label is its subject when none is given.

        A CA that is there already keeps its policy and, when none is given, its label; a renewed certificate of the
        same name and key takes the old one's place.

        Raises: ConfigError when it is not a CA certificate; PermissionDenied.
        """
        certificate_der, parsed = read_certificate(certificate, MAX_CERTIFICATE_BYTES)
        identifier, subject = certs.authority_id(parsed), parsed.subject.rfc4514_string()
        self._permission.allow(caller, Action.ADD_AUTHORITY, subject)
        with self._processing(_ADD, _ADDED, caller, ca=identifier, subject=subject):
            _require_ca(parsed)
            known = next((ca for ca in self._store.authorities() if ca.id == identifier), None)
            authority = Authority(
                id=identifier,
                certificate_der=certificate_der,
                label=_label(label or (known.label if known else subject[:MAX_LABEL_CHARACTERS])),
                policy=known.policy if known else AuthorityPolicy(),
            )
            if authority != known:
                self._store.put_authority(authority)
        self._audit.record(_ADDED, caller, "success", ca=identifier, subject=subject)
        return authority

    def summaries(self, caller: Caller) -> tuple[AuthoritySummary, ...]:
        """All CAs with the facts of their issuing points, by label. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_AUTHORITIES, "*")
        epochs, quarantined = self._store.epochs(), self._store.quarantined()
        return tuple(summary_of(authority, epochs, quarantined) for authority in self._store.authorities())

    def find(self, reference: str) -> Authority:
        """The CA that `reference` names: its id or at least 8 digits of its beginning, its label, or its subject.

        Raises: NotFound, also when several are meant.
        """
        found = [authority for authority in self._store.authorities() if _is_named(authority, reference)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFound(
                f"{len(found)} CAs are named {reference!r}",
                hint="name one by its id: " + ", ".join(authority.id[:16] for authority in found),
            )
        raise NotFound(f"no CA is named {reference!r}", hint="vouchd ca list shows those there are")

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

        Raises: ConfigError when a value makes no sense; NotFound; PermissionDenied.
        """
        self._permission.allow(caller, Action.SET_POLICY, reference)
        _require_sense(policy)
        authority = replace(self.find(reference), policy=policy)
        self._store.put_authority(authority)
        self._audit.record("CONFIG_OCSP_PROFILE", caller, "success", ca=authority.id)
        return authority

    def set_issued_serials(
        self, reference: str, serials: Buffer | None, caller: Caller, *, radix: int = 10
    ) -> Authority:
        """Take the list of the serials that the CA has issued, so that no other is `good`; None takes it away.

        `serials`: see core.issued.issued_serials. Raises: ConfigError when unreadable; NotFound; PermissionDenied.
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
            name = hashlib.sha256(document).hexdigest()
            documents[name] = document
        authority = replace(authority, policy=replace(authority.policy, issued_serials=name))
        self._store.put_authority(authority, documents)
        self._audit.record("CONFIG_OCSP_PROFILE", caller, "success", ca=authority.id, issued_serials=name or "none")
        return authority


def _require_ca(certificate: x509.Certificate) -> None:
    try:
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usages = [extension.value for extension in extensions if isinstance(extension.value, x509.KeyUsage)]
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        constraints, usages = x509.BasicConstraints(ca=False, path_length=None), []
    if not constraints.ca or not all(usage.key_cert_sign for usage in usages):
        raise ConfigError(
            f"{certificate.subject.rfc4514_string()!r} is not a certification authority",
            hint="a CA's has basicConstraints with cA, and keyCertSign where it has keyUsage (RFC 5280 4.2.1)",
        )


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
    for scope_id in policy.expected_scopes:
        if not _SCOPE.fullmatch(scope_id):
            raise ConfigError(
                f"expected scope {scope_id!r} is neither `complete` nor a SHA-256",
                hint="vouchd crl show FILE tells the scope of a CRL",
            )
    for certificate_der in policy.crl_issuers:
        read_certificate(certificate_der, MAX_CERTIFICATE_BYTES)


def _is_named(authority: Authority, reference: str) -> bool:
    if len(reference) >= 8 and authority.id.startswith(reference.lower()):
        return True
    return reference in {authority.label, _subject(authority)}


def _subject(authority: Authority) -> str:
    return certs.load_certificate(authority.certificate_der).subject.rfc4514_string()


def summary_of(
    authority: Authority, epochs: tuple[Epoch, ...], quarantined: tuple[QuarantinedCRL, ...]
) -> AuthoritySummary:
    """The CA with those of the issuing points and CRLs held back that are its own."""
    certificate = certs.load_certificate(authority.certificate_der)
    return AuthoritySummary(
        authority=authority,
        subject=certificate.subject.rfc4514_string(),
        not_after=certs.not_after(certificate),
        epochs=tuple(epoch for epoch in epochs if epoch.issuing_point.authority_id == authority.id),
        quarantined=tuple(crl for crl in quarantined if crl.issuing_point.authority_id == authority.id),
    )
