"""Where the signing key of a new instance comes from: files, a PKCS #12 file, our own CA, or made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from vouchd.ca.authority import CertificateManager
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest, parse_subject
from vouchd.clock import SystemClock
from vouchd.errors import ConfigError
from vouchd.files import read_secret
from vouchd.instance.creation import NewSigner
from vouchd.pkix.certs import is_issued_by
from vouchd.pkix.signatures import algorithms_for
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import generate_key, read_key
from vouchd.signing.pkcs12 import read_pkcs12

DEFAULT_ALGORITHM = "SHA256withEC"


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

    def require_one(self) -> None:
        """Return when the options do not contradict each other. Raises: ConfigError."""
        if sum(source is not None for source in (self.ca, self.key, self.pkcs12)) > 1:
            raise ConfigError("--ca, --signer-key and --pkcs12 exclude each other", hint="give one of them")
        if (self.key is None) != (self.certificate is None):
            raise ConfigError("--signer-key and --signer-cert belong together", hint="give both")

    def signer(self, authorities: list[x509.Certificate]) -> NewSigner:
        """The signer; the CA that certified it is added to `authorities` when it came along.

        Raises: SigningError, ConfigError, IssuanceError.
        """
        if self.ca is not None:
            return self._certified(self.ca, authorities)
        if self.key is not None and self.certificate is not None:
            return self._from_files(self.key, self.certificate)
        if self.pkcs12 is not None:
            return self._from_pkcs12(self.pkcs12, authorities)
        algorithm = self.algorithm or DEFAULT_ALGORITHM
        name = parse_subject(self.subject)
        return NewSigner(generate_key(algorithm), algorithm, nickname=self.nickname, subject=name)

    def _certified(self, folder: Path, authorities: list[x509.Certificate]) -> NewSigner:
        """A new key with a certificate of our CA in `folder`."""
        algorithm = self.algorithm or DEFAULT_ALGORITHM
        key = generate_key(algorithm)
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
        algorithm = self.algorithm or algorithms_for(key.public_key())[0]
        return NewSigner(key, algorithm, leaf, tuple(between), self.nickname)

    def _from_pkcs12(self, path: Path, authorities: list[x509.Certificate]) -> NewSigner:
        bag = read_pkcs12(path, self.read_password(self.password_file, path), self.nickname)
        if not authorities:
            authorities += [other for other in bag.others if is_issued_by(bag.certificate, other)][:1]
        algorithm = self.algorithm or algorithms_for(bag.key.public_key())[0]
        return NewSigner(bag.key, algorithm, bag.certificate, nickname=self.nickname)
