"""CS.cfg changed through the service: what is hidden, recorded, refused."""

from __future__ import annotations

import pytest
from tests.memory_store import MemoryStore
from tests.pki import CA, DAY, NOW
from tests.service.recording import ADMIN, AUDITOR, RecordingAudit

from vouchd.errors import ConfigError, PermissionDenied, StoreConflict
from vouchd.instance.configuration import Configuration
from vouchd.instance.creation import NewSigner, create_instance
from vouchd.service.permission import Permission


class Today:
    """A clock that stands."""

    def now(self) -> int:
        return NOW


class Case:
    """A new instance and the service over its CS.cfg."""

    def __init__(self, folder) -> None:
        signer = CA.create().issue_signer(not_before=NOW - DAY, not_after=NOW + DAY)
        self.layout = create_instance(folder, NewSigner(signer.key, "SHA256withEC", signer.certificate), {})
        self.audit = RecordingAudit()
        self.service = Configuration(self.layout, MemoryStore(), Permission(self.audit), self.audit, Today())

    @property
    def text(self) -> str:
        return self.layout.cs_cfg.read_text()


@pytest.fixture
def case(tmp_path) -> Case:
    return Case(tmp_path / "vouchd")


def test_change_keeps_the_other_lines(case):
    """Only the lines that are changed differ, and the default holds again for one that is taken out."""
    before = case.text
    case.service.change({"vouchd.request.maxCertIDs": "9"}, ADMIN)
    assert case.text.splitlines() == [*before.splitlines(), "vouchd.request.maxCertIDs=9"]
    case.service.change({"vouchd.request.maxCertIDs": None}, ADMIN)
    assert case.text == before


def test_change_is_recorded_with_what_it_changed(case):
    """The record names keys and values; settings of the audit log have an event of their own."""
    case.service.change({"vouchd.request.maxCertIDs": "9"}, ADMIN)
    case.service.change({"vouchd.audit.answers": "all"}, ADMIN)
    done = [(event, detail["changes"]) for event, _, _, detail in case.audit.records if event.startswith("CONFIG")]
    assert done == [
        ("CONFIG_OCSP_PROFILE", "vouchd.request.maxCertIDs=9"),
        ("CONFIG_SIGNED_AUDIT", "vouchd.audit.answers=all"),
    ]


def test_secret_is_hidden_in_view_and_difference(case):
    """A password that somebody left in CS.cfg is shown to nobody."""
    done = case.service.change({"internaldb.ldapauth.password": "Secret.123"}, ADMIN)
    view = case.service.read(ADMIN)
    assert "Secret.123" in case.text
    assert "Secret.123" not in repr(done) + repr(view) + repr(case.audit.records)


@pytest.mark.parametrize(
    "changes",
    [
        {"vouchd.ee.port": "1\nvouchd.ee.host=x"},
        {"# vouchd.ee.port": "1"},
        {"vouchd.ee.port=1 ": "1"},
        {"vouchd.ee.port": "many"},
        {"vouchd.ee.prt": "1"},
        {"vouchd.request.nonce": None},
        {"vouchd.signer.ocsp.key": "alias/none.key", "ocsp.signing.certnickname": "nobody"},
        {"": "1"},
    ],
)
def test_change_that_makes_no_sense_is_refused(case, changes):
    """Nothing is written when any part of a change is wrong, and no line can be smuggled in."""
    before = case.text
    with pytest.raises(ConfigError):
        case.service.change(changes, ADMIN)
    assert case.text == before


def test_change_on_another_revision_is_refused(case):
    """Two who change at once do not undo each other's work."""
    read = case.service.read(ADMIN).revision
    case.service.change({"vouchd.request.maxCertIDs": "9"}, ADMIN, expected=read)
    with pytest.raises(StoreConflict):
        case.service.change({"vouchd.request.maxCertIDs": "8"}, ADMIN, expected=read)


def test_dry_run_writes_nothing_and_needs_no_more_than_reading(case):
    """An Auditor may see what a change would do, but not make it."""
    before = case.text
    done = case.service.change({"vouchd.request.maxCertIDs": "9"}, AUDITOR, dry_run=True)
    assert "+vouchd.request.maxCertIDs=9" in done.diff
    assert (done.applied, case.text) == (False, before)
    with pytest.raises(PermissionDenied):
        case.service.change({"vouchd.request.maxCertIDs": "9"}, AUDITOR)
