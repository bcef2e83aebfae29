"""The self tests of an instance: what each looks at, put together for `service.selftests`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from vouchd.core.facts import Authority
from vouchd.core.policy import ResponsePolicy
from vouchd.core.ports import AuditSink, Clock, StatusStore
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import SigningError
from vouchd.index.serving import open_state
from vouchd.instance.certificates.signers import (
    Judgement,
    KeyMaterial,
    LoadedSigners,
    judgement,
    learn,
    started_signers,
)
from vouchd.instance.lifecycle import look_now, status, wait_until_heeded
from vouchd.instance.selftests.canary import Canary
from vouchd.instance.selftests.host import check_clock, check_disk, check_index
from vouchd.instance.selftests.keys import check_certificates, check_key_files, check_presence, check_validity, collect
from vouchd.instance.selftests.results import SelfTestFile
from vouchd.instance.selftests.shares import Check
from vouchd.instance.selftests.start_proof import LOT, StartProof
from vouchd.instance.selftests.surroundings import Surroundings
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
    surroundings = Surroundings(state, signers, material.signers.certificates, default)
    at_once = proof.at_once if proof is not None else len(names)
    now, later = state.authorities[:at_once], state.authorities[at_once:]
    canary = Canary(*surroundings.of(now), default, settings, url)
    canary.prepare()
    check = canary.sing(at)
    checks: dict[str, Check] = {names[one.authority.id]: partial(check, one) for one in now}
    if proof is not None:
        for first in range(0, len(later), LOT):
            lot = _Lot(surroundings, later[first : first + LOT], default, settings, url, at, proof.proven)
            checks |= {names[one.authority.id]: partial(lot.check, one) for one in lot.cas}
        cas = {name: each for each, name in names.items()}
        checks = proof.leave(SelfTestName.CANARY, checks, cas, shared=shared, judge=_Judge(material.signers, state, at))
    return collect(checks, SigningError, shared=shared)


@dataclass
class _Lot:
    """CAs whose checks one process makes together, with a canary of their own that it makes with the first of them."""

    surroundings: Surroundings
    cas: Sequence[ServingAuthority]
    default_signer: str
    policy: ResponsePolicy
    url: str
    at: int
    proven: set[str]

    @cached_property
    def _check(self) -> Callable[[ServingAuthority], str]:
        state, signers = self.surroundings.of(self.cas)
        return Canary(state, signers, self.default_signer, self.policy, self.url, self.proven).sing(self.at)

    def check(self, serving: ServingAuthority) -> str:
        """What its canary finds of a CA. Raises: SigningError."""
        return self._check(serving)


@dataclass(frozen=True)
class _Judge:
    """Judges the signers of the CAs that were published at a start, at POSIX time `at`."""

    signers: LoadedSigners
    state: ServingState
    at: int

    def signer(self, authority_id: str) -> str:
        """The nickname of a CA's signer."""
        return self.state.by_id[authority_id].authority.policy.signer or self.signers.default

    def judgement(self, authority_id: str) -> Judgement | None:
        """What is found out of it here."""
        return judgement(self.signers, self.state.by_id[authority_id].authority, self.at)

    def learn(self, authority_id: str, judged: Judgement) -> None:
        """Go by what another process has found out of it."""
        learn(self.signers, self.state.by_id[authority_id].authority, judged)


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
