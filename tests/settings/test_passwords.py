"""password.conf: names and passwords, for the owner only, never quoted in a message."""

from __future__ import annotations

import pytest

from vouchd.errors import AlreadyExists, ConfigError, SigningError
from vouchd.settings.passwords import new_password, read_passwords, write_passwords


def write(path, text, mode=0o600):
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_passwords_written_are_read_back(tmp_path):
    """What is written comes back; a password may hold = and blanks."""
    passwords = {"internal": new_password(), "source.root": " a=b #c "}
    write_passwords(tmp_path / "p", passwords)
    assert read_passwords(tmp_path / "p") == passwords
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o600


def test_passwords_file_is_never_replaced(tmp_path):
    """The passwords of keys are not overwritten."""
    write_passwords(tmp_path / "p", {"internal": "a"})
    with pytest.raises(AlreadyExists):
        write_passwords(tmp_path / "p", {"internal": "b"})


def test_passwords_missing_file_is_empty(tmp_path):
    """Without a file there are no passwords."""
    assert read_passwords(tmp_path / "p") == {}


def test_passwords_comments_blank_lines_and_windows_ends_are_understood(tmp_path):
    """The file is written by hand as well."""
    assert read_passwords(write(tmp_path / "p", "# x\n\ninternal=a\r\n")) == {"internal": "a"}


@pytest.mark.parametrize("text, line", [("internal=a\nsecret-word", 2), ("=secret-word", 1), ("a=1\na=secret-word", 2)])
def test_passwords_malformed_line_is_named_but_not_quoted(tmp_path, text, line):
    """A wrong line is told by its number: it may be a password."""
    with pytest.raises(ConfigError, match=f":{line}: ") as caught:
        read_passwords(write(tmp_path / "p", text))
    assert "secret-word" not in str(caught.value) + caught.value.hint


def test_passwords_that_others_may_read_are_refused(tmp_path):
    """A readable password file is refused with the remedy."""
    with pytest.raises(SigningError, match="others may read it"):
        read_passwords(write(tmp_path / "p", "internal=a", 0o640))


def test_new_passwords_differ():
    """No two instances share a password."""
    assert new_password() != new_password()
