"""A worker process put together: settings -> what answers on a slot of the OCSP port."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from vouchd.audit.answer_records import AnsweredRecords
from vouchd.core.policy import AnswerRecords, ClientAddress
from vouchd.core.status import ServingState
from vouchd.ee.port_state import PortState
from vouchd.ee.server import EEServer
from vouchd.ee.signing_threads import THREADS
from vouchd.errors import LifecycleError
from vouchd.hardening import confine, harden
from vouchd.index.manifest import Manifest
from vouchd.index.octets import AnsweringOctets
from vouchd.index.serving import OpenIndexes
from vouchd.instance.certificates.signers import Lost, load_signers
from vouchd.instance.signing_sets import NamedSigners, SigningWord, read_sets
from vouchd.pkix.memo import settle
from vouchd.processes.heap import keep_large_apart
from vouchd.processes.logs import set_up_logs
from vouchd.processes.worker import collect_little, inherited
from vouchd.processes.worker import run_worker as serve_worker
from vouchd.service.answering import Responder
from vouchd.service.signing_epochs import SigningEpochs, SigningSet
from vouchd.settings.audit_log import AuditSettings
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.reading import active_settings
from vouchd.signing.software import SoftwareSigner
from vouchd.sockets import raise_descriptor_limit

_log = logging.getLogger(__name__)


def run_worker(layout: Layout, slot: int) -> None:
    """Be the worker process of `slot` until told to drain. Raises: VouchdError when it cannot start."""
    set_up_logs()
    raise_descriptor_limit()
    collect_little()
    keep_large_apart()
    settle()  # a worker asks of each certificate a few times in a row: what it remembers it would remember for nothing
    harden()  # before any key is read
    inheritance = inherited()
    if inheritance.slot != slot:
        raise LifecycleError(f"slot {slot} was started with the sockets of slot {inheritance.slot}")
    settings = active_settings(layout)
    responder, signing = signing_responder(layout, settings, ServingState(0, ()), _give_way)
    unconfined = shut(layout, settings)
    if unconfined:
        _log.warning("this worker could still open the files of its instance: %s", unconfined)
    for signer in signing.signers:
        if isinstance(signer, SoftwareSigner) and signer.token is not None:
            signer.token.await_sessions()  # so that the first answers need not: those of before a restart go on
    settings = replace(settings, signers=())  # they are loaded: of ten thousand, their paths are ten megabytes
    records = answered_records(settings.audit, responder)
    threads = max(THREADS, 2 * settings.token.sessions)  # one has its lot signed, one its answer looked at
    state = PortState(responder, settings.ee, records=records, salt=inheritance.salt, signing=signing, threads=threads)
    files = OpenIndexes(layout.index, AnsweringOctets(), merged=True)
    manifest = Manifest(layout.index, files)

    def load() -> ServingState:
        loaded = manifest.load()
        responder.foresee(loaded, int(time.time()))
        return loaded

    serve_worker(
        EEServer(state),
        responder.replacing,
        load,
        inheritance,
        responder.halt,
        files.damaged,
        responder.withhold,
        confined=not unconfined,
    )


def _give_way() -> None:
    """End this worker, which can start nothing any more, in good order: the manager starts another one."""
    _log.error("what starts the sessions of a token is gone: this worker gives way to another one")
    os.kill(os.getpid(), signal.SIGTERM)


def signing_responder(
    layout: Layout, settings: Settings, state: ServingState, lost: Lost = None
) -> tuple[Responder, SigningEpochs]:
    """What answers from `state` with the signers that sign now, and has the others at hand that are to follow.

    The word is mapped and the keys are read here, once: a worker can open neither later; `lost` as in `SessionPool`.
    Raises: ConfigError.
    """
    word = SigningWord(layout.signing_word).view
    sets = {number: _loaded(settings, one, lost) for number, one in read_sets(layout).items()}
    now = sets.get(word[0], SigningSet())
    responder = Responder(state, now.signers, now.default, settings.responder)
    return responder, SigningEpochs(responder, sets, word)


def _loaded(settings: Settings, named: NamedSigners, lost: Lost) -> SigningSet:
    signers = load_signers(replace(settings, signers=named.signers, default_signer=named.default), lost)
    return SigningSet(signers, named.default)


def shut(layout: Layout, settings: Settings) -> str:
    """Close all that is the instance's to this process but the indexes; empty, or why it could not be done."""
    return confine([layout.index], closed(layout, settings))


def closed(layout: Layout, settings: Settings) -> list[Path]:
    """What a worker must not open though it may lie where programs read: the instance, and keys wherever they are.

    Those of signers that are loaded and do not sign yet, or any more, are among them. Raises: ConfigError.
    """
    own = (settings.agent.tls, settings.subsystem, settings.audit_signing, settings.admin)
    loaded = (signer for one in read_sets(layout).values() for signer in one.signers)
    keys = [*(signer.key_file for signer in (*settings.signers, *loaded)), *(files.key_file for files in own)]
    return [layout.root, *dict.fromkeys(keys)]


def answered_records(settings: AuditSettings, responder: Responder) -> AnsweredRecords:
    """What a worker tells the log of its answers."""
    clients = settings.client_address is not ClientAddress.NONE and settings.answers is not AnswerRecords.NONE
    return AnsweredRecords(settings.answers, settings.sample, responder.ca_label, clients=clients)
