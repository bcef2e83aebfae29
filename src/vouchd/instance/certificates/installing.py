"""One certificate that has come: whose key it is for, whether it serves, and the switch to it.

Keys and certificates are never overwritten: each new one gets a file of its own in `alias/`, and CS.cfg, replaced as a
whole, says which are in use. So the switch is one rename, and what was before is still there.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.core.facts import Authority
from vouchd.errors import SigningError
from vouchd.files import read_file, replace_file, write_new
from vouchd.instance.certificates.places import SystemCertificate, free_stem, numbered, pending_requests
from vouchd.instance.certificates.rehearsal import rehearse, try_handshake
from vouchd.instance.certificates.tokens import token_label
from vouchd.pkix.certs import check_signer_of, is_issued_by, load_certificate
from vouchd.pkix.purposes import Issuers, Purpose
from vouchd.pkix.signatures import algorithms_for
from vouchd.settings import cs_cfg
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL
from vouchd.settings.reading import settings_from
from vouchd.settings.tcp_ports import KeyFiles
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import PrivateKey, read_key
from vouchd.signing.token.reference import HARDWARE


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate with its key, the CAs to be sent along with it, and what is doubtful about it."""

    key_file: Path
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Installation:
    """The place that a certificate is to take; `password` opens the keys, `at` is now in POSIX seconds.

    A chain may end in `trusted` too: in what comes out of a backup of this very key.
    """

    layout: Layout
    settings: Settings
    place: SystemCertificate
    authorities: tuple[Authority, ...]
    password: str | None
    at: int
    trusted: tuple[x509.Certificate, ...] = ()

    def check(self, bundle: Sequence[x509.Certificate]) -> Candidate:
        """Find the certificate in `bundle` that is for one of our keys and try it out. Raises: SigningError."""
        key_file, key, certificate = self._ours(bundle)
        purpose = self.place.purpose
        registered = [load_certificate(der) for authority in self.authorities for der in authority.certificates]
        trust_file = self.settings.agent.trust_file
        anchors = Issuers((*registered, *(read_certificates(trust_file) if trust_file else ()), *self.trusted))
        chain, warnings = rehearse(purpose, key, certificate, bundle, anchors, self.at)
        # Nobody is sent a root; but a backup has to hold what its keys are restored with elsewhere.
        kept = purpose in {Purpose.SUBSYSTEM, Purpose.AUDIT_SIGNING}
        kept = kept or (purpose is Purpose.OCSP_SIGNING and self.settings.responder.send_root)
        above = tuple(ca for ca in chain if kept or not is_issued_by(ca, ca))
        top = chain[-1] if chain else certificate
        if purpose is Purpose.TLS_SERVER and not is_issued_by(top, top):
            name = top.subject.rfc4514_string()
            warnings = (*warnings, f"its chain stops short of a root, at {name!r}: who does not trust that refuses it")
        if purpose is Purpose.OCSP_SIGNING:
            self._check_signer(certificate)
            above = tuple(ca for ca in above if ca not in registered)
        if purpose is Purpose.TLS_SERVER:
            self._try_server(key_file, (certificate, *above), chain[-1:] or (certificate,))
        return Candidate(key_file, certificate, above, warnings)

    def _ours(self, bundle: Sequence[x509.Certificate]) -> tuple[Path, PrivateKey, x509.Certificate]:
        name = self.place.name
        newest_first = reversed(numbered(self.layout.alias, name, ".key"))
        for path in dict.fromkeys((*newest_first, self.place.files.key_file)):
            if not path.exists():
                continue
            key = read_key(path, self.password)
            for certificate in bundle:
                if certificate.public_key() == key.public_key():
                    return path, key, certificate
        raise SigningError(
            f"none of the certificates is for a key of {name}",
            hint=f"have a request certified that `vouchd certs request` made for {name}",
        )

    def _check_signer(self, certificate: x509.Certificate) -> None:
        """Check that it may answer for each CA that this signer answers for."""
        for authority in self.authorities:
            if (authority.policy.signer or self.settings.default_signer) == self.place.name:
                try:
                    check_signer_of(
                        certificate, authority.certificates, self.at, trusted=authority.policy.trusted_responder
                    )
                except SigningError as error:
                    raise SigningError(f"CA {authority.label}: {error}", hint=error.hint) from error

    def _try_server(self, key_file: Path, sent: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> None:
        draft = self.layout.alias / f".trial.{secrets.token_hex(4)}.pem"
        write_new(draft, _pem(sent), 0o644)
        try:
            try_handshake(KeyFiles(key_file, draft), self.password, roots)
        finally:
            draft.unlink(missing_ok=True)

    def changes(self, candidate: Candidate) -> bool:
        """Whether anything of it is not installed yet: the certificate, or one of those above it."""
        signer = next((one for one in self.settings.signers if one.nickname == self.place.name), None)
        chain_file = signer.chain_file if signer else None
        present = {*self.place.chain, *(read_certificates(chain_file) if chain_file else ())}
        return candidate.certificate != self.place.certificate or not set(candidate.above) <= present

    def switch(self, candidate: Candidate) -> None:
        """Write the certificate and have CS.cfg name it with its key. Raises: SigningError, ConfigError."""
        certificate_file = self.file_for(candidate)
        values = self._values(candidate, certificate_file)
        before = cs_cfg.read(self.layout.cs_cfg)
        signs = self.place.purpose is Purpose.OCSP_SIGNING
        after = (before.without(f"{self.place.prefix}.chain") if signs else before).with_values(values)
        settings_from(after, self.layout.root)
        replace_file(certificate_file, _pem((candidate.certificate, *candidate.above)), 0o644)
        if after.lines != before.lines:
            replace_file(self.layout.cs_cfg, after.render().encode(), 0o600)

    def file_for(self, candidate: Candidate) -> Path:
        """Where it goes: beside its request or its key, or to a new name when another certificate is there."""
        key = candidate.certificate.public_key()
        for request in pending_requests(self.layout.alias, self.place.name):
            if x509.load_pem_x509_csr(read_file(request)).public_key() == key:
                return request.with_suffix(".pem")
        beside = candidate.key_file.with_suffix(".pem")
        if not beside.exists() or read_certificates(beside)[0] == candidate.certificate:
            return beside
        stem = free_stem(self.layout.alias, self.place.name)
        return stem.with_name(f"{stem.name}.pem")

    def _values(self, candidate: Candidate, certificate_file: Path) -> dict[str, str]:
        """The settings that have to change, by key."""
        prefix, files = self.place.prefix, self.place.files
        values = {}
        if candidate.key_file != files.key_file:
            values[f"{prefix}.key"] = self._relative(candidate.key_file)
        if certificate_file != files.certificate_file:
            values[f"{prefix}.certificate"] = self._relative(certificate_file)
        if self.place.purpose is Purpose.OCSP_SIGNING:
            values |= self._algorithm(candidate.certificate) | self._token(candidate.key_file)
        return values

    def _algorithm(self, certificate: x509.Certificate) -> dict[str, str]:
        """The signer's algorithm where its new key, of another type, cannot make the one that is set."""
        able = algorithms_for(certificate.public_key())
        name = self.place.name
        present = next(signer.algorithm for signer in self.settings.signers if signer.nickname == name)
        if not present or present in able:
            return {}
        keys = [f"{self.place.prefix}.algorithm"]
        if self.settings.default_signer == name:
            keys.append("ocsp.signing.defaultSigningAlgorithm")
        return dict.fromkeys(keys, able[0])

    def _token(self, key_file: Path) -> dict[str, str]:
        """Where the default signer's key is, when CS.cfg says otherwise."""
        label = token_label(key_file)
        if self.settings.default_signer != self.place.name or label == self.settings.token.label:
            return {}
        return {"ocsp.signing.tokenname": HARDWARE + label if label else INTERNAL}

    def _relative(self, path: Path) -> str:
        root = self.layout.root.absolute()
        return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
