"""The signers that the settings name, loaded and checked against the CAs they answer for.

A signer that cannot sign costs its CAs, which are answered tryLater with the cause, and nobody else.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.core.facts import Authority
from vouchd.errors import ConfigError, SigningError, TokenUnavailable
from vouchd.instance.certificates.places import AUDIT_SIGNING, SystemCertificate, numbered, system_certificates
from vouchd.instance.certificates.tls import server_context
from vouchd.pkix.certs import check_signer_of, key_hash, load_certificate, not_before, signing_end_of
from vouchd.pkix.memo import memo, remember
from vouchd.pkix.purposes import expiry_warning
from vouchd.service.authorities import KnownSigners, signer_doubts
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.signing_keys import SignerSettings, TokenSettings
from vouchd.signing.certificates import read_certificates
from vouchd.signing.software import SoftwareSigner
from vouchd.signing.token.keys import Tokens
from vouchd.signing.token.pool import Limits, SessionPool
from vouchd.signing.token.reference import HARDWARE, TokenPlace

_log = logging.getLogger(__name__)

Lost = Callable[[], None] | None


@dataclass(frozen=True)
class LoadedSigners:
    """The signers that can sign, by nickname, and why the others cannot: they cost the CAs that they answer for."""

    ready: Mapping[str, SoftwareSigner]
    problems: Mapping[str, SigningError]
    default: str  # nickname, empty: none is named

    def of(self, authority: Authority) -> SoftwareSigner:
        """The signer that is named for this CA, which has no problem."""
        return self.ready[authority.policy.signer or self.default]

    def has_for(self, authority: Authority) -> bool:
        """Whether the signer that is named for this CA has no problem of its own."""
        return (authority.policy.signer or self.default) in self.ready

    @cached_property
    def known(self) -> KnownSigners:
        """Their certificates."""
        return KnownSigners({name: signer.certificate_der for name, signer in self.ready.items()}, self.default)

    @cached_property
    def certificates(self) -> SignerCertificates:
        """The same, to be looked up by name."""
        return SignerCertificates({name: signer.certificate_der for name, signer in self.ready.items()})

    def let_keys_go(self) -> None:
        """Sign nothing any more with keys that are in files: of ten thousand they take twenty megabytes."""
        for signer in self.ready.values():
            signer.let_key_go()

    def token_problems(self) -> dict[str, SigningError]:
        """Why those whose tokens cannot sign now do not, as of the last seconds, by nickname."""
        problems = {name: signer.token_problem() for name, signer in self.on_tokens.items()}
        return {name: problem for name, problem in problems.items() if problem is not None}

    @cached_property
    def on_tokens(self) -> Mapping[str, SoftwareSigner]:
        """Those whose keys are on tokens."""
        return {name: signer for name, signer in self.ready.items() if signer.token is not None}

    def problem(self, authority: Authority, at: int) -> SigningError | None:
        """Why nothing is signed for this CA at POSIX time `at`; None: it is answered for (RFC 6960 4.2.2.2)."""
        nickname = authority.policy.signer or self.default
        if nickname in self.problems:
            return self.problems[nickname]
        if nickname not in self.ready:
            return SigningError(
                f"there is no signer {nickname or '(none named)'}",
                hint="its certificate may not have come: vouchd signer list; a new one: vouchd signer add",
            )
        signer_der = self.ready[nickname].certificate_der
        trusted = authority.policy.trusted_responder
        begin, end = life_for(signer_der, authority.certificates, trusted=trusted)
        if begin <= at <= end:
            return None
        try:
            check_signer_of(load_certificate(signer_der), authority.certificates, at, trusted=trusted)
        except SigningError as error:
            return error
        return None


def token_pools(signers: Mapping[str, SoftwareSigner]) -> dict[TokenPlace, SessionPool]:
    """This process's sessions with the tokens that keys of these signers are on."""
    tokens = (signer.token for signer in signers.values())
    return {pool.place: pool for key in tokens if key is not None for pool in key.pools}


class KeyMaterial:
    """What the files hold that the settings name, each read once, when it is wanted first.

    A start looks at it many times: whether it would start, in its self tests, and to sign.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def signers(self) -> LoadedSigners:
        """The OCSP signers. Raises: ConfigError."""
        return open_signers(self.settings)

    @cached_property
    def certificates(self) -> tuple[SystemCertificate, ...]:
        """See system_certificates. Raises: ConfigError."""
        ready = self.signers.ready
        alone = [one.nickname for one in self.settings.signers if one.chain_file is None and one.nickname in ready]
        read = {name: (ready[name].certificate_der, *ready[name].chain_der) for name in alone}
        return system_certificates(self.settings, read)

    def forget(self) -> None:
        """Let go of what was read; it is read again when it is wanted."""
        for name in ("signers", "certificates"):
            self.__dict__.pop(name, None)


@memo(1 << 14)
def life_for(signer_der: bytes, certificates: tuple[bytes, ...], *, trusted: bool = False) -> tuple[int, int]:
    """From when to when a signer may answer for the CA with these certificates; (0, -1): never."""
    end = signing_end_of(signer_der, certificates, trusted=trusted)
    return (0, -1) if end is None else (not_before(load_certificate(signer_der)), end)


def open_signers(settings: Settings, limits: Limits | None = None, lost: Lost = None) -> LoadedSigners:
    """Every signer that the settings name, each loaded by itself; `limits` and `lost` of their tokens: see `Tokens`.

    Raises: ConfigError.
    """
    ready, problems = {}, {}
    try:
        password = read_passwords(Layout(settings.root).password_conf).get(INTERNAL)
    except SigningError as error:
        return LoadedSigners({}, {one.nickname: error for one in settings.signers}, settings.default_signer)
    tokens = Tokens(limits or _limits(settings.token), lost)
    for signer in settings.signers:
        try:
            ready[signer.nickname] = _load(signer, password, tokens)
        except SigningError as error:
            problems[signer.nickname] = error
    return LoadedSigners(ready, problems, settings.default_signer)


def _limits(settings: TokenSettings) -> Limits:
    return Limits(settings.sessions, settings.deadline_ms / 1000)


def load_signers(settings: Settings, lost: Lost = None) -> dict[str, SoftwareSigner]:
    """The signers that can sign, by nickname, ready for a process that opens and starts nothing later.

    Strangers wait for no log-in. Raises: ConfigError.
    """
    return started_signers(open_signers(settings, replace(_limits(settings.token), open_seconds=0), lost))


def started_signers(signers: LoadedSigners) -> dict[str, SoftwareSigner]:
    """Those of them that can sign now: what a key on a token needs is started."""
    started = dict(signers.ready)
    for name, signer in signers.ready.items():
        try:
            signer.start()
        except TokenUnavailable as error:
            _log.error("signer %s: %s", name, error)
            del started[name]
    return started


def _load(signer: SignerSettings, password: str | None, tokens: Tokens) -> SoftwareSigner:
    if not signer.certificate_file.exists():
        request = signer.certificate_file.with_suffix(".csr")
        raise SigningError(
            f"signer {signer.nickname} has no certificate yet",
            hint=f"let the CA certify {request}, then: vouchd certs install {signer.nickname} FILE",
        )
    return SoftwareSigner.load(
        signer.nickname,
        signer.key_file,
        signer.certificate_file,
        password,
        chain_file=signer.chain_file,
        algorithm=signer.algorithm,
        tokens=tokens,
    )


def known_signers(settings: Settings) -> KnownSigners:
    """The signers by their certificates alone; the keys stay where they are. Raises: SigningError."""
    return KnownSigners({signer.nickname: _certificate(signer) for signer in settings.signers}, settings.default_signer)


def _certificate(signer: SignerSettings) -> bytes | None:
    if not signer.certificate_file.exists():
        return None
    return read_certificates(signer.certificate_file)[0].public_bytes(Encoding.DER)


def check_signers(known: KnownSigners, authorities: Iterable[Authority], at: int) -> tuple[str, ...]:
    """Check that each CA has a signer that may answer for it at POSIX time `at`: see `signer_doubts`.

    Returns what is doubtful but allowed, one line each. Raises: SigningError, ConfigError, naming the CA.
    """
    doubts: dict[str, None] = {}
    for authority in authorities:
        try:
            doubts.update(dict.fromkeys(signer_doubts(known, authority, at)))
        except (SigningError, ConfigError) as error:
            raise type(error)(f"CA {authority.label}: {error}", hint=error.hint) from error
    return tuple(doubts)


def key_identifiers(certificates: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-1 of the public key bits (hexadecimal, RFC 5280 section 4.2.1.2) of each signer, by nickname.

    `certificates` (DER) are those of the signers.
    """
    return {name: key_hash(load_certificate(certificate_der)).hex() for name, certificate_der in certificates.items()}


def audit_signer(layout: Layout, settings: Settings) -> SoftwareSigner | None:
    """The key that signs the log, None when there is none or by setting. Raises: SigningError, ConfigError."""
    files = settings.audit_signing
    if not (settings.audit.sign and files.installed):
        return None
    password = read_passwords(layout.password_conf).get(INTERNAL)
    return SoftwareSigner.load(AUDIT_SIGNING, files.key_file, files.certificate_file, password)


def former_audit_signer(layout: Layout, sha256: str) -> SoftwareSigner | None:
    """The signer of the log whose certificate has that SHA-256 (hex), with its key, where both are here still."""
    password = read_passwords(layout.password_conf).get(INTERNAL)
    for path in numbered(layout.alias, AUDIT_SIGNING, ".pem"):
        for key_file in dict.fromkeys((path.with_suffix(".key"), *numbered(layout.alias, AUDIT_SIGNING, ".key"))):
            with suppress(SigningError):  # the key of another one
                signer = SoftwareSigner.load(AUDIT_SIGNING, key_file, path, password)
                if hashlib.sha256(signer.certificate_der).hexdigest() == sha256:
                    return signer
    return None


# What an instance would not do with these settings: its keys, its signers for its CAs, its TLS.


@dataclass(frozen=True, slots=True)
class Checked:
    """The signers, loaded; what is doubtful but allowed, and what fails, one line each, by the part that it costs."""

    signers: LoadedSigners
    doubts: tuple[str, ...]
    failing: Mapping[str, SigningError]

    def require_all(self) -> None:
        """Raise where a part fails: for whoever brings it about. Raises: SigningError."""
        for part, error in self.failing.items():
            raise SigningError(f"{part}: {error}", hint=error.hint)


def check_settings(
    layout: Layout, material: KeyMaterial, authorities: Iterable[Authority], at: int, at_once: int = sys.maxsize
) -> Checked:
    """Read the key files as a start does; changes nothing.

    Of more CAs than `at_once` the others have signers, and whether these may answer for them is proved later.

    Raises: ConfigError; SigningError when there is neither a CA, nor a signer, nor an agent port to start for.
    """
    settings, signers, authorities = material.settings, material.signers, tuple(authorities)
    if not (authorities or signers.ready or settings.agent.tls.installed):
        for problem in signers.problems.values():  # there is nothing at all to start for
            raise problem
    first = [one for number, one in enumerate(authorities) if number < at_once or not signers.has_for(one)]
    failing, doubts = judged_signers(signers, first, at)
    shown = {authority.policy.signer or signers.default for authority in authorities}  # by their CAs
    failing |= {f"signer {name}": problem for name, problem in signers.problems.items() if name not in shown}
    failing |= _failing_parts(layout, settings)
    doubts |= dict.fromkeys(_token_doubts(signers, settings.token))
    return Checked(signers, (*settings.warnings, *doubts, *_expiry_doubts(material, at)), failing)


def judged_signers(
    signers: LoadedSigners, authorities: Iterable[Authority], at: int
) -> tuple[dict[str, SigningError], dict[str, None]]:
    """Which of these CAs no signer may answer for, and why; and what is doubtful of the others, one line each."""
    failing: dict[str, SigningError] = {}
    doubts: dict[str, None] = {}
    for authority in authorities:
        if error := signers.problem(authority, at):
            failing[f"CA {authority.label}"] = SigningError(f"answered tryLater: {error}", hint=error.hint)
        else:
            doubts |= dict.fromkeys(check_signers(signers.known, [authority], at))
    return failing, doubts


class Judgement(NamedTuple):
    """What a process has found out of a CA and its signer."""

    life: tuple[int, int]
    """See `life_for`."""
    doubts: tuple[str, ...]
    """What is told of it at a start, one line each."""


def judgement(signers: LoadedSigners, authority: Authority, at: int) -> Judgement | None:
    """That of a CA whose signer has no problem of its own."""
    if not signers.has_for(authority):
        return None
    failing, doubts = judged_signers(signers, (authority,), at)
    lines = (*doubts, *(f"{part}: {error}" for part, error in failing.items()))
    trusted = authority.policy.trusted_responder
    return Judgement(life_for(signers.of(authority).certificate_der, authority.certificates, trusted=trusted), lines)


def learn(signers: LoadedSigners, authority: Authority, judged: Judgement) -> None:
    """Have this process go by it: for just these octets of signer and CA, and for as long as it is remembered."""
    trusted = authority.policy.trusted_responder
    remember(life_for, judged.life, signers.of(authority).certificate_der, authority.certificates, trusted=trusted)


def _token_doubts(signers: LoadedSigners, settings: TokenSettings) -> Iterator[str]:
    """A line when the default signer's key is elsewhere than CS.cfg says: its key file decides."""
    signer = signers.ready.get(signers.default)
    if signer is not None and settings.label not in signer.tokens and (settings.label or signer.tokens):
        where = HARDWARE + signer.tokens[0] if signer.tokens else "internal"
        yield f"ocsp.signing.tokenname is {settings.name}, and the key of {signers.default} is at {where}: write that"


def _failing_parts(layout: Layout, settings: Settings) -> Iterator[tuple[str, SigningError]]:
    checks: dict[str, Callable[[], object]] = {"audit log, not signed": lambda: audit_signer(layout, settings)}
    if settings.agent.tls.installed:
        checks["agent port, off"] = lambda: server_context(
            settings.agent, read_passwords(layout.password_conf).get(INTERNAL), ()
        )
    for part, check in checks.items():
        try:
            check()
        except SigningError as error:
            yield part, error


def _expiry_doubts(material: KeyMaterial, at: int) -> tuple[str, ...]:
    """One line for each certificate that ends soon."""
    ending = ((one.name, expiry_warning(one.certificate, at)) for one in material.certificates if one.certificate)
    return tuple(f"the certificate {name} {words}; see `vouchd certs`" for name, words in ending if words)
