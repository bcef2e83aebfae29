"""One responder in memory, and the CRLs of kinds that `tests.pki` does not make."""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.memory_store import MemoryStore
from tests.pki import CA, DAY, HOUR, NOW, moment, name, signing_hash
from tests.service.memory_indexes import MemoryIndexes
from tests.service.recording import ADMIN, PUBLISHER, RecordingAudit

from vouchd.core.facts import IssuingPointId
from vouchd.pkix.reasons import Reason
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission

HOLD = x509.ReasonFlags.certificate_hold
COMPROMISED = x509.ReasonFlags.key_compromise
REMOVE = x509.ReasonFlags.remove_from_crl


class World:
    """One responder in memory that knows one CA."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.indexes = MemoryIndexes()
        self.audit = RecordingAudit()
        permission = Permission(self.audit)
        self.authorities = Authorities(self.store, permission, self.audit)
        self.indexing = Indexing(self.store, self.indexes)
        self.ingesting = Ingesting(self.store, self.indexing, permission, self.audit)

    def accept(self, crl: bytes, at: int = NOW):
        return self.ingesting.accept_crl(crl, "push", PUBLISHER, at)

    def entries(self, epoch) -> dict[int, Reason]:
        """Serial to reason of the entries served from an epoch."""
        layers = self.indexes.together(epoch.index_names)
        return {int.from_bytes(serial, "big", signed=True): entry.reason for serial, entry in layers.items()}

    def served(self) -> dict[int, Reason]:
        """The entries of the only issuing point there is."""
        (epoch,) = self.store.epochs()
        return self.entries(epoch)

    def set_policy(self, ca: CA, **changes: object) -> None:
        authority = self.authorities.find(ca.certificate.subject.rfc4514_string())
        self.authorities.set_policy(authority.id, replace(authority.policy, **changes), ADMIN)


def point(world) -> IssuingPointId:
    return IssuingPointId(world.store.authorities()[0].id)


def user_certificates() -> x509.IssuingDistributionPoint:
    return partition(only_user=True)


def partition(
    uri: str | None = None, *, only_user: bool = False, indirect: bool = False
) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(uri)] if uri else None,
        relative_name=None,
        only_contains_user_certs=only_user,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=indirect,
        only_contains_attribute_certs=False,
    )


INDIRECT = partition("http://ca.test/indirect.crl", indirect=True)


def indirect_crl(issuer: CA, entries: list[tuple[int, str | None]], number: int, idp=INDIRECT) -> bytes:
    """DER of an indirect CRL; an entry's second part begins the entries of another certificate issuer."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(moment(NOW - HOUR))
        .next_update(moment(NOW + DAY))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if idp is not None:
        builder = builder.add_extension(idp, critical=True)
    for serial, certificate_issuer in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(NOW - DAY))
        if certificate_issuer:
            entry = entry.add_extension(
                x509.CertificateIssuer([x509.DirectoryName(name(certificate_issuer))]), critical=True
            )
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, signing_hash(issuer.key)).public_bytes(Encoding.DER)
