"""NIST's PKITS: its CRLs are taken or refused, and certificates have the status that the suite expects (see pkits.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from tests.manifests import write_manifest
from tests.memory_store import MemoryStore
from tests.service.recording import AGENT, PUBLISHER, RecordingAudit
from tests.vectors.pkits import AT, CASES, GOOD, NOT_TAKEN, PKITS, TRY_LATER, UNREADABLE_CERTIFICATES, Case

from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.core.key_history import with_certificate
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import Decision, decide
from vouchd.errors import ConfigError, CRLRejected, CRLStale, TryLater
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import load_manifest
from vouchd.pkix import certs
from vouchd.pkix.crl import read_header
from vouchd.pkix.reasons import Reason
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


def certificate(name: str) -> x509.Certificate:
    """A certificate of the suite."""
    return x509.load_der_x509_certificate((PKITS / "certs" / f"{name}.crt").read_bytes())


def crl(name: str) -> bytes:
    """A CRL of the suite."""
    return (PKITS / "crls" / f"{name}.crl").read_bytes()


class Registered:
    """One CA of the suite with what becomes of its CRLs, in memory but for the index files."""

    def __init__(self, folder: Path, ca: str, policy: AuthorityPolicy, history: tuple[str, ...] = ()) -> None:
        self.folder, self.store, self.audit = folder, MemoryStore(), RecordingAudit()
        self.ca = certificate(ca)
        first, *others = ((PKITS / "certs" / f"{name}.crt").read_bytes() for name in (ca, *history))
        self.authority = with_certificate(Authority(certs.authority_id(self.ca), first, ca, policy), *others)
        self.store.put_authority(self.authority)
        indexing = Indexing(self.store, IndexFolder(folder))
        self.ingesting = Ingesting(self.store, indexing, Permission(self.audit), self.audit)

    def accept(self, name: str) -> None:
        """Take one CRL."""
        self.ingesting.accept_crl(crl(name), "PKITS", PUBLISHER, AT)

    def decision(self, name: str) -> Decision:
        """What is said of a certificate."""
        write_manifest(self.folder, 1, self.store.authorities(), self.store.epochs())
        return decide(
            load_manifest(self.folder).authorities[0], certs.serial_octets(certificate(name)), ResponsePolicy(), AT
        )

    def status(self, name: str) -> str:
        """Its status, or tryLater."""
        try:
            return self.decision(name).status.value
        except TryLater:
            return TRY_LATER


def registered(folder: Path, case: Case) -> Registered:
    """The CA of the case, with what the operator has set for it; no CRL yet."""
    scopes = tuple(read_header(crl(name)).scope.scope_id for name in case.crls) if case.covering else ()
    issuers = tuple((PKITS / "certs" / f"{name}.crt").read_bytes() for name in case.crl_issuers)
    return Registered(folder, case.ca, AuthorityPolicy(crl_issuers=issuers, expected_scopes=scopes), case.history)


def fed(folder: Path, case: Case) -> Registered:
    """The same after all CRLs have arrived."""
    made = registered(folder, case)
    for name, error in case.crls.items():
        if error is None:
            made.accept(name)
        else:
            with pytest.raises(error):
                made.accept(name)
    return made


@pytest.mark.parametrize("title", CASES)
def test_certificate_has_the_expected_status(tmp_path: Path, title: str) -> None:
    """Each CRL is taken or refused as expected, and each certificate has the expected status afterwards."""
    case = CASES[title]
    made = fed(tmp_path, case)
    assert {name: made.status(name) for name in case.statuses} == case.statuses


@pytest.mark.parametrize("title", [title for title, case in CASES.items() if case.reasons])
def test_revoked_certificate_has_the_expected_reason(tmp_path: Path, title: str) -> None:
    """The reason is the one of the newest entry."""
    made = fed(tmp_path, CASES[title])
    reasons: dict[str, Reason] = {}
    for name in CASES[title].reasons:
        entry = made.decision(name).entry
        assert entry is not None
        reasons[name] = entry.reason
    assert reasons == CASES[title].reasons


@pytest.mark.parametrize("title", CASES)
def test_invalid_certificate_is_never_good(tmp_path: Path, title: str) -> None:
    """Without the operator's declaration nothing that the suite calls invalid is `good`."""
    case = replace(CASES[title], covering=False)
    made = fed(tmp_path, case)
    assert not [name for name in case.statuses if name.startswith("Invalid") and made.status(name) == GOOD]


@pytest.mark.parametrize("title", [title for title, case in CASES.items() if None in case.crls.values()])
def test_crl_sent_again_is_stale(tmp_path: Path, title: str) -> None:
    """A CRL that is held already is refused as such and changes nothing."""
    made = fed(tmp_path, CASES[title])
    before = made.store.epochs()
    for name, error in CASES[title].crls.items():
        if error is None:
            with pytest.raises(CRLStale):
                made.accept(name)
    assert made.store.epochs() == before


def other_crls() -> list[str]:
    """The CRLs of tests about something else, whose CA is in the suite under the same name."""
    tested = {name for case in CASES.values() for name in case.crls} | NOT_TAKEN.keys()
    return sorted(
        path.stem
        for path in (PKITS / "crls").glob("*.crl")
        if path.stem not in tested
        and f"{path.stem.removesuffix('CRL')}Cert" not in UNREADABLE_CERTIFICATES
        and (PKITS / "certs" / f"{path.stem.removesuffix('CRL')}Cert.crt").exists()
    )


@pytest.mark.parametrize("name", other_crls())
def test_crl_of_other_test_is_taken(tmp_path: Path, name: str) -> None:
    """A CRL with nothing special about it is taken for its CA."""
    made = Registered(tmp_path, f"{name.removesuffix('CRL')}Cert", AuthorityPolicy())
    made.accept(name)
    assert len(made.store.epochs()) == 1


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_crl_that_is_not_supported_is_refused(tmp_path: Path, name: str) -> None:
    """What cannot be verified is refused with a reason, and nothing is stored."""
    made = Registered(tmp_path, NOT_TAKEN[name], AuthorityPolicy())
    with pytest.raises(CRLRejected) as refused:
        made.accept(name)
    assert refused.value.hint
    assert not made.store.epochs()


@pytest.mark.parametrize("name", sorted(UNREADABLE_CERTIFICATES))
def test_certificate_without_key_parameters_is_refused(name: str) -> None:
    """A CA whose key cannot be read cannot be registered, and the operator is told."""
    audit = RecordingAudit()
    authorities = Authorities(MemoryStore(), Permission(audit), audit)
    with pytest.raises(ConfigError):
        authorities.add((PKITS / "certs" / f"{name}.crt").read_bytes(), AGENT)
