"""Owner, mode and SELinux context of a key file that was carried here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vouchd.errors import SigningError
from vouchd.signing import key_files
from vouchd.signing.key_files import check_context, check_key_file, context_of, context_remedy

GOOD = "system_u:object_r:pki_tomcat_etc_rw_t:s0"
COPIED = "unconfined_u:object_r:user_home_t:s0"
ELSEWHERE = Path("/x/keys.p12")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.p12"
    path.write_bytes(b"x")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_key_file_that_others_may_use_is_refused(file, mode):
    """The mode that the Certificate System's guide sets is refused with the command that mends it."""
    file.chmod(mode)
    with pytest.raises(SigningError, match=f"mode {mode:04o}") as caught:
        check_key_file(file)
    assert caught.value.hint == f"chmod 600 {file}"


def test_key_file_of_our_own_is_taken(file):
    """0600 and ours: nothing to say."""
    assert check_key_file(file) is None


def test_key_file_of_another_user_is_refused(file):
    """Whoever owns the file can change it; the hint is the `chown` line."""
    mine = os.geteuid()
    with pytest.raises(SigningError, match="belongs to") as caught:
        check_key_file(file, user=mine + 1)
    assert caught.value.hint == f"chown {mine + 1} {file}"


def test_key_file_that_is_not_there_is_told(tmp_path):
    """A wrong name is told as such."""
    with pytest.raises(SigningError, match="cannot be read"):
        check_key_file(tmp_path / "none")


@pytest.mark.parametrize(
    ("context", "neighbours", "remedy"),
    [
        (COPIED, [GOOD, GOOD, COPIED], "chcon -t pki_tomcat_etc_rw_t /x/keys.p12"),
        ("", [GOOD], "chcon -t pki_tomcat_etc_rw_t /x/keys.p12"),
        (GOOD, [GOOD, COPIED, GOOD], ""),
        ("staff_u:object_r:pki_tomcat_etc_rw_t:s0:c1", [GOOD], ""),
        (COPIED, [], ""),
        (COPIED, ["", "?"], ""),
    ],
)
def test_context_remedy_is_the_type_of_most_neighbours(context, neighbours, remedy):
    """Only a differing type is mended, and only where the neighbours have one."""
    assert context_remedy(ELSEWHERE, context, {Path(f"/x/{n}"): one for n, one in enumerate(neighbours)}) == remedy


def test_check_context_says_nothing_where_selinux_is_off(file, monkeypatch, tmp_path):
    """A label left over from another day is no reason to complain."""
    monkeypatch.setattr(key_files, "_SELINUX", tmp_path / "none")
    monkeypatch.setattr(key_files, "context_of", lambda _path: pytest.fail("looked at"))
    assert check_context(file) is None


def test_check_context_refuses_where_selinux_is_on(file, monkeypatch, tmp_path):
    """A copied file that kept its home's type is refused with the line to run."""
    (tmp_path / "other").write_bytes(b"")
    monkeypatch.setattr(key_files, "_SELINUX", tmp_path)
    monkeypatch.setattr(key_files, "context_of", lambda path: COPIED if path == file else GOOD)
    with pytest.raises(SigningError, match="SELinux") as caught:
        check_context(file)
    assert caught.value.hint == f"chcon -t pki_tomcat_etc_rw_t {file}"


def test_context_of_a_file_without_label_is_empty(tmp_path):
    """A file system or a kernel without labels is no error."""
    assert context_of(tmp_path / "none") == ""
