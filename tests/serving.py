"""ServingStates and Responders in one call, in memory, for tests of answering and whatever stands on it."""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.pki import CA, DAY, HOUR, NOW, Issued, serial_octets

from vouchd.core.facts import Authority, AuthorityPolicy, CRLRecord, Epoch, IssuingPointId
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.pkix.certs import authority_id
from vouchd.pkix.reasons import Reason, RevocationEntry
from vouchd.pkix.scope import Scope
from vouchd.service.answering import Responder
from vouchd.signing.software import SoftwareSigner


class Entries(dict):
    """A RevocationIndex in memory: serial octets -> entry."""

    def find(self, serial: bytes) -> RevocationEntry | None:
        return self.get(serial)

    def at(self, position: int) -> RevocationEntry:
        return list(self.values())[position]


def entry(number: int, reason: Reason = Reason.KEY_COMPROMISE, **kw) -> RevocationEntry:
    """The entry of a serial number, revoked a day before NOW."""
    return RevocationEntry(serial_octets(number), kw.pop("revocation_time", NOW - DAY), reason, **kw)


def point(
    ca: CA,
    *entries: RevocationEntry,
    scope: Scope | None = None,
    this_update: int = NOW - HOUR,
    next_update: int | None = NOW + DAY,
    accepted_at: int = NOW - HOUR + 60,
) -> ServingPoint:
    """An issuing point of `ca` that lists `entries`."""
    scope = scope or Scope()
    facts = f"{ca.certificate.subject}{this_update}{next_update}{scope.scope_id}"
    record = CRLRecord(hashlib.sha256(facts.encode()).hexdigest(), 1000, this_update, next_update, 7)
    where = IssuingPointId(authority_id(ca.certificate), scope.scope_id)
    epoch = Epoch(where, 1, record, accepted_at, idp_der=scope.idp_der)
    return ServingPoint(epoch, Entries({item.serial: item for item in entries}), scope)


def serving(ca: CA, *points: ServingPoint, issued: set[bytes] | None = None, **policy) -> ServingAuthority:
    """`ca` with its issuing points and policy."""
    authority = Authority(authority_id(ca.certificate), ca.der, "CA", AuthorityPolicy(**policy))
    return ServingAuthority(authority, points, issued)


def state(*authorities: ServingAuthority, version: int = 1) -> ServingState:
    """A ServingState of these authorities."""
    return ServingState(version, authorities)


def signer(
    issued: Issued, nickname: str = "signer", algorithm: str = "", chain: tuple[Issued, ...] = ()
) -> SoftwareSigner:
    """A signer with this certificate and key, and those above it."""
    return SoftwareSigner(nickname, issued.key, issued.der, tuple(one.der for one in chain), algorithm)


def responder(holding: ServingState, *signers: SoftwareSigner, **policy) -> Responder:
    """A Responder whose first signer is the default one."""
    return Responder(holding, {s.nickname: s for s in signers}, signers[0].nickname, ResponsePolicy(**policy))


def request_for(
    ca: CA, number: int, *, nonce: bytes | None = None, digest: hashes.HashAlgorithm | None = None
) -> bytes:
    """DER of a request for one serial number of `ca`, as another implementation builds it."""
    digest = digest or hashes.SHA1()
    name = hashes.Hash(digest)
    name.update(ca.certificate.subject.public_bytes())
    ski = x509.SubjectKeyIdentifier.from_public_key(ca.certificate.public_key()).digest
    key_hash = ski if isinstance(digest, hashes.SHA1) else _key_hash(ca, digest)
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name.finalize(), key_hash, number, digest)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def _key_hash(ca: CA, digest: hashes.HashAlgorithm) -> bytes:
    leaf = ca.issue(key=ca.key)
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf.certificate, ca.certificate, digest).build()
    return request.issuer_key_hash
