"""The keyring at work in one member: it holds the signers of the set, tries them out, says so, and switches.

What there is to hold stands in the facts (`core/signer_facts`), how keys travel in decision 0018. A member goes through

    LACKING    the facts name a version whose key is not here; a copy sealed to this process is waited for
    HELD       the key is in a file of `alias/`, encrypted as all keys are, with its certificate beside it
    REHEARSED  chain, usage, validity and algorithm are right, and an answer for each CA was verified as clients do
    LOADED     every worker has read it at its start, beside the signers that sign now
    SIGNING    `CS.cfg` names it, and the word in shared memory is its set's number

and says of each version where it stands, whenever another member looks at it; nothing of that is stored. Why it is
right:

1. *No member switches that could not sign.* The epoch rises when all have said that they are LOADED (`conducting`).
   What a member said once stays true: files stay, workers have the key, a worker that is started anew reads the same.
2. *One moment.* A process cannot open a key file once it answers strangers, so the new signers are loaded by a
   restart while the old ones sign, which nobody notices. The switch itself is one store into shared memory, at the
   moment that the facts name, which the look before it waits for, and not before the last worker of before the restart
   has ended.
3. *Killed anywhere, never back.* `CS.cfg` names the new files before the word is said: who starts again signs with the
   new ones. A member that was down while the others switched makes `CS.cfg` follow before it answers (`follow`); one
   that cannot, having been put back to an older state, answers tryLater for the CAs concerned.
4. *A key comes in one way.* It is compared with the public key of the version, and tried out as any other. Who can
   write into the directory can name no signer that a CA has not certified.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.clock import wait_until
from vouchd.core.facts import Authority, Member
from vouchd.core.ports import AuditSink, Clock, Store
from vouchd.core.signer_facts import Keyring, KeyringWord, SignerVersion
from vouchd.errors import ConfigError, SigningError, StoreUnavailable
from vouchd.files import replace_file
from vouchd.instance.certificates.tokens import key_on_tokens
from vouchd.instance.certificates.versions import VersionFiles, rehearse_version
from vouchd.instance.locking import config_lock
from vouchd.instance.signing_sets import NamedSigners, SigningWord, write_sets
from vouchd.pkix.certs import load_certificate, not_after
from vouchd.pkix.signatures import algorithms_for
from vouchd.service.permission import local_caller
from vouchd.settings import cs_cfg
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import KeptSettings, settings_from
from vouchd.settings.signing_keys import SignerSettings
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import PrivateKey
from vouchd.signing.sealing import SealingKey

_log = logging.getLogger(__name__)

LACKING = "its key has not come yet"
NOT_LOADED = "its workers do not have it yet"
_PATIENCE_SECONDS = 60  # until a restart that was refused is asked for again
_AHEAD_SECONDS = 2  # so long before its moment a switch is prepared, and then waited for: twice as long as a pause
_AS_MEMBER = "keyring"


class MemberFiles:
    """The keyring as files and settings of one instance; every method reads `CS.cfg` as it is then."""

    def __init__(self, layout: Layout) -> None:
        self._layout = Layout(layout.root.absolute())

    @property
    def files(self) -> VersionFiles:
        """The files of versions. Raises: SigningError, ConfigError."""
        return VersionFiles(self._layout, read_passwords(self._layout.password_conf).get(INTERNAL))

    def place(self, version: SignerVersion, settings: Settings, files: VersionFiles) -> SignerSettings | None:
        """The version as CS.cfg names it, or would; None where its key is not here. Raises: SigningError."""
        present = _present(version, settings)
        if present is not None:
            return present
        key_file = files.key_file(version, settings)
        return None if key_file is None else files.signer(version, key_file)

    def key_file(self, version: SignerVersion, settings: Settings) -> Path | None:
        """Where the key of the version is, which may have no certificate yet; None where it is not here."""
        present = _present(version, settings)
        return present.key_file if present is not None else self.files.key_file(version, settings)

    def name(self, places: Iterable[SignerSettings]) -> tuple[str, ...]:
        """Have CS.cfg name these signers' files; the nicknames that it named others for. Raises: ConfigError."""
        with config_lock(self._layout.config_lock):
            before = cs_cfg.read(self._layout.cs_cfg)
            settings = settings_from(before, self._layout.root)
            changed = [place for place in places if place not in settings.signers]
            after = before
            for place in changed:
                after = after.without(f"vouchd.signer.{place.nickname}.chain").with_values(_values(place, settings))
            if changed and settings.default_signer:  # without a name the only one is the default, which it is no more
                after = after.with_values({"ocsp.signing.certnickname": settings.default_signer})
            settings_from(after, self._layout.root)
            if after.lines != before.lines:
                replace_file(self._layout.cs_cfg, after.render().encode(), 0o600)
        return tuple(place.nickname for place in changed)


def _present(version: SignerVersion, settings: Settings) -> SignerSettings | None:
    """The version as CS.cfg names it now, with its key; None where it names another one."""
    present = next((one for one in settings.signers if one.nickname == version.nickname), None)
    return present if present is not None and _is_that(present, version) and present.key_file.exists() else None


def _is_that(present: SignerSettings, version: SignerVersion) -> bool:
    """Whether CS.cfg names this very version: certificate, chain and algorithm."""
    try:
        certificates = [*read_certificates(present.certificate_file)] if present.certificate_file.exists() else []
        more = read_certificates(present.chain_file) if present.chain_file else ()
    except SigningError:
        return False
    ders = tuple(one.public_bytes(Encoding.DER) for one in (*certificates, *more))
    if ders != (version.certificate_der, *version.chain):
        return False
    usual = algorithms_for(certificates[0].public_key())[0]
    return (present.algorithm or usual) == (version.algorithm or usual)


def _values(place: SignerSettings, settings: Settings) -> dict[str, str]:
    """The lines of CS.cfg that name a signer's files."""
    root, prefix = settings.root.absolute(), f"vouchd.signer.{place.nickname}"
    paths = {"key": place.key_file, "certificate": place.certificate_file}
    values = {
        f"{prefix}.{name}": str(path.relative_to(root) if path.is_relative_to(root) else path)
        for name, path in paths.items()
    }
    if place.algorithm:
        values[f"{prefix}.algorithm"] = place.algorithm
        if settings.default_signer == place.nickname:
            values["ocsp.signing.defaultSigningAlgorithm"] = place.algorithm
    return values


def follow(layout: Layout, settings: Settings, store: Store, at: int) -> bool:
    """Before the start: have CS.cfg name what the set signs with, where it switched meanwhile; whether it changed.

    Raises: ConfigError, StoreError; SigningError.
    """
    try:
        ring = store.keyring()
    except StoreUnavailable:
        return False  # what signed last signs
    if not ring.signing() or ring.switch_at > at:
        return False
    member = MemberFiles(layout)
    files = member.files
    places = [member.place(version, settings, files) for version in ring.signing()]
    return bool(member.name([place for place in places if place is not None]))


def prepare(layout: Layout, settings: Settings, store: Store, word: SigningWord) -> dict[int, NamedSigners]:
    """Write which signers the workers are to load: those of CS.cfg, and those that are to follow them. By number.

    First those that the set has switched to, where this member has not yet, then the target. A signer that the set has
    replaced, whose successor is not here, signs nothing. Raises: StoreUnavailable.
    """
    try:
        ring = store.keyring()
        member = MemberFiles(layout)
        files = member.files
        places = {one.key: member.place(one, settings, files) for one in ring.staged()}
    except (StoreUnavailable, SigningError, ConfigError) as error:
        _log.warning("the keyring cannot be read now: %s", error)
        ring, places = Keyring(), {}
    gone = {one.nickname for one in ring.signing() if one.key in places and places[one.key] is None}
    now = NamedSigners.of(settings)
    steps = [NamedSigners(tuple(one for one in now.signers if one.nickname not in gone), now.default)]
    for keys in (ring.current, ring.target):
        following = succeeding(steps[-1], [place for key, place in places.items() if place is not None and key in keys])
        steps += [following] if following != steps[-1] else []
    sets = {word.number + number: one for number, one in enumerate(steps)}
    write_sets(layout, sets)
    return sets


def succeeding(now: NamedSigners, places: Iterable[SignerSettings]) -> NamedSigners:
    """The signers once these have taken the places of those of their nicknames, ordered by nickname."""
    following = {one.nickname: one for one in places}
    if not following:  # as nearly always, and there may be ten thousand signers
        return now
    by_nickname = {one.nickname: one for one in now.signers} | following
    if set(by_nickname.values()) == set(now.signers):
        return now
    return NamedSigners(tuple(by_nickname[name] for name in sorted(by_nickname)), now.default)


class MemberKeyring:
    """This member's part; `look` is called again and again, in one thread.

    `sets` are the signers that the workers of this process have, by number, and `word` says which of them sign.
    `restart` has this process become a new one, soon. `settled` is to be set once every worker is of this process.
    """

    def __init__(
        self,
        layout: Layout,
        store: Store,
        me: Callable[[], Member | None],
        audit: AuditSink,
        clock: Clock,
        word: SigningWord,
        sets: Mapping[int, NamedSigners],
        restart: Callable[[], None],
        kept: KeptSettings | None = None,
    ) -> None:
        self._layout = layout
        self._store = store
        self._me = me
        self._audit = audit
        self._clock = clock
        self._word = word
        self._sets = dict(sets)
        self._named: tuple[Settings, NamedSigners] | None = None
        self._restart = restart
        self._member = MemberFiles(layout)
        self._sealing = SealingKey()
        self._rehearsed: dict[tuple[str, bytes, tuple[Authority, ...]], int] = {}  # until when it holds
        self._wish: tuple[NamedSigners | None, int] = (None, 0)  # for what a restart was asked for, and when
        self._saying = KeyringWord(self._sealing.public)
        self._loaded = threading.Event()
        self._settings = kept or KeptSettings(layout)

    def settle(self) -> None:
        """Every worker that answers is one of this process."""
        self._loaded.set()

    def words(self) -> KeyringWord:
        """What is said to the other members."""
        return self._saying

    def look(self) -> bool:
        """Hold, try out, switch; whether another thing is said than before. Raises: VouchdError."""
        ring, settings = self._store.keyring(), self._settings.read()
        staged, files = ring.staged(), self._member.files
        authorities = self._store.authorities() if staged else ()
        places: dict[tuple[str, int], SignerSettings] = {}
        words: dict[str, str] = {}
        for version in staged:
            try:
                place = self._place(version, settings, files)
                self._rehearse(version, files, place, settings, authorities)
            except SigningError as error:
                words[version.name] = str(error)
            else:
                places[version.key], words[version.name] = place, ""
        self._load(ring, settings, places, words)
        saying = KeyringWord(self._sealing.public, words, ring.epoch)
        changed, self._saying = saying != self._saying, saying
        self._switch(ring, settings, places)
        return changed

    def _place(self, version: SignerVersion, settings: Settings, files: VersionFiles) -> SignerSettings:
        """Where the version is; its key is taken in where it has come. Raises: SigningError."""
        place = self._member.place(version, settings, files)
        if place is None:
            key = self._on_token(version) if version.token else self._unsealed(version)
            with config_lock(self._layout.config_lock):
                place = files.signer(version, files.write_key(version, key))
            self._record("KEY_GEN_ASYMMETRIC", version, how=f"on {version.token}" if version.token else "unsealed")
        return place

    def _on_token(self, version: SignerVersion) -> PrivateKey:
        key = key_on_tokens(self._layout, load_certificate(version.certificate_der).public_key(), version.nickname)
        if key is None:
            raise SigningError(
                f"its key is on the token {version.token}, and on none that this member reaches",
                hint="have this host reach that token, or copy the key to its own by its maker's means",
            )
        return key

    def _unsealed(self, version: SignerVersion) -> PrivateKey:
        me = self._me()
        own = me.id if me else ""
        for one in version.sealed:
            if one.member == own and one.recipient == self._sealing.recipient:
                return self._sealing.open(one.sealed, seal_context(version, own))
        raise SigningError(LACKING)

    def _rehearse(
        self,
        version: SignerVersion,
        files: VersionFiles,
        place: SignerSettings,
        settings: Settings,
        authorities: tuple[Authority, ...],
    ) -> None:
        """Try it out, unless that was done for these CAs already. Raises: SigningError."""
        concerned = tuple(
            one for one in authorities if (one.policy.signer or settings.default_signer) == version.nickname
        )
        key = (version.name, version.certificate_der, concerned)
        now = self._clock.now()
        if now <= self._rehearsed.get(key, -1):
            return
        trust_file = settings.agent.trust_file
        registered = [load_certificate(one) for authority in authorities for one in authority.certificates]
        anchors = (*registered, *(read_certificates(trust_file) if trust_file else ()))
        signing_key = files.read(place.key_file)
        for doubt in rehearse_version(version, signing_key, concerned, anchors, settings.responder, now):
            _log.warning("signer %s: %s", version.name, doubt)
        self._rehearsed = {one: until for one, until in self._rehearsed.items() if one[0] != version.name}
        self._rehearsed[key] = not_after(load_certificate(version.certificate_der))

    def _load(
        self,
        ring: Keyring,
        settings: Settings,
        places: Mapping[tuple[str, int], SignerSettings],
        words: dict[str, str],
    ) -> None:
        """Have the workers load what is to sign and they do not have; until then it is not ready."""
        following = self._of(settings)
        for keys in (ring.current, ring.target):
            following = succeeding(following, [place for key, place in places.items() if key in keys])
        if following in self._sets.values() and self._loaded.is_set():
            return
        named = {one.key for one in ring.staged() if places.get(one.key) in settings.signers}
        words |= {one.name: NOT_LOADED for one in ring.staged() if one.key in {*ring.target} & {*places} - named}
        wish, at = self._wish
        late = self._clock.now() - at >= _PATIENCE_SECONDS
        if following not in self._sets.values() and (following != wish or late):
            _log.info("restarting, so that the workers have the signers that are to follow")
            self._wish = (following, self._clock.now())
            self._restart()

    def _of(self, settings: Settings) -> NamedSigners:
        """Those of CS.cfg: the very set that the workers have, where it is the same; ten thousand are compared once."""
        if self._named is None or self._named[0] is not settings:
            named = NamedSigners.of(settings)
            self._named = settings, next((one for one in self._sets.values() if one == named), named)
        return self._named[1]

    def _switch(self, ring: Keyring, settings: Settings, places: Mapping[tuple[str, int], SignerSettings]) -> None:
        """Sign with what the keyring says, from the moment on that it says, once every worker could."""
        current = [places[one.key] for one in ring.signing() if one.key in places]
        following = succeeding(self._of(settings), current)
        number = next((number for number, one in self._sets.items() if one == following), None)
        if number is None or number == self._word.number or not self._loaded.is_set():
            return
        if ring.switch_at - self._clock.now() > _AHEAD_SECONDS or not wait_until(ring.switch_at, _AHEAD_SECONDS):
            return
        nicknames = self._member.name(current)
        self._word.say(number)
        for version in ring.signing():
            if version.nickname in nicknames:
                _log.info("signing with %s (epoch %d of the keyring)", version.name, ring.epoch)
                self._record("CONFIG_TRUSTED_PUBLIC_KEY", version, epoch=ring.epoch)
        self._restart()  # what else goes by CS.cfg follows

    def _record(self, event: str, version: SignerVersion, **detail: str | int) -> None:
        self._audit.record(event, local_caller(_AS_MEMBER), "success", certificate=version.name, **detail)


def seal_context(version: SignerVersion, member_id: str) -> bytes:
    """What a sealed key is bound to: no copy is good for another version or another member."""
    return "\0".join((version.nickname, str(version.number), version.public_key, member_id)).encode()
