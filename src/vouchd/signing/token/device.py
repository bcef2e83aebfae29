"""A token through its PKCS #11 module: log in, find a key by its public key, sign, make a key.

Only a process that exists for that one session runs this: the library initialises modules without leave to use
threads, and a module is foreign code in native machine language that may hang or end its process.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pkcs11 import (
    MGF,
    Attribute,
    KeyType,
    Mechanism,
    MechanismFlag,
    ObjectClass,
    TokenFlag,
    lib,
)
from pkcs11.exceptions import (
    FunctionFailed,
    GeneralError,
    KeyHandleInvalid,
    KeySizeRange,
    KeyTypeInconsistent,
    MultipleTokensReturned,
    NoSuchToken,
    ObjectHandleInvalid,
    PinIncorrect,
    PinInvalid,
    PinLocked,
    PKCS11Error,
)
from pkcs11.types import SignMixin

from vouchd.errors import NotFound, SigningError
from vouchd.pkix import der
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS, SignatureAlgorithm, algorithms_for, digest_identifier, verify
from vouchd.signing.token.reference import PublicKey

if TYPE_CHECKING:
    from pkcs11 import Session, Token
    from pkcs11.types import PrivateKey

_SIGN = MechanismFlag.SIGN | MechanismFlag.VERIFY
_CURVES: dict[str, type[ec.EllipticCurve]] = {"SHA-256": ec.SECP256R1, "SHA-384": ec.SECP384R1, "SHA-512": ec.SECP521R1}
_CURVE_OIDS = {256: "1.2.840.10045.3.1.7", 384: "1.3.132.0.34", 521: "1.3.132.0.35"}
_EDWARDS = {"Ed25519": "edwards25519", "Ed448": "edwards448"}
_MGF = {"SHA-256": MGF.SHA256, "SHA-384": MGF.SHA384, "SHA-512": MGF.SHA512}
_PRINTABLE_STRING = 0x13
_TRIAL_BYTES = 64
_ID_BYTES = 16
_MORE_SEARCHES = 10
_PAUSES_SECONDS = (0.02, 0.04, 0.08, 0.16, 0.32)  # before each further look, which others at the token may have spoilt
_Done = TypeVar("_Done")


class PINRefused(SigningError):
    """The token did not take the PIN: to try it again would lock the token."""


def _unchanged(octets: bytes) -> bytes:
    return octets


@dataclass(frozen=True, slots=True)
class _Way:
    """How a key signs with one algorithm; `prepare` makes of the data what the token signs, `finish` the signature."""

    sign: Callable[[bytes], bytes]
    prepare: Callable[[bytes], bytes] = _unchanged
    finish: Callable[[bytes], bytes] = bytes

    def signatures(self, lot: Sequence[bytes], within_seconds: float) -> tuple[list[bytes], float]:
        """See Device.sign."""
        made, sign, quickest = [], self.sign, math.inf
        wanted = [self.prepare(data) for data in lot]
        begin = now = time.monotonic()
        for prepared in wanted:
            made.append(sign(prepared))
            before, now = now, time.monotonic()
            quickest = min(quickest, now - before)
            if now - begin >= within_seconds:
                break
        return [self.finish(octets) for octets in made], quickest


class Device:
    """An open session of one token. Raises: SigningError."""

    def __init__(self, module: Path, label: str, pin: str, *, last_try: bool = False, writable: bool = False) -> None:
        self._label = label
        self._keys: list[tuple[SignMixin, PublicKey]] = []  # those that were found, by number
        self._numbers: dict[bytes, int] = {}  # by DER of the public key
        self._ways: dict[tuple[int, str], _Way] = {}  # by key and algorithm
        try:
            self._token, self._session = self._logged_in(module, pin, last_try=last_try, writable=writable)
            self._able = self._token.slot.get_mechanisms()
        except (PinIncorrect, PinInvalid) as error:
            raise PINRefused(
                f"token {label}: the PIN is wrong, and is not tried again until another one is there",
                hint="put the right one into password.conf",
            ) from error
        except PinLocked as error:
            raise SigningError(
                f"token {label}: its PIN is locked", hint="have its security officer set the PIN anew"
            ) from error
        except PKCS11Error as error:
            raise _failure(label, error) from error

    def _logged_in(self, module: Path, pin: str, *, last_try: bool, writable: bool) -> tuple[Token, Session]:
        """The token and a session there; tried again by a module loaded anew where it fails without a reason.

        SoftHSM does so while another process makes or removes a key.
        """
        for pause in _PAUSES_SECONDS:
            try:
                return self._log_in(module, pin, last_try=last_try, writable=writable)
            except (GeneralError, FunctionFailed):
                time.sleep(pause)
                _library(module).reinitialize()
        return self._log_in(module, pin, last_try=last_try, writable=writable)

    def _log_in(self, module: Path, pin: str, *, last_try: bool, writable: bool) -> tuple[Token, Session]:
        token, label = _token(module, self._label), self._label
        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise SigningError(f"token {label}: its PIN is locked", hint="have its security officer set the PIN anew")
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY and not last_try:
            raise SigningError(
                f"token {label}: one more wrong PIN locks it, so it is not tried",
                hint=f"see that the PIN is right, then: vouchd token test {label} --last-try",
            )
        return token, token.open(user_pin=pin, rw=writable)

    # What is there.

    def description(self) -> dict[str, object]:
        """The token in words."""
        token, slot = self._token, self._token.slot
        return {
            "label": token.label,
            "manufacturer": _text(token.manufacturer_id),
            "model": _text(token.model),
            "serial": _text(token.serial),
            "slot": slot.slot_id,
        }

    def keys(self) -> list[dict[str, object]]:
        """Every private key that is there, as far as it may be looked at."""
        described = []
        try:
            for key in self._private_keys({}):
                with suppress(ObjectHandleInvalid):  # somebody else has removed it meanwhile
                    described.append(self._described(key))
        except PKCS11Error as error:
            raise _failure(self._label, error) from error
        return described

    def _described(self, key: PrivateKey) -> dict[str, object]:
        return {
            "label": _attribute(key, Attribute.LABEL, ""),
            "id": bytes(_attribute(key, Attribute.ID, b"")).hex(),
            "kind": getattr(key.key_type, "name", str(key.key_type)),
            "signs": bool(_attribute(key, Attribute.SIGN, default=False)),
            "decrypts": bool(_attribute(key, Attribute.DECRYPT, default=False)),
            "unwraps": bool(_attribute(key, Attribute.UNWRAP, default=False)),
            "extractable": bool(_attribute(key, Attribute.EXTRACTABLE, default=False)),
            "sensitive": bool(_attribute(key, Attribute.SENSITIVE, default=False)),
        }

    # A key by its public key.

    def find(self, public_der: bytes) -> int:
        """The number, in this session, of the key of that public key (DER of SubjectPublicKeyInfo).

        That it is the key is proved by a signature. Raises: NotFound; SigningError.
        """
        if public_der in self._numbers:
            return self._numbers[public_der]
        public_key = load_der_public_key(public_der)
        if not isinstance(public_key, PublicKey):
            raise SigningError("a public key of a type that no token holds")
        algorithm = algorithms_for(public_key)[0]
        try:
            for key in self._candidates(public_key):
                if isinstance(key, SignMixin) and self._is_key_of(key, public_key, algorithm):
                    self._keys.append((key, public_key))
                    self._numbers[public_der] = len(self._keys) - 1
                    return self._numbers[public_der]
        except PKCS11Error as error:
            raise _failure(self._label, error) from error
        raise NotFound(
            f"token {self._label}: it has no key of the public key {hashlib.sha256(public_der).hexdigest()[:16]}",
            hint=f"see what is there: vouchd token show {self._label}",
        )

    def _is_key_of(self, key: SignMixin, public_key: PublicKey, algorithm: str) -> bool:
        trial = secrets.token_bytes(_TRIAL_BYTES)
        try:
            ((signature,), _) = self._way(key, public_key, algorithm).signatures([trial], 0)
            verify(public_key, ALGORITHMS[algorithm].identifier_der, signature, trial)
        except (KeySizeRange, KeyTypeInconsistent, KeyHandleInvalid, ObjectHandleInvalid, ValueError):
            return False  # the handles: somebody else has removed it meanwhile
        return True

    def _candidates(self, public_key: PublicKey) -> Iterator[PrivateKey]:
        """Private keys that may be its, the likeliest first; each once."""
        if isinstance(public_key, rsa.RSAPublicKey):
            modulus = public_key.public_numbers().n
            octets = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
            yield from self._private_keys({Attribute.KEY_TYPE: KeyType.RSA, Attribute.MODULUS: octets})
            return
        edwards = not isinstance(public_key, ec.EllipticCurvePublicKey)
        kind = KeyType.EC_EDWARDS if edwards else KeyType.EC
        tried: set[int | None] = set()
        for identifier in self._ids_of(kind, _points(public_key)):
            for key in self._private_keys({Attribute.KEY_TYPE: kind, Attribute.ID: identifier}):
                tried.add(key.handle)
                yield key
        # A module may keep no public keys, or under other ids: then the signature alone tells.
        yield from (key for key in self._private_keys({Attribute.KEY_TYPE: kind}) if key.handle not in tried)

    def _ids_of(self, kind: KeyType, points: tuple[bytes, ...]) -> Iterator[bytes]:
        for point in points:
            template = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: kind, Attribute.EC_POINT: point}
            for public in self._objects(template):
                yield bytes(_attribute(public, Attribute.ID, b""))

    def _private_keys(self, template: Mapping[Attribute, Any]) -> list[PrivateKey]:
        return self._objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, **template})

    def _objects(self, template: Mapping[Attribute, Any]) -> list[Any]:
        """Those of the template; looked for again where one goes while it is looked at: others write there, too."""
        for _ in range(_MORE_SEARCHES):
            with suppress(ObjectHandleInvalid):
                return list(self._session.get_objects(template))
        return list(self._session.get_objects(template))

    # Signing.

    def sign(
        self, number: int, algorithm: str, lot: Sequence[bytes], within_seconds: float
    ) -> tuple[list[bytes], float]:
        """The signatures over the first of a lot by a key that was found, one at least, with one of `ALGORITHMS`.

        Beside them the seconds that the quickest took; the others tell how busy the host is. None is begun after
        `within_seconds`. All is hashed, then all signed, then all encoded: a processor that goes back and forth between
        these takes longer for each. Raises: SigningError.
        """
        way = self._ways.get((number, algorithm))
        if way is None:
            way = self._ways[number, algorithm] = self._way(*self._keys[number], algorithm)
        try:
            return way.signatures(lot, within_seconds)
        except PKCS11Error as error:
            raise _failure(self._label, error) from error

    def _way(self, key: SignMixin, public_key: PublicKey, algorithm: str) -> _Way:
        """How that key signs with that algorithm."""
        row = ALGORITHMS[algorithm]
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            size, hashed = (public_key.curve.key_size + 7) // 8, _hash(row.digest)
            return _Way(
                partial(key.sign, mechanism=Mechanism.ECDSA), lambda data: hashed(data).digest()[:size], _in_x509
            )
        if not row.digest:
            return _Way(partial(key.sign, mechanism=Mechanism.EDDSA))
        return self._rsa_way(key, row.digest, pss=algorithm.endswith("/PSS"))

    def _rsa_way(self, key: SignMixin, digest: str, *, pss: bool) -> _Way:
        """Hashed by the token where it can, since some allow no signature over what they have not hashed."""
        name, hashed = digest.replace("-", ""), _hash(digest)
        parameters = (Mechanism[name], _MGF[digest], DIGESTS[digest].digest_size) if pss else None
        whole = Mechanism[f"{name}_RSA_PKCS{'_PSS' if pss else ''}"]
        if whole in self._able:
            return _Way(partial(key.sign, mechanism=whole, mechanism_param=parameters))
        if pss:
            sign = partial(key.sign, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameters)
            return _Way(sign, lambda data: hashed(data).digest())
        identifier = digest_identifier(digest)
        return _Way(
            partial(key.sign, mechanism=Mechanism.RSA_PKCS),
            lambda data: der.tlv(der.SEQUENCE, identifier, der.tlv(der.OCTET_STRING, hashed(data).digest())),
        )

    # A new key.

    def generate(self, algorithm: str, label: str, rsa_bits: int, *, extractable: bool) -> bytes:
        """Make a key there for an algorithm of `ALGORITHMS`; DER of its public key.

        It may do nothing but sign, does not leave the token unless `extractable`, and then only wrapped.
        Raises: SigningError.
        """
        row = ALGORITHMS[algorithm]
        private = {Attribute.EXTRACTABLE: extractable, Attribute.SENSITIVE: True, Attribute.PRIVATE: True}
        common: dict[str, Any] = {
            "store": True,
            "label": label,
            "id": secrets.token_bytes(_ID_BYTES),
            "capabilities": _SIGN,
            "private_template": private,
        }
        if row.key_type not in {"RSA", "EC", *_EDWARDS}:
            raise SigningError(
                f"a token makes no key for {algorithm}", hint="RSA, EC or Ed25519; ML-DSA keys are files"
            )
        try:
            return _patient(lambda: self._generated(row, rsa_bits, common))
        except PKCS11Error as error:
            raise _failure(self._label, error) from error

    def _generated(self, row: SignatureAlgorithm, rsa_bits: int, common: dict[str, Any]) -> bytes:
        if row.key_type == "EC":
            return self._generate_on_curve(_CURVES[row.digest](), common)
        if row.key_type in _EDWARDS:
            return self._generate_edwards(row.key_type, common)
        public, _ = self._session.generate_keypair(KeyType.RSA, rsa_bits, **common)
        modulus, exponent = (
            int.from_bytes(public[one], "big") for one in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT)
        )
        return _der(rsa.RSAPublicNumbers(exponent, modulus).public_key())

    def _generate_on_curve(self, curve: ec.EllipticCurve, common: dict[str, Any]) -> bytes:
        named = der.oid_tlv(_CURVE_OIDS[curve.key_size])
        parameters = self._session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: named}, local=True)
        public, _ = parameters.generate_keypair(**common)
        return _der(ec.EllipticCurvePublicKey.from_encoded_point(curve, _unwrapped(public[Attribute.EC_POINT])))

    def _generate_edwards(self, key_type: str, common: dict[str, Any]) -> bytes:
        named = der.tlv(_PRINTABLE_STRING, _EDWARDS[key_type].encode())
        parameters = self._session.create_domain_parameters(
            KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: named}, local=True
        )
        public, _ = parameters.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, **common)
        point = _unwrapped(public[Attribute.EC_POINT])
        loader = ed25519.Ed25519PublicKey if key_type == "Ed25519" else ed448.Ed448PublicKey
        return _der(loader.from_public_bytes(point))

    def remove(self, public_der: bytes) -> None:
        """Remove the key and its public half, where creation went wrong after it. Raises: NotFound; SigningError."""
        key, _ = self._keys[self.find(public_der)]
        del self._numbers[public_der]
        try:
            identifier = bytes(_attribute(key, Attribute.ID, b""))
            publics = self._objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: identifier})
            for one in (key, *publics):
                with suppress(ObjectHandleInvalid):  # it is gone: by a first try that failed afterwards
                    _patient(one.destroy)
        except PKCS11Error as error:
            raise _failure(self._label, error) from error


def _patient(act: Callable[[], _Done]) -> _Done:
    """What `act` gives, tried again where the token fails without a reason.

    SoftHSM does so while another process makes or removes a key.
    """
    for pause in _PAUSES_SECONDS:
        with suppress(GeneralError, FunctionFailed):
            return act()
        time.sleep(pause)
    return act()


def tokens_of(module: Path) -> list[dict[str, object]]:
    """The tokens that the module reaches, without a PIN. Raises: SigningError."""
    try:
        slots = _library(module).get_slots(token_present=True)
        tokens = [slot.get_token() for slot in slots]
        return [
            {"label": token.label, "slot": token.slot.slot_id, "serial": _text(token.serial)}
            for token in tokens
            if token.flags & TokenFlag.TOKEN_INITIALIZED
        ]
    except PKCS11Error as error:
        raise _failure(str(module), error) from error


def _library(module: Path) -> Any:
    try:
        return lib(str(module))
    except (RuntimeError, OSError) as error:  # what dlopen says
        raise SigningError(
            f"{module}: cannot be loaded: {error}",
            hint="the PKCS #11 module is a library (.so) of the token's maker: is its path right?",
        ) from error


def _token(module: Path, label: str) -> Token:
    """The token of that label; looked for by a module loaded anew where it is not there.

    SoftHSM looks at its tokens once, when it is loaded, and passes over one that another process is just logging in to.
    """
    library = _library(module)
    try:
        for pause in _PAUSES_SECONDS:
            with suppress(NoSuchToken):
                return cast("Token", library.get_token(token_label=label))
            time.sleep(pause)
            library.reinitialize()
        return cast("Token", library.get_token(token_label=label))
    except NoSuchToken as error:
        raise SigningError(
            f"token {label}: the module does not reach it", hint=f"vouchd token list --module {module}"
        ) from error
    except MultipleTokensReturned as error:
        raise SigningError(
            f"token {label}: there are several of that label", hint="give them labels of their own"
        ) from error


def _failure(label: str, error: PKCS11Error) -> SigningError:
    """By the name of the CKR_ value alone: a module's own words might hold anything."""
    return SigningError(f"token {label}: {type(error).__name__}")


def _text(value: str | bytes) -> str:
    return (value if isinstance(value, str) else value.decode("utf-8", "replace")).strip()


def _attribute(thing: Any, attribute: Attribute, default: Any = None) -> Any:
    try:
        return thing[attribute]
    except PKCS11Error:  # it is sensitive, or of another kind of object
        return default


def _hash(name: str) -> Callable[[bytes], hashlib._Hash]:
    hashed: Callable[[bytes], hashlib._Hash] = getattr(hashlib, DIGESTS[name].name)
    return hashed


def _in_x509(octets: bytes) -> bytes:
    """An ECDSA signature of PKCS #11 in the encoding of X.509."""
    half = len(octets) // 2
    return encode_dss_signature(int.from_bytes(octets[:half], "big"), int.from_bytes(octets[half:], "big"))


def _points(public_key: PublicKey) -> tuple[bytes, ...]:
    """CKA_EC_POINT as PKCS #11 has it, a DER OCTET STRING, and as some modules have it."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    else:
        point = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return der.tlv(der.OCTET_STRING, point), point


def _unwrapped(point: bytes) -> bytes:
    try:
        value = der.whole(point, der.OCTET_STRING)
    except ValueError:
        return point
    return point[value.start : value.end]


def _der(public_key: PublicKey) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
