"""A responder with one CA in memory, for fuzzing what becomes of a request as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.pki import CA, NOW, Issued

from vouchd.core.facts import Authority, CRLRecord, Epoch, IssuingPointId
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.pkix.certs import authority_id
from vouchd.pkix.reasons import Reason, RevocationEntry
from vouchd.pkix.scope import Scope
from vouchd.service.answering import Responder

SERIALS = (1, 2, 3, 127, 128, 2**64, 2**158)
REVOKED = frozenset({2, 128})


@dataclass(frozen=True, slots=True)
class KeyInMemory:
    """A signer whose signature costs nothing, so that the time goes into the responder."""

    signer: Issued
    nickname: str = "ocsp"
    algorithms: tuple[str, ...] = ("SHA256withEC",)
    is_slow: bool = False

    @property
    def certificate_der(self) -> bytes:
        """The delegated signer's certificate."""
        return self.signer.der

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """What is sent along."""
        return (self.signer.der,)

    def repeats(self, algorithm: str) -> bool:
        """It does, whatever the algorithm is."""
        return bool(algorithm)

    def sign(self, tbs: bytes, algorithm: str) -> bytes:
        """Not a signature."""
        return algorithm.encode() + tbs[:8]


class Entries(dict[bytes, RevocationEntry]):
    """A revocation index."""

    def find(self, serial: bytes) -> RevocationEntry | None:
        """The entry of `serial`."""
        return self.get(serial)


@cache
def authority() -> CA:
    """The CA that is answered for."""
    return CA.create(key=ec.derive_private_key(7, ec.SECP256R1()))


@cache
def signer() -> Issued:
    """The delegated signer of that CA."""
    return authority().issue_signer()


@cache
def responder() -> Responder:
    """The responder for that CA."""
    return made()


def made() -> Responder:
    """A responder for that CA that nobody has asked yet."""
    ca = authority()
    name = authority_id(ca.certificate)
    entries = (RevocationEntry(n.to_bytes(n.bit_length() // 8 + 1, "big"), NOW, Reason.KEY_COMPROMISE) for n in REVOKED)
    record = CRLRecord("0" * 64, 1000, NOW - 3600, NOW + 86400, 1)
    point = ServingPoint(
        Epoch(IssuingPointId(name), 1, record, NOW - 60), Entries({entry.serial: entry for entry in entries}), Scope()
    )
    state = ServingState(1, (ServingAuthority(Authority(name, ca.der, "fuzz"), (point,)),))
    return Responder(state, {"ocsp": KeyInMemory(signer())}, "ocsp", ResponsePolicy())


@cache
def requests() -> tuple[bytes, ...]:
    """DER of requests that the responder has an answer for."""
    issuer = authority().certificate
    made = []
    for number, serial in enumerate(SERIALS):
        digest = (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())[number % 4]  # noqa: S303  met daily
        certificate = authority().issue(serial=serial).certificate
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, digest)
        if number % 2:
            builder = builder.add_extension(x509.OCSPNonce(bytes(range(32))), critical=False)
        made.append(builder.build().public_bytes(Encoding.DER))
    return tuple(made)
