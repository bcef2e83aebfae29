"""The signers of the set as administrators have them: requested, installed, switched to, retired.

Every act changes the facts, at the member that keeps them; what follows from that every member does by itself
(`keyring`, `conducting`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from vouchd.cloning.conducting import ALONE
from vouchd.cloning.keyring import MemberFiles
from vouchd.core.facts import Authority, Caller, Member
from vouchd.core.ports import AuditSink, Clock, Store
from vouchd.core.signer_facts import Keyring, SignerVersion
from vouchd.errors import AlreadyExists, ConfigError, NotFound, SigningError
from vouchd.files import write_new
from vouchd.instance.certificates.places import FIXED, free_stem
from vouchd.instance.certificates.requests import certificate_request
from vouchd.instance.certificates.tokens import new_key, token_label
from vouchd.instance.certificates.versions import rehearse_version
from vouchd.instance.locking import config_lock
from vouchd.pkix.certs import is_issued_by, load_certificate, not_after
from vouchd.pkix.purposes import Issuers, Purpose, chain_of
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for
from vouchd.service.permission import Action, Permission
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.settings.signing_keys import SignerSettings
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import read_key
from vouchd.signing.sealing import public_key_hash, spki_hash

DEFAULT_ALGORITHM = "SHA256withEC"
_SUBJECT = "OCSP Signing Certificate"
_NICKNAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST_NICKNAME = 64


@dataclass(frozen=True, slots=True)
class SignerRequest:
    """What a new key is to be: an empty algorithm and no subject are as now, `same_key` keeps the key."""

    algorithm: str = ""
    subject: x509.Name | None = None
    same_key: bool = False


class Signers:
    """Every act passes `permission` first and is recorded in `audit` when it is done.

    `require_writer` raises where the facts are kept by another member; `me` is this one in the registry.
    """

    def __init__(
        self,
        layout: Layout,
        store: Store,
        permission: Permission,
        audit: AuditSink,
        clock: Clock,
        me: Callable[[], Member | None],
        require_writer: Callable[[], None],
    ) -> None:
        self._layout = Layout(layout.root.absolute())
        self._store = store
        self._permission = permission
        self._audit = audit
        self._clock = clock
        self._me = me
        self._require_writer = require_writer
        self._member = MemberFiles(layout)

    def keyring(self, caller: Caller) -> Keyring:
        """The signers with those of CS.cfg that the keyring does not have yet. Raises: PermissionDenied."""
        self._permission.allow(caller, Action.LIST_CERTIFICATES, "signers")
        ring, settings = self._store.keyring(), read_settings(self._layout)
        for signer in settings.signers:
            if not ring.versions_of(signer.nickname) and signer.certificate_file.exists():
                ring = adopted(ring, signer)
        return ring

    @property
    def default(self) -> str:
        """The nickname of the signer for the CAs that name none."""
        return read_settings(self._layout).default_signer

    def authorities(self, nickname: str) -> tuple[Authority, ...]:
        """The CAs that a signer of that nickname answers for."""
        default = read_settings(self._layout).default_signer
        return tuple(one for one in self._store.authorities() if (one.policy.signer or default) == nickname)

    def request(self, nickname: str, wishes: SignerRequest, caller: Caller, *, new: bool = False) -> SignerVersion:
        """Make a key, or use the present one again, and a request for its certificate; `new`: of a new nickname.

        Raises: AlreadyExists, NotFound, ConfigError, SigningError, PermissionDenied, StoreConflict.
        """
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, nickname)
        self._require_writer()
        _require_nickname(nickname)
        with config_lock(self._layout.config_lock):
            before, settings = self._store.keyring(), read_settings(self._layout)
            ring = self._with_present(before, nickname, settings, new=new)
            version = self._requested(ring, nickname, wishes, settings)
            self._store.put_keyring(ring.with_version(version), before)
        self._record("KEY_GEN_ASYMMETRIC", version, caller, new_key=int(not wishes.same_key))
        return version

    def _with_present(self, ring: Keyring, nickname: str, settings: Settings, *, new: bool) -> Keyring:
        """With the signer that CS.cfg names as the first version, where there is one."""
        present = next((one for one in settings.signers if one.nickname == nickname), None)
        if new and (present is not None or ring.versions_of(nickname)):
            raise AlreadyExists(
                f"there is a signer {nickname}", hint=f"a new key for it: vouchd signer request {nickname}"
            )
        if not new and present is None and not ring.versions_of(nickname):
            raise NotFound(f"no signer {nickname[:100]!r}", hint="vouchd signer list shows those there are")
        if ring.versions_of(nickname) or present is None or not present.certificate_file.exists():
            return ring
        return adopted(ring, present)

    def _requested(self, ring: Keyring, nickname: str, wishes: SignerRequest, settings: Settings) -> SignerVersion:
        """The new version, whose key and request lie in `alias/`."""
        last = (ring.versions_of(nickname) or (None,))[-1]
        algorithm = wishes.algorithm or (last.algorithm if last else DEFAULT_ALGORITHM)
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"unknown signature algorithm {algorithm[:60]!r}", hint="one of " + ", ".join(ALGORITHMS))
        stem = free_stem(self._layout.alias, nickname)
        if wishes.same_key:
            if last is None:
                raise ConfigError(f"signer {nickname} has no key yet", hint="leave out --same-key")
            key_file = self._member.key_file(last, settings)
            if key_file is None:
                raise SigningError(f"the key of {last.name} is not here", hint=f"ask {last.origin or 'its member'}")
            key = read_key(key_file, self._password())
        else:
            beside = self._member.key_file(last, settings) if last else None  # on the same token, where it is on one
            key = new_key(stem.with_name(f"{stem.name}.key"), algorithm, beside, self._password())
        subject = wishes.subject or _subject(last)
        pem = certificate_request(Purpose.OCSP_SIGNING, key, subject)
        write_new(stem.with_name(f"{stem.name}.csr"), pem, 0o644)
        me = self._me()
        return SignerVersion(
            nickname,
            ring.next_number(nickname),
            algorithm,
            public_key_hash(key),
            request_der=x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER),
            token=token_label(stem.with_name(f"{stem.name}.key")) or (last.token if last and wishes.same_key else ""),
            origin=me.id if me else ALONE,
            made_at=self._clock.now(),
        )

    def install(
        self, nickname: str, bundle: Sequence[x509.Certificate], caller: Caller, *, stage_only: bool = False
    ) -> tuple[SignerVersion, tuple[str, ...]]:
        """Take in the certificate of one of the keys that wait for theirs, and the CAs above it; what is doubtful, too.

        It is tried out here first; then the set switches to it as soon as every member could, unless `stage_only`.
        Raises: NotFound, SigningError, ConfigError, PermissionDenied, StoreConflict; and everything stays as it was.
        """
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, nickname)
        self._require_writer()
        ring, settings = self._store.keyring(), read_settings(self._layout)
        version, certificate = self._ours(ring, nickname, bundle)
        authorities = self._store.authorities()
        registered = [load_certificate(one) for authority in authorities for one in authority.certificates]
        trust_file = settings.agent.trust_file
        anchors = (*registered, *(read_certificates(trust_file) if trust_file else ()))
        above = chain_of(certificate, bundle, Issuers(anchors), self._clock.now())
        sent = tuple(one for one in above if one not in registered and not is_issued_by(one, one))
        complete = replace(
            version,
            certificate_der=certificate.public_bytes(Encoding.DER),
            chain=tuple(one.public_bytes(Encoding.DER) for one in sent),
        )
        doubts = self._tried(complete, settings, (*anchors, *bundle))
        after = ring.with_version(complete)
        self._store.put_keyring(after if stage_only else after.aiming_at(complete), ring)
        self._record(
            "CONFIG_TRUSTED_PUBLIC_KEY",
            complete,
            caller,
            subject=certificate.subject.rfc4514_string(),
            serial=f"{certificate.serial_number:x}",
            not_after=not_after(certificate),
        )
        return complete, doubts

    def _ours(
        self, ring: Keyring, nickname: str, bundle: Sequence[x509.Certificate]
    ) -> tuple[SignerVersion, x509.Certificate]:
        waiting = [one for one in ring.versions_of(nickname) if not one.certificate_der and one.retired_at is None]
        if not waiting:
            raise NotFound(
                f"no request of {nickname[:100]} waits for a certificate", hint=f"vouchd signer request {nickname}"
            )
        for version in reversed(waiting):
            for certificate in bundle:
                if spki_hash(_spki(certificate)) == version.public_key:
                    return version, certificate
        raise SigningError(
            f"none of the certificates is for a key of {nickname}",
            hint=f"have the request certified that `vouchd signer show {nickname}` prints",
        )

    def _tried(
        self, version: SignerVersion, settings: Settings, anchors: Sequence[x509.Certificate]
    ) -> tuple[str, ...]:
        """Raises: SigningError."""
        files = self._member.files
        key_file = files.key_file(version, settings)
        if key_file is None:
            raise SigningError(
                f"the key of {version.name} is not here", hint=f"it was made at {version.origin}: install it there"
            )
        concerned = self.authorities(version.nickname)
        key = files.read(key_file)
        return rehearse_version(version, key, concerned, anchors, settings.responder, self._clock.now())

    def switch(self, nickname: str, number: int, caller: Caller) -> SignerVersion:
        """Have the set sign with that version as soon as every member could: forward, or back.

        Raises: NotFound, ConfigError, PermissionDenied, StoreConflict.
        """
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, nickname)
        self._require_writer()
        ring = self._store.keyring()
        version = _existing(ring, nickname, number)
        if not version.is_usable:
            why = "it is retired" if version.retired_at is not None else "its certificate has not come"
            raise ConfigError(f"{version.name} cannot sign: {why}", hint="vouchd signer list shows those that can")
        self._store.put_keyring(ring.aiming_at(version), ring)
        self._record("CONFIG_TRUSTED_PUBLIC_KEY", version, caller, operation="switch")
        return version

    def retire(self, nickname: str, number: int, caller: Caller) -> SignerVersion:
        """Have that version sign no more, ever; the one that signs, or is to, stays.

        Raises: NotFound, ConfigError, PermissionDenied, StoreConflict.
        """
        self._permission.allow(caller, Action.CHANGE_CERTIFICATES, nickname)
        self._require_writer()
        ring = self._store.keyring()
        version = _existing(ring, nickname, number)
        if version.key in {*ring.current, *ring.target}:
            raise ConfigError(
                f"{version.name} signs, or is to", hint=f"first: vouchd signer switch {nickname} NUMBER, another one"
            )
        retired = replace(version, retired_at=version.retired_at or self._clock.now(), sealed=())
        self._store.put_keyring(ring.with_version(retired), ring)
        self._record("CONFIG_TRUSTED_PUBLIC_KEY", retired, caller, operation="retire")
        return retired

    def _record(self, event: str, version: SignerVersion, caller: Caller, **detail: str | int) -> None:
        self._audit.record(event, caller, "success", certificate=version.name, **detail)

    def _password(self) -> str | None:
        return read_passwords(self._layout.password_conf).get(INTERNAL)


def adopted(ring: Keyring, signer: SignerSettings) -> Keyring:
    """With what CS.cfg names as the first version, which signs."""
    certificates = read_certificates(signer.certificate_file)
    more = read_certificates(signer.chain_file) if signer.chain_file else ()
    leaf, *chain = (one.public_bytes(Encoding.DER) for one in (*certificates, *more))
    version = SignerVersion(
        signer.nickname,
        1,
        signer.algorithm or algorithms_for(certificates[0].public_key())[0],
        spki_hash(_spki(certificates[0])),
        certificate_der=leaf,
        chain=tuple(chain),
        token=token_label(signer.key_file),
    )
    after = ring.with_version(version).aiming_at(version)
    return replace(after, current=tuple(sorted([*ring.current, version.key])))


def _existing(ring: Keyring, nickname: str, number: int) -> SignerVersion:
    version = ring.version(nickname, number)
    if version is None:
        raise NotFound(f"no signer {nickname[:100]}#{number}", hint="vouchd signer list shows those there are")
    return version


def _require_nickname(nickname: str) -> None:
    if nickname in FIXED or not (0 < len(nickname) <= _LONGEST_NICKNAME and set(nickname) <= _NICKNAME_CHARACTERS):
        raise ConfigError(
            f"{nickname[:100]!r} is no nickname of a signer", hint="letters, digits, _ and -, such as ocsp_tier2"
        )


def _subject(last: SignerVersion | None) -> x509.Name:
    if last is not None and last.certificate_der:
        return load_certificate(last.certificate_der).subject
    if last is not None and last.request_der:
        return x509.load_der_x509_csr(last.request_der).subject
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _SUBJECT)])


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
