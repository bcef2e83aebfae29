"""The signers of a set as facts that all members have alike, and what may be said of them without looking anywhere.

A signer is a nickname, as CS.cfg and the policies of CAs have it, with a history of versions: each is one key with the
certificate that it got. The keyring says of each nickname which version signs now (`current`) and which one is to
(`target`). Both change together with `epoch`, which counts how often members have changed signers: rolling over and
rolling back are one act, another target.

A nickname that the keyring does not have is signed for with what CS.cfg of each member names, as ever.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

Record = dict[str, Any]

_LONGEST = 500  # characters of a reason
_MOST = 1000  # versions that a member speaks of


class SignerState(StrEnum):
    """Where a version of a signer is on its way."""

    WANTED = "wanted"  # nothing but its name is known
    REQUESTED = "requested"  # its key is made, its certificate has not come
    STAGED = "staged"  # the certificate is there; members get the key and try it out
    REHEARSED = "rehearsed"  # every member could sign with it
    CURRENT = "current"  # it signs
    RETIRED = "retired"  # it will not sign again


@dataclass(frozen=True, slots=True, order=True)
class SealedKey:
    """A key on its way: sealed to the key that `member` (an id) had for it, whose SHA-256 (hex) is `recipient`."""

    member: str
    recipient: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class SignerVersion:
    """One key of a signer; times are POSIX seconds. `number` counts the versions of the nickname from 1.

    `public_key` is the SHA-256 (hex) of its SubjectPublicKeyInfo: members find the key by it, whatever its file is
    called. `chain` are DER certificates that are sent along. `token` is the label of the token that has the key, empty
    for a software key, which is at the member `origin` first.
    """

    nickname: str
    number: int
    algorithm: str
    public_key: str = ""
    request_der: bytes = b""
    certificate_der: bytes = b""
    chain: tuple[bytes, ...] = ()
    token: str = ""
    origin: str = ""
    made_at: int = 0
    retired_at: int | None = None
    sealed: tuple[SealedKey, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        """What the keyring calls it."""
        return self.nickname, self.number

    @property
    def name(self) -> str:
        """What people call it: `nickname#2`."""
        return f"{self.nickname}#{self.number}"

    @property
    def is_usable(self) -> bool:
        """Whether its certificate has come and it is not retired."""
        return bool(self.certificate_der) and self.retired_at is None


@dataclass(frozen=True, slots=True)
class Keyring:
    """All signers of the set; `change` counts its changes, so that of two the newer is known.

    `switch_at`: from when on the members sign with `current`, POSIX seconds. `current` and `target` are pairs of
    nickname and number, ordered. `disowned` are public keys, by SHA-256 (hex), that somebody may have who was taken out
    of the set: they are to be used no more. `unasked` are the members that have not said since which keys they have.
    """

    change: int = 0
    epoch: int = 0
    switch_at: int = 0
    current: tuple[tuple[str, int], ...] = ()
    target: tuple[tuple[str, int], ...] = ()
    versions: tuple[SignerVersion, ...] = ()
    disowned: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()

    def versions_of(self, nickname: str) -> tuple[SignerVersion, ...]:
        """Those of one nickname, oldest first."""
        return tuple(one for one in self.versions if one.nickname == nickname)

    def version(self, nickname: str, number: int) -> SignerVersion | None:
        """That one."""
        return next((one for one in self.versions if one.key == (nickname, number)), None)

    def signing(self) -> tuple[SignerVersion, ...]:
        """The versions that sign, or are about to."""
        return tuple(one for one in self.versions if one.key in self.current)

    def staged(self) -> tuple[SignerVersion, ...]:
        """Those that every member is to have: that can sign, or did, and are not retired."""
        return tuple(one for one in self.versions if one.is_usable)

    @property
    def nicknames(self) -> tuple[str, ...]:
        """All nicknames, ordered."""
        return tuple(sorted({one.nickname for one in self.versions}))

    @property
    def is_switching(self) -> bool:
        """Whether other versions are to sign than do."""
        return bool(set(self.target) - set(self.current))

    def with_version(self, version: SignerVersion) -> Keyring:
        """With that one added, or in place of the one of its nickname and number."""
        others = [one for one in self.versions if one.key != version.key]
        return replace(self, versions=tuple(sorted([*others, version], key=lambda one: one.key)))

    def aiming_at(self, version: SignerVersion) -> Keyring:
        """With that one as the one that is to sign for its nickname."""
        others = [pair for pair in self.target if pair[0] != version.nickname]
        return replace(self, target=tuple(sorted([*others, version.key])))

    def switched(self, at: int) -> Keyring:
        """With the target as what signs from `at` on."""
        return replace(self, epoch=self.epoch + 1, switch_at=at, current=self.target)

    def next_number(self, nickname: str) -> int:
        """The number of the next version of that nickname."""
        return max((one.number for one in self.versions_of(nickname)), default=0) + 1


@dataclass(frozen=True, slots=True)
class KeyringWord:
    """What a member says of the keyring: by version empty where it could sign with it, else why not.

    `sealing` is the public key that keys are to be sealed to, `epoch` that of the keyring it signs by.
    """

    sealing: bytes = b""
    versions: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0


def state(ring: Keyring, version: SignerVersion, rehearsed: bool) -> SignerState:  # noqa: FBT001  a fact, not an option
    """Where the version is; `rehearsed`: whether every member said that it could sign with it."""
    if version.retired_at is not None:
        return SignerState.RETIRED
    if version.key in ring.current:
        return SignerState.CURRENT
    if not version.certificate_der:
        return SignerState.REQUESTED if version.request_der else SignerState.WANTED
    return SignerState.REHEARSED if rehearsed else SignerState.STAGED


def hold_ups(
    versions: Iterable[SignerVersion], members: Collection[str], words: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[str, str, str], ...]:
    """Why these may not sign yet: name of the version, id of the member, reason; empty when all are ready.

    `words` are what each member said of each version by name: empty when it could sign with it.
    """
    reasons = []
    for version in versions:
        for member in sorted(members):
            said = words.get(member)
            why = "has not said yet that it has the keyring" if said is None else said.get(version.name, "not here yet")
            if why:
                reasons.append((version.name, member, why))
    return tuple(reasons)


def newest(rings: Iterable[Keyring]) -> Keyring:
    """The newest of several, found alike by every member: two that were changed at one time have one count."""
    return max(rings, key=lambda ring: (ring.change, repr(keyring_record(ring))), default=Keyring())


# Its record: fields as they are, bytes in base64.


def keyring_record(ring: Keyring) -> Record:
    """The record of the keyring."""
    record = asdict(ring) | {"versions": [_version_record(one) for one in ring.versions]}
    return {name: value for name, value in record.items() if value or name not in {"disowned", "unasked"}}


def read_keyring(record: Record) -> Keyring:
    """The keyring of a record; a field that is missing has its default, an unknown one is passed over."""
    known = _known(Keyring, record)
    for name in ("current", "target"):
        known[name] = tuple((str(nickname), int(number)) for nickname, number in known.get(name, ()))
    for name in ("disowned", "unasked"):
        known[name] = tuple(map(str, known.get(name, ())))
    known["versions"] = tuple(map(_read_version, known.get("versions", ())))
    return Keyring(**known)


def word_record(word: KeyringWord) -> Record:
    """The record of what a member says."""
    return {"sealing": _text(word.sealing), "versions": dict(word.versions), "epoch": word.epoch}


def read_word(record: Record) -> KeyringWord:
    """What a member says, of a record; its reasons are cut to a length that can be shown."""
    versions = {str(name)[:_LONGEST]: str(why)[:_LONGEST] for name, why in list(record["versions"].items())[:_MOST]}
    return KeyringWord(base64.b64decode(record["sealing"], validate=True), versions, int(record["epoch"]))


def _version_record(version: SignerVersion) -> Record:
    return asdict(version) | {
        "request_der": _text(version.request_der),
        "certificate_der": _text(version.certificate_der),
        "chain": [_text(one) for one in version.chain],
        "sealed": [[one.member, one.recipient, _text(one.sealed)] for one in version.sealed],
    }


def _read_version(record: Record) -> SignerVersion:
    known = _known(SignerVersion, record)
    for name in ("request_der", "certificate_der"):
        known[name] = base64.b64decode(known.get(name, ""), validate=True)
    known["chain"] = tuple(base64.b64decode(one, validate=True) for one in known.get("chain", ()))
    known["sealed"] = tuple(
        SealedKey(member, recipient, base64.b64decode(sealed, validate=True))
        for member, recipient, sealed in known.get("sealed", ())
    )
    return SignerVersion(**known)


def _known(cls: type[Any], record: Record) -> Record:
    names = {one.name for one in fields(cls)}
    return {name: value for name, value in record.items() if name in names}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
