"""The keyring put together: what a member holds and says of it, and what is done for the whole set."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vouchd.api.services import Services
from vouchd.clock import SystemClock
from vouchd.cloning.conducting import Conducting
from vouchd.cloning.enrolling import Enrolling, SignerRenewal
from vouchd.cloning.keyring import MemberKeyring, follow
from vouchd.cloning.own_certificates import OwnCertificates
from vouchd.cloning.own_record import OwnRecord
from vouchd.cloning.peers import Peers
from vouchd.errors import SigningError
from vouchd.instance.report import WaitingSigner
from vouchd.instance.signing_sets import NamedSigners, SigningWord
from vouchd.processes.upkeep import Upkeep
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.reading import KeptSettings
from vouchd.wiring.services import open_store

_SECONDS = 1.0
_RECORD_SECONDS = 10.0
_RENEWAL_SECONDS = 10.0
_SET_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class KeyringPart:
    """This member's part of the keyring, the work that comes back for it, and what is waited for."""

    member: MemberKeyring
    works: tuple[Upkeep, ...]
    waiting: Callable[[], tuple[WaitingSigner, ...]]
    enrolling: Enrolling


def followed_keyring(layout: Layout, settings: Settings) -> bool:
    """Before a start: have CS.cfg name what the set signs with; whether it changed. Raises: ConfigError, StoreError."""
    store = open_store(layout, settings)
    try:
        return follow(layout, settings, store, SystemClock().now())
    except SigningError:
        return False  # told of by what is checked next
    finally:
        store.close()


def open_keyring(services: Services, peers: Peers, word: SigningWord, sets: Mapping[int, NamedSigners]) -> KeyringPart:
    """The keyring of a manager process whose workers have loaded `sets`."""
    me = services.membership.me

    def restart() -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    kept = KeptSettings(services.layout, services.settings)
    member = MemberKeyring(
        services.layout, services.store, me, services.audit, services.clock, word, sets, restart, kept
    )
    peers.saying = member.words
    conducting = Conducting(
        services.layout,
        services.store,
        me,
        lambda: peers.states,
        member.words,
        services.clock,
        shared=services.settings.directory is not None,
    )
    layout, in_use, clock = services.layout, services.in_use, services.clock
    record = OwnRecord(layout, in_use, services.store, services.domain, peers, services.caller, clock)
    disowned = lambda: services.store.keyring().disowned  # noqa: E731  as short as it is
    own = OwnCertificates(layout, services.certificates, in_use, record.lacking, disowned, services.caller)
    signers = SignerRenewal(services.signers, lambda: conducting.conducts, me, services.caller)
    enrolling = Enrolling((signers, own), kept.read, clock)
    works = (
        Upkeep("signers", _SECONDS, member.look, on_change=True),
        Upkeep("keyring", _SECONDS, conducting.look, on_change=True),
        Upkeep("own record", _RECORD_SECONDS, record.look, on_change=True),
        Upkeep("renewal", _RENEWAL_SECONDS, enrolling.look),
        Upkeep("renewal of the set", _SET_SECONDS, services.set_renewal.look),
    )
    waiting = lambda: tuple(WaitingSigner(*one) for one in conducting.hold_ups)  # noqa: E731  as short as it is
    return KeyringPart(member, works, waiting, enrolling)
