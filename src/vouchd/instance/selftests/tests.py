"""The self tests of an instance: what each looks at, put together for `service.selftests`."""

from __future__ import annotations

from functools import partial

from vouchd.core.ports import AuditSink, Clock, StatusStore
from vouchd.errors import SigningError
from vouchd.index.serving import open_state
from vouchd.instance.certificates.signers import load_signers
from vouchd.instance.lifecycle import look_now, status, wait_until_heeded
from vouchd.instance.selftests.canary import Canary
from vouchd.instance.selftests.host import check_clock, check_disk, check_index
from vouchd.instance.selftests.keys import check_certificates, check_key_files, check_presence, check_validity, collect
from vouchd.instance.selftests.results import SelfTestFile
from vouchd.service.indexing import Indexing
from vouchd.service.permission import Permission
from vouchd.service.selftests import SelfTest, SelfTestName, SelfTests, halting
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout


def open_self_tests(
    layout: Layout,
    settings: Settings,
    store: StatusStore,
    indexing: Indexing,
    permission: Permission,
    audit: AuditSink,
    clock: Clock,
) -> SelfTests:
    """The service over the tests of the instance at `layout` with these settings, whether it runs or not.

    After a run on demand a running instance is told, and waited for until its workers do what the results ask for.
    """
    records = SelfTestFile(layout.selftests)

    def changed() -> None:
        if look_now(layout):
            wait_until_heeded(layout, halted=bool(halting(records.latest())))

    return SelfTests(
        self_tests(layout, settings, store, indexing),
        settings.selftests.startup,
        settings.selftests.on_demand,
        records=records,
        permission=permission,
        audit=audit,
        clock=clock,
        changed=changed,
    )


def self_tests(layout: Layout, settings: Settings, store: StatusStore, indexing: Indexing) -> tuple[SelfTest, ...]:
    """All self tests of the instance at `layout`; they read, and write nothing but index files that are missing."""
    name = SelfTestName
    return (
        SelfTest(name.PRESENCE, "Each signer has its key and its certificate.", lambda _: check_presence(settings)),
        SelfTest(
            name.CERTIFICATES,
            "The system certificates are valid, fit their purpose, chain and key.",
            lambda at: check_certificates(settings, store.authorities(), at),
        ),
        SelfTest(
            name.VALIDITY,
            "Each CA has a valid signer that may answer for it.",
            lambda at: check_validity(settings, store.authorities(), at),
        ),
        SelfTest(
            name.KEY_FILES,
            "Nobody else can read files with keys or passwords.",
            lambda _: check_key_files(layout, settings),
        ),
        SelfTest(
            name.DISK,
            "The folders can be written and have room.",
            lambda _: check_disk(layout, settings.selftests.min_free_bytes),
        ),
        SelfTest(
            name.CLOCK,
            "The clock is not behind what the store, CAs and clones have told.",
            lambda at: check_clock(store, settings.selftests.tolerance_seconds, at),
        ),
        SelfTest(
            name.INDEX,
            "The index files are whole and say what the CRLs in the store say.",
            lambda _: check_index(store, indexing, layout.index),
        ),
        SelfTest(
            name.CANARY,
            "An answer for each CA passes a client's verification and is what the CRL says.",
            lambda at: _canary(layout, settings, indexing, at),
        ),
    )


def _canary(layout: Layout, settings: Settings, indexing: Indexing, at: int) -> str:
    state = open_state(indexing.prepare(), layout.index)
    if not state.authorities:
        return "no CA yet"
    canary = Canary(state, load_signers(settings), settings.default_signer, settings.responder, _running_url(layout))
    check = canary.sing(at)
    return collect(
        {one.authority.label: partial(check, one) for one in state.authorities},
        SigningError,
    )


def _running_url(layout: Layout) -> str:
    """The URL of the instance's EE port while its workers answer."""
    now = status(layout)
    if now.report is None or not now.ready or now.report.halted:
        return ""
    return now.report.ee_url
