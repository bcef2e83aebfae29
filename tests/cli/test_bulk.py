"""`vouchd authority add --from DIR` and `vouchd crl add DIR`: many files at one go, each for itself."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests import pki

from vouchd.cli import bulk
from vouchd.settings.layout import Layout
from vouchd.wiring.services import services

COUNT = 7


@pytest.fixture
def folders(instance) -> tuple[Path, Path]:
    """Certificates and CRLs of COUNT CAs whose signer is the instance's: of one key, under names of their own."""
    cas, crls = instance.folder / "cas", instance.folder / "crls"
    cas.mkdir()
    crls.mkdir()
    now = int(time.time())
    for number in range(COUNT):
        ca = pki.CA.create(f"Bulk {number}", not_before=now - pki.DAY, not_after=now + pki.DAY)
        (cas / f"{number}.pem").write_bytes(ca.pem)
        (crls / f"{number}.crl").write_bytes(ca.crl(this_update=now - pki.HOUR, next_update=now + pki.DAY))
    return cas, crls


@pytest.fixture
def any_signer(monkeypatch) -> None:
    """Any signer may answer for any CA: what they are is no matter here."""
    monkeypatch.setattr("vouchd.wiring.services.signer_doubts", lambda *_: ())


def revision(instance) -> int:
    with services(Layout(instance.folder / "vouchd")) as opened:
        return opened.store.revision()


def load(run, *words: object) -> tuple[int, dict[str, int], str]:
    code, out, err = run(*words, "--json")
    return code, json.loads(out), err


@pytest.mark.usefixtures("any_signer")
def test_folders_are_loaded_with_one_change_a_batch_and_again_with_none(instance, folders, run):
    """All CAs and CRLs of a folder come in with one change of the store each; what is there already changes nothing."""
    cas, crls = folders
    before = revision(instance)
    assert load(run, "authority", "add", "--from", cas)[:2] == (
        0,
        {"files": COUNT, "new": COUNT, "unchanged": 0, "failed": 0},
    )
    assert revision(instance) == before + 1
    assert load(run, "crl", "add", crls)[:2] == (0, {"files": COUNT, "new": COUNT, "unchanged": 0, "failed": 0})
    assert revision(instance) == before + 2
    for words in (("authority", "add", "--from", cas), ("crl", "add", crls)):
        assert load(run, *words)[:2] == (0, {"files": COUNT, "new": 0, "unchanged": COUNT, "failed": 0})
    assert revision(instance) == before + 2


@pytest.mark.usefixtures("any_signer")
def test_bad_files_are_named_and_cost_themselves_alone(instance, folders, run):
    """A file that is no certificate or CRL, or a CRL of a stranger, is told by its name; the exit code says so."""
    cas, crls = folders
    (cas / "bad.pem").write_text("no certificate")
    (cas / "leaf.pem").write_bytes(pki.CA.create("X").issue("leaf").pem)
    code, tally, err = load(run, "authority", "add", "--from", cas)
    assert (code, tally) == (78, {"files": COUNT + 2, "new": COUNT, "unchanged": 0, "failed": 2})
    assert "bad.pem: " in err
    assert "leaf.pem: " in err
    (crls / "bad.crl").write_bytes(b"\x30\x03abc")
    (crls / "stranger.crl").write_bytes(pki.CA.create("Stranger").crl())
    code, tally, err = load(run, "crl", "add", crls)
    assert (code, tally) == (65, {"files": COUNT + 2, "new": COUNT, "unchanged": 0, "failed": 2})
    assert "bad.crl: " in err
    assert "stranger.crl: " in err


@pytest.mark.usefixtures("any_signer")
def test_two_crls_of_one_ca_in_a_folder_are_both_taken(instance, folders, run):
    """A CRL and the one after it, in one batch, are taken in their order."""
    cas, crls = folders
    assert load(run, "authority", "add", "--from", cas)[0] == 0
    now = int(time.time())
    ca = pki.CA.create("Bulk 0", not_before=now - pki.DAY, not_after=now + pki.DAY)
    (crls / "0a.crl").write_bytes(ca.crl(this_update=now - 60, next_update=now + pki.DAY, number=9))
    assert load(run, "crl", "add", crls)[1] == {"files": COUNT + 1, "new": COUNT + 1, "unchanged": 0, "failed": 0}


@pytest.mark.usefixtures("any_signer")
def test_batches_that_are_cut_short_go_on_where_they_ended(instance, folders, run, monkeypatch):
    """Loading in small batches, a first part before the rest, ends with all of it."""
    monkeypatch.setattr(bulk, "BATCH", 2)
    cas, _ = folders
    rest = [path.rename(instance.folder / path.name) for path in sorted(cas.iterdir())[3:]]
    assert load(run, "authority", "add", "--from", cas)[1]["new"] == 3
    for path in rest:
        path.rename(cas / path.name)
    code, tally, err = load(run, "authority", "add", "--from", cas)
    assert (code, tally) == (0, {"files": COUNT, "new": COUNT - 3, "unchanged": 3, "failed": 0})
    assert f"{COUNT} CAs" in err


def test_folder_without_files_and_both_ways_at_once_are_refused(instance, run):
    """An empty folder, and files beside a folder, are refused with what to do."""
    (instance.folder / "empty").mkdir()
    for words in (
        ("authority", "add", "--from", instance.folder / "empty"),
        ("authority", "add", "x.pem", "--from", instance.folder),
        ("authority", "add"),
        ("crl", "add", instance.folder / "empty"),
    ):
        assert run(*words)[0] == 78
