"""Where the signing key of a new instance comes from: files, PKCS #12, a token, our own CA, or made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from cryptography import x509

from vouchd.ca.authority import CertificateManager
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest, parse_subject
from vouchd.clock import SystemClock
from vouchd.errors import ConfigError, SigningError
from vouchd.files import read_secret
from vouchd.instance.creation import NewSigner, OnToken
from vouchd.pkix.certs import is_issued_by
from vouchd.pkix.signatures import algorithms_for
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import PrivateKey, generate_key, read_key
from vouchd.signing.pkcs12 import read_key_file
from vouchd.signing.token_source import TokenSource

DEFAULT_ALGORITHM = "SHA256withEC"
DEFAULT_SUBJECT = "CN=OCSP Signing Certificate"
# Clients of a Certificate System come with its keys, and its OCSPClient cannot read an answer with a reason.
OF_CERTIFICATE_SYSTEM = MappingProxyType({"vouchd.response.reasons": "false"})


@dataclass(frozen=True, slots=True)
class SignerSource:
    """The options as given; with none of them a key is made and left without a certificate."""

    ca: Path | None
    key: Path | None
    certificate: Path | None
    chain: Path | None
    pkcs12: Path | None
    password_file: Path | None
    read_password: Callable[[Path | None, Path], str]  # of the file, or typed
    algorithm: str
    subject: str
    nickname: str
    token: TokenSource | None = None

    def require_one(self) -> None:
        """Return when the options do not contradict each other. Raises: ConfigError."""
        if sum(source is not None for source in (self.ca, self.key, self.pkcs12)) > 1:
            raise ConfigError("--ca, --signer-key and --pkcs12 exclude each other", hint="give one of them")
        if self.token is not None and (self.key or self.pkcs12):
            raise ConfigError(
                "--token excludes --signer-key and --pkcs12", hint="a key on a token is found by --signer-cert, or made"
            )
        if self.token is None and (self.key is None) != (self.certificate is None):
            raise ConfigError("--signer-key and --signer-cert belong together", hint="give both")

    def signer(self, authorities: list[x509.Certificate]) -> NewSigner:
        """The signer; the CA that certified it is added to `authorities` when it came along.

        Raises: SigningError, ConfigError, IssuanceError.
        """
        if self.token is not None:
            return self._on_token(self.token, authorities)
        if self.ca is not None:
            return self._certified(self.ca, generate_key(self.algorithm or DEFAULT_ALGORITHM), authorities)
        if self.key is not None and self.certificate is not None:
            return self._from_files(self.key, self.certificate)
        if self.pkcs12 is not None:
            return self._from_pkcs12(self.pkcs12, authorities)
        algorithm = self.algorithm or DEFAULT_ALGORITHM
        name = parse_subject(self.subject)
        return NewSigner(generate_key(algorithm), algorithm, nickname=self.nickname, subject=name)

    def _on_token(self, token: TokenSource, authorities: list[x509.Certificate]) -> NewSigner:
        """A key that is there, by its certificate, or a new one."""
        place: OnToken = {"token": token.place.name, "passwords": token.passwords}
        if self.certificate is not None:
            chain = read_certificates(self.chain) if self.chain else ()
            leaf, *between = [*read_certificates(self.certificate), *chain]
            key = token.find(leaf, self.nickname)
            algorithm = self.algorithm or algorithms_for(key.public_key())[0]
            return NewSigner(key, algorithm, leaf, tuple(between), self.nickname, **place)
        algorithm = self.algorithm or DEFAULT_ALGORITHM
        key, discard = token.make(algorithm, self.nickname)
        try:
            if self.ca is not None:
                return replace(self._certified(self.ca, key, authorities), discard=discard, **place)
            name = parse_subject(self.subject)
            return NewSigner(key, algorithm, nickname=self.nickname, subject=name, discard=discard, **place)
        except BaseException:
            discard()
            raise

    def _certified(self, folder: Path, key: PrivateKey, authorities: list[x509.Certificate]) -> NewSigner:
        """That key with a certificate of our CA in `folder`."""
        algorithm = self.algorithm or DEFAULT_ALGORITHM
        with CertificateManager(folder) as manager:
            request = CertificateRequest(parse_subject(self.subject), key.public_key(), ProfileName.OCSP_SIGNING)
            certificate = x509.load_der_x509_certificate(manager.issue(request, SystemClock().now()).der)
            authorities.append(manager.certificate)
        return NewSigner(key, algorithm, certificate, nickname=self.nickname)

    def _from_files(self, key_file: Path, certificate_file: Path) -> NewSigner:
        encrypted = b"ENCRYPTED" in read_secret(key_file)
        password = self.read_password(self.password_file, key_file) if encrypted or self.password_file else None
        key = read_key(key_file, password)
        chain = read_certificates(self.chain) if self.chain else ()
        leaf, *between = [*read_certificates(certificate_file), *chain]
        if leaf.public_key() != key.public_key():
            raise SigningError(
                f"{key_file}: the key does not belong to the certificate in {certificate_file}",
                hint="name the certificate of this key; it comes first in its file",
            )
        algorithm = self.algorithm or algorithms_for(key.public_key())[0]
        return NewSigner(key, algorithm, leaf, tuple(between), self.nickname)

    def _from_pkcs12(self, path: Path, authorities: list[x509.Certificate]) -> NewSigner:
        file = read_key_file(path, self.read_password(self.password_file, path))
        bag = file.only(self.nickname)
        if not authorities:
            authorities += [other for other in bag.others if is_issued_by(bag.certificate, other)][:1]
        algorithm = self.algorithm or algorithms_for(bag.key.public_key())[0]
        signer = NewSigner(bag.key, algorithm, bag.certificate, nickname=self.nickname)
        if not file.certificate_system:
            return signer
        said = f"{path} is of a Certificate System, whose OCSPClient cannot read revocation reasons: answers tell none"
        return replace(signer, values=OF_CERTIFICATE_SYSTEM, note=f"{said} (vouchd.response.reasons=false in CS.cfg)")
