"""The self tests of an instance: what each looks at, put together for `service.selftests`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial

from vouchd.core.facts import Authority
from vouchd.core.ports import AuditSink, Clock, StatusStore
from vouchd.core.status import ServingState
from vouchd.errors import SigningError
from vouchd.index.serving import open_state
from vouchd.instance.certificates.signers import KeyMaterial, started_signers
from vouchd.instance.lifecycle import look_now, status, wait_until_heeded
from vouchd.instance.selftests.canary import Canary
from vouchd.instance.selftests.host import check_clock, check_disk, check_index
from vouchd.instance.selftests.keys import check_certificates, check_key_files, check_presence, check_validity, collect
from vouchd.instance.selftests.results import SelfTestFile
from vouchd.instance.selftests.shares import Check
from vouchd.instance.selftests.start_proof import StartProof
from vouchd.service.indexing import Indexing
from vouchd.service.permission import Permission
from vouchd.service.selftests import SelfTest, SelfTestName, SelfTests, halting
from vouchd.settings.layout import Layout


def open_self_tests(
    layout: Layout,
    material: KeyMaterial,
    store: StatusStore,
    indexing: Indexing,
    permission: Permission,
    audit: AuditSink,
    clock: Clock,
    state: ServingState | None = None,
    proof: StartProof | None = None,
) -> SelfTests:
    """The service over the tests of the instance at `layout` with that material, whether it runs or not.

    `state` is what was published just now; without it, and where nothing was yet, the store's facts are prepared anew.
    `proof` takes what need not be made before the first answer; without it everything is made at once.
    After a run on demand a running instance is told, and waited for until its workers do what the results ask for.
    """
    records, wanted = SelfTestFile(layout.selftests), material.settings.selftests

    def changed() -> None:
        if look_now(layout):
            wait_until_heeded(layout, halted=bool(halting(records.latest())))

    return SelfTests(
        self_tests(layout, material, store, indexing, state, proof),
        wanted.startup,
        wanted.on_demand,
        records=records,
        permission=permission,
        audit=audit,
        clock=clock,
        changed=changed,
    )


def self_tests(
    layout: Layout,
    material: KeyMaterial,
    store: StatusStore,
    indexing: Indexing,
    state: ServingState | None = None,
    proof: StartProof | None = None,
) -> tuple[SelfTest, ...]:
    """All self tests of the instance at `layout`; they read, and write nothing but index files that are missing."""
    name, wanted = SelfTestName, material.settings.selftests
    return (
        SelfTest(name.PRESENCE, "Each signer has its key and its certificate.", lambda _: check_presence(material)),
        SelfTest(
            name.CERTIFICATES,
            "The system certificates are valid, fit their purpose, chain and key.",
            lambda at: check_certificates(material, store.authorities(), at, proof),
        ),
        SelfTest(
            name.VALIDITY,
            "Each CA has a valid signer that may answer for it.",
            lambda at: check_validity(material, store.authorities(), at),
        ),
        SelfTest(
            name.KEY_FILES,
            "Nobody else can read files with keys or passwords.",
            lambda _: check_key_files(layout, material),
        ),
        SelfTest(
            name.DISK,
            "The folders can be written and have room.",
            lambda _: check_disk(layout, wanted.min_free_bytes),
        ),
        SelfTest(
            name.CLOCK,
            "The clock is not behind what the store, CAs and clones have told.",
            lambda at: check_clock(store, wanted.tolerance_seconds, at),
        ),
        SelfTest(
            name.INDEX,
            "The index files are whole and say what the CRLs in the store say.",
            lambda _: check_index(store, indexing, layout.index),
        ),
        SelfTest(
            name.CANARY,
            "An answer for each CA passes a client's verification and is what the CRL says.",
            lambda at: _canary(layout, material, indexing, state, proof, at),
        ),
    )


def _canary(
    layout: Layout,
    material: KeyMaterial,
    indexing: Indexing,
    published: ServingState | None,
    proof: StartProof | None,
    at: int,
) -> str:
    state = published if published and published.version else open_state(indexing.prepare(), layout.index)
    if not state.authorities:
        return "no CA yet"
    signers, shared = started_signers(material.signers), not material.signers.on_tokens
    names, url = labels(one.authority for one in state.authorities), _running_url(layout)
    settings, default = material.settings.responder, material.signers.default
    at_once = proof.at_once if proof is not None else len(names)
    now, later = state.authorities[:at_once], state.authorities[at_once:]
    # Those that are left have a canary of their own: the first answer does not wait for what that works out.
    named = {one.authority.policy.signer for one in later} - {one.authority.policy.signer for one in now} - {default}
    first = {nickname: signer for nickname, signer in signers.items() if nickname not in named}
    canary = Canary(ServingState(state.version, now), first, default, settings, url)
    canary.prepare()
    check = canary.sing(at)
    checks: dict[str, Check] = {names[one.authority.id]: partial(check, one) for one in now}
    if proof is not None:
        check = Canary(state, signers, default, settings, url).sing(at)
        checks |= {names[one.authority.id]: partial(check, one) for one in later}
        cas = {name: each for each, name in names.items()}
        checks = proof.leave(SelfTestName.CANARY, checks, cas, shared=shared)
    return collect(checks, SigningError, shared=shared)


def labels(authorities: Iterable[Authority]) -> dict[str, str]:
    """What each CA is called, by id: its label, or where others have that too, the label and the start of its id."""
    every = tuple(authorities)
    shared = Counter(one.label for one in every)
    return {one.id: one.label if shared[one.label] == 1 else f"{one.label} ({one.id[:8]})" for one in every}


def _running_url(layout: Layout) -> str:
    """The URL of the instance's EE port while its workers answer."""
    now = status(layout)
    if now.report is None or not now.ready or now.report.halted:
        return ""
    return now.report.ee_url
