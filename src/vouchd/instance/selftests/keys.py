"""Self tests of what the instance signs and shows itself with: its keys, its certificates, the modes of their files."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from cryptography import x509

from vouchd.core.facts import Authority
from vouchd.errors import PartFails, SigningError, VouchdError
from vouchd.instance.certificates.places import ADMIN, SystemCertificate, numbered
from vouchd.instance.certificates.rehearsal import try_signature
from vouchd.instance.certificates.signers import KeyMaterial, LoadedSigners, check_signers
from vouchd.instance.selftests.shares import Check, outcomes
from vouchd.instance.selftests.start_proof import StartProof
from vouchd.pkix.certs import is_issued_by, load_certificate
from vouchd.pkix.purposes import Issuers, Purpose, Validity, chain_of, check_purpose
from vouchd.service.selftests import SelfTestName
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.certificates import read_certificates
from vouchd.signing.software import SoftwareSigner
from vouchd.signing.token.reference import HARDWARE

_OTHERS = 0o077
_SIGNING = Purpose.OCSP_SIGNING


def check_presence(material: KeyMaterial) -> str:
    """Each signer has key and certificate, they belong together, and one of them is the default.

    Raises: PartFails.
    """
    signers = material.signers
    for nickname, error in signers.problems.items():
        raise PartFails(f"signer {nickname}: {error}", hint=error.hint)
    if signers.default not in signers.ready:
        raise PartFails("no signer is named", hint="set ocsp.signing.certnickname to a declared signer")
    named = (name + _whereabouts(signer.tokens) for name, signer in signers.ready.items())
    return f"{', '.join(named)}; the default is {signers.default}"


def _whereabouts(tokens: tuple[str, ...]) -> str:
    """Where a key is that is in no file."""
    return f" on {', '.join(HARDWARE + label for label in tokens)}" if tokens else ""


def check_validity(material: KeyMaterial, authorities: Iterable[Authority], at: int) -> str:
    """Each signer is valid at `at`, and each CA has one that may answer for it (RFC 6960 section 4.2.2.2).

    Raises: PartFails, naming each that fails.
    """
    signers, every = material.signers, tuple(authorities)
    checks: dict[str, Check] = {
        f"signer {name}": partial(_require_valid, load_certificate(signer.certificate_der), at)
        for name, signer in signers.ready.items()
    }
    for authority in every:
        checks[f"CA {authority.label}"] = partial(_require_signer, signers, authority, at)
    doubts = [words for words in collect_each(checks, PartFails, shared=True).values() if words]
    return "; ".join((f"{len(every)} CAs, each with a signer that may answer for it", *dict.fromkeys(doubts)))


def _require_signer(signers: LoadedSigners, authority: Authority, at: int) -> str:
    """What is doubtful about the CA's signer. Raises: SigningError."""
    if error := signers.problem(authority, at):
        raise error
    return "; ".join(check_signers(signers.known, [authority], at))


def check_certificates(
    material: KeyMaterial, authorities: Iterable[Authority], at: int, proof: StartProof | None = None
) -> str:
    """Each system certificate is valid, fits its purpose, its chain and its key; those that have not come are told.

    The administrator's is a person's and no concern of the instance. `proof` takes what need not be looked at before
    the first answer. Raises: PartFails, naming each that fails.
    """
    trusted = [load_certificate(der) for authority in authorities for der in authority.certificates]
    trust_file = material.settings.agent.trust_file
    anchors = Issuers((*trusted, *(read_certificates(trust_file) if trust_file else ())))
    proven = proof.proven if proof is not None else frozenset[str]()
    checks: dict[str, Check] = {
        one.name: partial(_check_certificate, one, material.signers, material.settings, anchors, at, proven)
        for one in material.certificates
        if one.name != ADMIN
    }
    shared = not material.signers.on_tokens
    if proof is not None:
        signers = {one.name: checks.pop(one.name) for one in material.certificates if one.purpose is _SIGNING}
        checks = proof.leave(SelfTestName.CERTIFICATES, signers, shared=shared) | checks
    return collect(checks, PartFails, shared=shared)


def _check_certificate(
    one: SystemCertificate,
    signers: LoadedSigners,
    settings: Settings,
    anchors: Issuers,
    at: int,
    proven: Container[str],
) -> str:
    """`proven`: nicknames of the signers by whose keys an answer was made that has been verified."""
    if one.problem:
        raise SigningError(one.problem)
    if one.certificate is None:
        return "has not come yet"
    _require_valid(one.certificate, at)
    signer = _signer(one, signers, settings)
    if signer.token or one.purpose is not _SIGNING or one.name not in proven:
        try_signature(signer, every=False)
    if one.purpose is not Purpose.OCSP_SIGNING:  # of a signer its CAs decide: see check_validity
        check_purpose(one.certificate, one.purpose, at)
    # The root may stay with those who trust it: what was installed has to hold up to where it ends.
    _check_links(one)
    top = one.chain[-1] if one.chain else one.certificate
    chain_of(one.certificate, one.chain, Issuers((top,), anchors), at)
    return Validity.of(one.certificate).warning(at) or "good"


def _signer(one: SystemCertificate, signers: LoadedSigners, settings: Settings) -> SoftwareSigner:
    """What signs with its key. Raises: SigningError."""
    if one.purpose is not Purpose.OCSP_SIGNING:
        password = read_passwords(Layout(settings.root).password_conf).get(INTERNAL)
        return SoftwareSigner.load(one.name, one.files.key_file, one.files.certificate_file, password)
    if one.name in signers.problems:
        raise signers.problems[one.name]
    return signers.ready[one.name]


def _check_links(one: SystemCertificate) -> None:
    below = one.certificate
    for above in one.chain:
        if below is None or not is_issued_by(below, above):
            raise SigningError(
                f"its chain is broken at {above.subject.rfc4514_string()!r}",
                hint=f"install it again with its chain: vouchd certs install {one.name} FILE --chain FILE",
            )
        below = above


def _require_valid(certificate: x509.Certificate, at: int) -> str:
    validity = Validity.of(certificate)
    if not validity.not_before <= at <= validity.not_after:
        name = certificate.subject.rfc4514_string()
        word = "has expired" if at > validity.not_after else "is not valid yet"
        raise SigningError(f"the certificate {name!r} {word}", hint="vouchd certs renew NAME, or mend the clock")
    return ""


def check_key_files(layout: Layout, material: KeyMaterial) -> str:
    """Files with secrets belong to this user and nobody else may read them; of the administrator's it is only told.

    Raises: SigningError, naming each that fails.
    """
    summary = collect(
        {str(path): partial(_check_mode, path) for path in _secret_files(layout, material)}, SigningError, short=True
    )
    return "; ".join((summary, *_administrators(layout, material.settings)))


def _secret_files(layout: Layout, material: KeyMaterial) -> Iterator[Path]:
    """Those that answering rests upon."""
    theirs = material.settings.admin.key_file
    named = {one.files.key_file for one in material.certificates} - {theirs}
    of_admin = set(numbered(layout.alias, ADMIN, ".key")) | {theirs}
    for path in (*sorted(named | set(layout.alias.glob("*.key")) - of_admin), layout.password_conf):
        if path.exists():
            yield path


def _administrators(layout: Layout, settings: Settings) -> Iterator[str]:
    """What is wrong with the files of a person, who may have taken them elsewhere: no reason to stop answering."""
    theirs = (
        *numbered(layout.alias, ADMIN, ".key"),
        settings.admin.key_file,
        layout.admin_pkcs12,
        layout.admin_password,
    )
    for path in dict.fromkeys(theirs):
        try:
            if path.exists():
                _check_mode(path)
        except SigningError as error:
            yield f"{path}: {error}"


def _check_mode(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise SigningError(f"cannot be looked at: {error.strerror}") from error
    if status.st_mode & _OTHERS:
        raise SigningError(f"others may use it (mode {status.st_mode & 0o7777:04o})", hint=f"chmod 600 {path}")
    if status.st_uid not in {os.geteuid(), 0}:
        raise SigningError(f"it belongs to user id {status.st_uid}", hint=f"chown {os.geteuid()} {path}")
    return "good"


def collect(checks: Mapping[str, Check], kind: type[VouchdError], *, short: bool = False, shared: bool = False) -> str:
    """Run all checks; what they found, by name (`short`: how many there were); `shared`: see `outcomes`.

    Raises: `kind` with every failure and the first remedy; PartFails when all of them are of parts.
    """
    words = collect_each(checks, kind, shared=shared)
    if short:
        return f"{len(words)} files"
    return "; ".join(f"{name}: {one}" for name, one in words.items()) or "nothing to look at"


def collect_each(checks: Mapping[str, Check], kind: type[VouchdError], *, shared: bool = False) -> dict[str, str]:
    """Run all checks; what each found, by name. Raises: see collect."""
    words, failed = {}, {}
    for name, result in outcomes(checks, shared=shared).items():
        if isinstance(result, VouchdError):
            failed[name] = result
        else:
            words[name] = result
    if failed:
        hint = next((error.hint for error in failed.values() if error.hint), "")
        parts = all(isinstance(error, PartFails) for error in failed.values())
        raise (PartFails if parts else kind)("; ".join(f"{name}: {error}" for name, error in failed.items()), hint=hint)
    return words
