"""This instance as a member of its set: what the others are told of it, and what they share with it."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd import __version__
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.registry import master_of
from vouchd.cloning.set_info import Joined, SetInfo
from vouchd.core.facts import Member
from vouchd.core.ports import Clock, Store
from vouchd.errors import ConfigError, NotFound
from vouchd.instance.certificates.backup import NOT_BACKED_UP
from vouchd.instance.certificates.in_use import CertificatesInUse
from vouchd.instance.certificates.places import system_certificates
from vouchd.settings import cs_cfg
from vouchd.settings.cs_cfg import CSConfig
from vouchd.settings.declared import KNOWN, Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import REPLICATIONDB, read_passwords
from vouchd.signing.certificates import read_certificates

CLONE_REFRESH_SECONDS = 21600  # refreshInSec of a clone; of a master any other number but 0


def require_master_refresh(seconds: int) -> None:
    """Return when refreshInSec is a master's. Raises: ConfigError with the line to change."""
    if seconds in {0, CLONE_REFRESH_SECONDS}:
        raise ConfigError(
            f"refreshInSec of the master is {seconds}: for a master it is neither 0 nor {CLONE_REFRESH_SECONDS}",
            hint="on the master: vouchd clone prepare sets ocsp.store.defStore.refreshInSec=600",
        )


def shared_values(config: CSConfig) -> dict[str, str]:
    """The lines of CS.cfg that all members of a set have alike: key to text."""
    return {key: assignment.text for key, assignment in config.assignments.items() if assignment.known.shared}


def effective_settings(config: CSConfig) -> dict[str, str]:
    """What is in effect of the settings that all members share, by key: as the file has them, else by default."""
    exact = [known.name for known in KNOWN if known.shared and "<" not in known.name and not known.name.endswith("*")]
    written = [key for key, assignment in config.assignments.items() if assignment.known.shared]
    return {key: _shown(config.value(key)) for key in sorted({*exact, *written})}


def _shown(value: object) -> str:
    """The same text for the same value, in every process."""
    if isinstance(value, set | frozenset | tuple | list):
        parts = [_shown(one) for one in value]
        return ", ".join(parts if isinstance(value, tuple | list) else sorted(parts))
    return str(value)


def sent_along(settings: Settings) -> dict[str, tuple[bytes, ...]]:
    """DER of the certificates that go along with each shared one, as they stand in its files and so in each answer."""
    more = {one.nickname: one.chain_file for one in settings.signers}
    chains = {}
    for place in system_certificates(settings):
        if place.certificate is not None and place.name not in NOT_BACKED_UP:
            path = more.get(place.name)
            beside = read_certificates(path) if path else ()
            chains[place.name] = tuple(one.public_bytes(Encoding.DER) for one in (*place.chain, *beside))
    return chains


def own_member(settings: Settings) -> Member:
    """What the registry should hold of this instance; role and time of joining are the registry's to say.

    Raises: ConfigError when it has no name or no ports that others could use.
    """
    host = settings.of_set.host
    if not host:
        raise ConfigError("this instance has no name for others", hint="set vouchd.domain.host to its full host name")
    if not settings.agent.tls.installed:
        raise ConfigError("the agent port has no certificate yet", hint="see `vouchd certs list`")
    leaf = read_certificates(settings.agent.tls.certificate_file)[0].public_bytes(Encoding.DER)
    return Member(
        host=host,
        secure_port=settings.agent.port,
        ee_port=settings.ee.port,
        name=f"OCSP {host} {settings.agent.port}",
        clone=settings.refresh_seconds == CLONE_REFRESH_SECONDS,
        joined_at=0,
        tls_sha256=hashlib.sha256(leaf).hexdigest(),
        directory=settings.directory.server if settings.directory else None,
    )


class Membership:
    """What this instance tells the other members of itself and of the set."""

    def __init__(self, layout: Layout, in_use: CertificatesInUse, store: Store, clock: Clock) -> None:
        self._layout = layout
        self._in_use = in_use
        self._store = store
        self._clock = clock

    @property
    def _settings(self) -> Settings:
        return self._in_use.now()

    def me(self) -> Member | None:
        """This instance in the registry, None when it is in none."""
        return next((member for member in self._store.members() if member.id == self._settings.member_id), None)

    def require_me(self) -> Member:
        """This instance in the registry. Raises: NotFound."""
        me = self.me()
        if me is None:
            raise NotFound("this instance is in no security domain", hint="vouchd clone prepare makes it the master")
        return me

    def require_registrar(self) -> None:
        """Raise where the registry is a copy of the master's: a change of it would be gone with the next one there.

        Raises: ConfigError.
        """
        me, master = self.me(), master_of(self._store.members())
        if self._settings.directory is None and me is not None and master is not None and me.id != master.id:
            raise ConfigError(
                f"this member follows {master.id}, which keeps the registry of the domain",
                hint=f"ask the master: https://{master.id}",
            )

    def believe_all(self) -> None:
        """Read what there is, so that it is believed: what a member has sealed counts no more when it is out."""
        self._store.members()
        self._store.authorities()
        self._store.users()
        self._store.keyring()

    def certificates(self) -> dict[str, bytes]:
        """DER of the certificates here whose keys a clone is made with, by name."""
        return {
            one.name: one.certificate.public_bytes(Encoding.DER)
            for one in system_certificates(self._settings)
            if one.certificate is not None and one.name not in NOT_BACKED_UP
        }

    def info(self) -> SetInfo:
        """The set as seen from here. Raises: NotFound, ConfigError."""
        return SetInfo(
            domain=self._settings.of_set.domain,
            version=__version__,
            now=self._clock.now(),
            refresh_seconds=self._settings.refresh_seconds,
            told_by=self.require_me(),
            members=self._store.members(),
            certificates=self.certificates(),
            values=shared_values(cs_cfg.read(self._layout.cs_cfg)),
            chains=sent_along(self._settings),
        )

    def joined(self, member: Member) -> Joined:
        """What `member` is told when it has joined."""
        password = read_passwords(self._layout.password_conf).get(REPLICATIONDB, "") if member.directory else ""
        seals = getattr(self._store, "seals", None)
        if member.directory is None or not isinstance(seals, MemberSeals) or not seals.enforced:
            return Joined(member, self.info(), password)
        self.believe_all()
        return Joined(member, self.info(), password, seals.beliefs())
