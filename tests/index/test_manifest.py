"""The serving manifest: what was written is what is served, and nothing half."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest
from tests.contract.backends import SECOND, a_record, an_authority, an_epoch

from vouchd.core import issued
from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy
from vouchd.errors import IndexFileError, StoreUnavailable
from vouchd.index.format import write_index, write_serials
from vouchd.index.manifest import MANIFEST, load_manifest, write_manifest
from vouchd.index.octets import AnsweringOctets
from vouchd.index.serving import OpenIndexes
from vouchd.pkix.reasons import RevocationEntry

CA = an_authority("a", policy=AuthorityPolicy(expired_crl=ExpiredCRLPolicy.SERVE, issued_serials="ab" * 32))
OTHER = an_authority("b")
IDP = bytes.fromhex("30038101ff")  # onlyContainsUserCerts
FIRST = an_epoch(CA)
USERS = an_epoch(CA, base=a_record(SECOND), scope_id="cd" * 32, idp_der=IDP)


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of one CA that has two issuing points and a list of issued serials."""
    write_index(tmp_path / FIRST.index_name, [RevocationEntry(b"\x05", 1000)])
    write_index(tmp_path / USERS.index_name, [RevocationEntry(b"\x06", 1000)])
    write_serials(tmp_path / issued.index_name("ab" * 32), [b"\x05", b"\x07"])
    return tmp_path


def test_load_manifest_gives_what_was_written(folder):
    """Authorities with policy, epochs with index and scope, issued serials and the version come back."""
    write_manifest(folder, 7, (CA, OTHER), (FIRST, USERS))
    state = load_manifest(folder)
    first, second = state.authorities
    assert state.version == 7
    assert (first.authority, second.authority, second.points, second.issued) == (CA, OTHER, (), None)
    assert [point.epoch for point in first.points] == [FIRST, USERS]
    assert [point.scope.only_user for point in first.points] == [False, True]
    assert first.points[0].index.find(b"\x05") == RevocationEntry(b"\x05", 1000)
    assert first.points[1].index.find(b"\x05") is None
    assert b"\x07" in first.issued
    assert b"\x06" not in first.issued


def test_load_manifest_after_rewriting_gives_the_new_one_and_the_old_state_stays(folder):
    """A worker that has loaded goes on with its state until it loads again."""
    write_manifest(folder, 1, (CA,), (FIRST,))
    old = load_manifest(folder, OpenIndexes(folder, AnsweringOctets()))
    (folder / FIRST.index_name).unlink()
    write_manifest(folder, 2, (OTHER,), ())
    assert [each.authority for each in load_manifest(folder).authorities] == [OTHER]
    assert old.authorities[0].points[0].index.find(b"\x05") is not None


def test_load_manifest_first_start_is_an_index_file_error_with_hint(tmp_path):
    """Before the first manifest there is nothing to serve, said as such."""
    with pytest.raises(IndexFileError) as caught:
        load_manifest(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2, "version": 1, "authorities": [], "epochs": []}', "\x00" * 40]
)
def test_load_manifest_damaged_or_of_another_format_refused(tmp_path, text):
    """A manifest that cannot be read is never half understood."""
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(IndexFileError):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", [FIRST.index_name, issued.index_name("ab" * 32)])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_load_manifest_file_it_names_missing_or_damaged_refused(folder, name, damage):
    """A manifest without all its files is not served in part."""
    write_manifest(folder, 1, (CA,), (FIRST, USERS))
    (folder / name).unlink()
    if damage == "damaged":
        (folder / name).write_bytes(b"damaged")
    with pytest.raises(IndexFileError):
        load_manifest(folder)


def test_load_manifest_damaged_scope_refused(folder):
    """An epoch whose scope cannot be read is an error of the manifest, not of a CRL."""
    broken = replace(USERS, idp_der=b"\x30\x05")
    write_manifest(folder, 1, (CA,), (broken,))
    with pytest.raises(IndexFileError):
        load_manifest(folder)


def test_write_manifest_leaves_one_private_file(tmp_path):
    """The file has mode 0600 and nothing is left beside it."""
    path = write_manifest(tmp_path, 1, (OTHER,), ())
    assert [file.name for file in tmp_path.iterdir()] == [MANIFEST]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_write_manifest_folder_missing_unavailable(tmp_path):
    """A folder that cannot be written is StoreUnavailable."""
    with pytest.raises(StoreUnavailable):
        write_manifest(tmp_path / "nowhere", 1, (), ())


def test_loaded_state_names_what_changed_since_the_one_before(folder):
    """Who has prepared something for the other CAs may keep it; of any other state than the one before nothing is said."""
    files = OpenIndexes(folder, AnsweringOctets())
    write_manifest(folder, 7, (CA, OTHER), (FIRST, USERS))
    assert load_manifest(folder, files).changed_since(0) == {CA.id, OTHER.id}
    write_manifest(folder, 8, (CA, OTHER), (FIRST,))
    assert load_manifest(folder, files).changed_since(7) == {CA.id}
    write_manifest(folder, 9, (CA,), (FIRST,), behind=[CA.id])
    state = load_manifest(folder, files)
    assert state.changed_since(8) == {CA.id, OTHER.id}
    assert state.changed_since(7) is None
