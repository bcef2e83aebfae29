"""The versions of the keyring as files of this instance: found, written, and tried out before they sign.

Keys and certificates get files of their own in `alias/`, as those that `vouchd certs` makes; a key that came otherwise,
in a PKCS #12 file or by hand, is found by its public key wherever it lies under that nickname.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.client.inquiry import new_nonce, question
from vouchd.client.parsing import parse_response
from vouchd.client.response_acceptance import NonceRule, Terms, verify_response
from vouchd.core.facts import Authority, CRLRecord, Epoch, IssuingPointId
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, ResponsePolicy
from vouchd.core.signer_facts import SignerVersion
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.errors import ClientError, SigningError, VerificationError
from vouchd.files import replace_file
from vouchd.instance.certificates.places import free_stem, numbered
from vouchd.instance.certificates.rehearsal import rehearse
from vouchd.pkix.certs import check_signer_of, load_certificate
from vouchd.pkix.purposes import Issuers, Purpose
from vouchd.pkix.reasons import RevocationEntry
from vouchd.pkix.scope import Scope
from vouchd.service.answering import Responder
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.signing_keys import SignerSettings
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import PrivateKey, read_key, write_key
from vouchd.signing.sealing import public_key_hash
from vouchd.signing.software import SoftwareSigner

_TRIAL_SERIAL = b"\x40" + bytes(15)
_TRIAL_SECONDS = 600


class VersionFiles:
    """The files of versions in the instance at `layout`; `password` opens the keys there."""

    def __init__(self, layout: Layout, password: str | None) -> None:
        self._layout = layout
        self._password = password
        self._hashes: dict[tuple[Path, int], str] = {}  # public key of a file as it was at that time

    def key_file(self, version: SignerVersion, settings: Settings) -> Path | None:
        """Where the key is, None where it is not here. Raises: SigningError."""
        named = (signer.key_file for signer in settings.signers if signer.nickname == version.nickname)
        for path in dict.fromkeys((*reversed(numbered(self._layout.alias, version.nickname, ".key")), *named)):
            if path.exists() and self._hash(path) == version.public_key:
                return path
        return None

    def read(self, path: Path) -> PrivateKey:
        """The key in one of the files. Raises: SigningError."""
        return read_key(path, self._password)

    def write_key(self, version: SignerVersion, key: PrivateKey) -> Path:
        """Write a key that has come, encrypted; call it under the lock of CS.cfg. Raises: SigningError."""
        if public_key_hash(key) != version.public_key:
            raise SigningError(f"the key that came for {version.name} is another one than its certificate's")
        stem = free_stem(self._layout.alias, version.nickname)
        path = stem.with_name(f"{stem.name}.key")
        write_key(path, key, self._password or "")
        return path

    def signer(self, version: SignerVersion, key_file: Path) -> SignerSettings:
        """The version as CS.cfg would name it; its certificate is written where it is not yet. Raises: SigningError."""
        certificates = tuple(load_certificate(one) for one in (version.certificate_der, *version.chain))
        path = self._certificate_file(version, key_file, certificates)
        return SignerSettings(version.nickname, key_file, path, None, version.algorithm)

    def _certificate_file(
        self, version: SignerVersion, key_file: Path, certificates: tuple[x509.Certificate, ...]
    ) -> Path:
        for path in (key_file.with_suffix(".pem"), *numbered(self._layout.alias, version.nickname, ".pem")):
            if path.exists() and read_certificates(path) == certificates:
                return path
        path = key_file.with_suffix(".pem")
        if path.exists():  # of another certificate for this key
            stem = free_stem(self._layout.alias, version.nickname)
            path = stem.with_name(f"{stem.name}.pem")
        replace_file(path, b"".join(one.public_bytes(Encoding.PEM) for one in certificates), 0o644)
        return path

    def _hash(self, path: Path) -> str:
        stamp = (path, path.stat().st_mtime_ns)
        if stamp not in self._hashes:
            self._hashes[stamp] = public_key_hash(self.read(path))
        return self._hashes[stamp]


def rehearse_version(
    version: SignerVersion,
    key: PrivateKey,
    authorities: Iterable[Authority],
    anchors: Iterable[x509.Certificate],
    policy: ResponsePolicy,
    at: int,
) -> tuple[str, ...]:
    """Try out whether the version could sign for these CAs at POSIX time `at`; what is doubtful about it.

    Chain up to one of `anchors` or a root, extended key usage, validity, digitalSignature, algorithm; then for each CA
    an answer, which is verified as clients do. Raises: SigningError, naming the CA.
    """
    own = tuple(authorities)
    certificate = load_certificate(version.certificate_der)
    bundle = tuple(load_certificate(one) for one in version.chain)
    registered = tuple(load_certificate(one) for authority in own for one in authority.certificates)
    signer = SoftwareSigner(version.nickname, key, version.certificate_der, version.chain, version.algorithm)
    doubts: tuple[str, ...] = ()
    if certificate not in registered:  # a CA's own key is not for OCSP alone
        _, doubts = rehearse(Purpose.OCSP_SIGNING, key, certificate, bundle, Issuers((*registered, *anchors)), at)
    for authority in own:
        try:
            _try_answer(signer, authority, policy, at)
        except (SigningError, ClientError, VerificationError) as error:
            raise SigningError(f"CA {authority.label}: {error}", hint=error.hint) from error
    return doubts


def _try_answer(signer: SoftwareSigner, authority: Authority, policy: ResponsePolicy, at: int) -> None:
    """Answer for a serial of the CA, as if it had a CRL, and verify that.

    Raises: SigningError, ClientError, VerificationError.
    """
    trusted = authority.policy.trusted_responder
    check_signer_of(load_certificate(signer.certificate_der), authority.certificates, at, trusted=trusted)
    named = replace(authority, policy=replace(authority.policy, signer=signer.nickname))
    lenient = replace(
        policy, signature=RequestSignaturePolicy.IGNORE, nonce=NoncePolicy.ECHO, reject_algorithms=frozenset()
    )
    responder = Responder(
        ServingState(1, (ServingAuthority(named, (_trial_point(named, at),), None),)),
        {signer.nickname: signer},
        signer.nickname,
        lenient,
    )
    nonce, refusals = new_nonce(), []
    for certificate_der in _issuers(signer, authority, trusted=trusted):
        inquiry = question(certificate_der, [_TRIAL_SERIAL], digest="SHA-256", nonce=nonce)
        response = parse_response(responder.answer(inquiry.request_der, at).response_der)
        terms = Terms(nonce=NonceRule.REQUIRE, trusted_signers=(signer.certificate_der,) if trusted else ())
        issuer = load_certificate(certificate_der)
        try:
            verify_response(response, issuer, inquiry.cert_ids, nonce=nonce, at=at, terms=terms)
        except (ClientError, VerificationError) as error:
            refusals.append(error)
        else:
            return
    raise refusals[0] if refusals else SigningError("no certificate of this CA has issued the signer's")


def _issuers(signer: SoftwareSigner, authority: Authority, *, trusted: bool) -> Iterator[bytes]:
    """Those certificates of the CA under which clients accept the signer."""
    certificate = load_certificate(signer.certificate_der)
    for one in authority.certificates:
        try:
            check_signer_of(certificate, [one], max(0, _moment(certificate)))
        except SigningError:
            if not trusted:
                continue
        yield one


def _moment(certificate: x509.Certificate) -> int:
    """A second in which the certificate is valid: who issued it is asked, not whether it is valid now."""
    return int(certificate.not_valid_before_utc.timestamp()) + 1


def _trial_point(authority: Authority, at: int) -> ServingPoint:
    record = CRLRecord("0" * 64, 0, at, at + _TRIAL_SECONDS, None)
    return ServingPoint(Epoch(IssuingPointId(authority.id), 1, record, at), _NoEntries(), Scope())


class _NoEntries:
    """The index of a CRL that revokes nothing."""

    size_bytes = 0

    def find(self, serial: bytes) -> RevocationEntry | None:  # noqa: ARG002  the port's signature
        return None

    def __len__(self) -> int:
        return 0

    def at(self, position: int) -> RevocationEntry:
        raise IndexError(position)
