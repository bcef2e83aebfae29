"""What the processes of an instance share about the signers that they have loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from vouchd.errors import ConfigError
from vouchd.instance.signing_sets import NamedSigners, SigningWord, read_sets, write_sets
from vouchd.settings.layout import Layout
from vouchd.settings.signing_keys import SignerSettings

ONE = SignerSettings("one", Path("/a/one.key"), Path("/a/one.pem"), Path("/a/chain.pem"), "SHA256withRSA")
TWO = SignerSettings("two", Path("/a/two.key"), Path("/a/two.pem"), None, "")


@pytest.fixture
def layout(tmp_path) -> Layout:
    layout = Layout(tmp_path)
    layout.run.mkdir()
    return layout


def test_sets_come_back_as_written(layout):
    """A worker reads what the manager process has written, and nothing is lost."""
    sets = {4: NamedSigners((ONE,), "one"), 5: NamedSigners((ONE, TWO), "one")}
    write_sets(layout, sets)
    assert read_sets(layout) == sets
    assert layout.signing_sets.stat().st_mode & 0o077 == 0


def test_sets_that_are_damaged_are_an_error_of_ours(layout):
    """A worker without the file does not guess what signs."""
    layout.signing_sets.write_text('{"4": {"signers": [{}]}}')
    with pytest.raises(ConfigError):
        read_sets(layout)


def test_word_is_seen_by_who_has_mapped_it_before(layout):
    """What the manager says is there for a process that opened the file earlier, and stays for the next one."""
    word = SigningWord(layout.signing_word, writable=True)
    view = SigningWord(layout.signing_word).view
    word.say(7)
    assert view[0] == 7
    assert SigningWord(layout.signing_word, writable=True).number == 7


def test_sets_of_ten_thousand_signers_come_back(layout):
    """A member with a signer for each of ten thousand CAs starts: no bound of a small file is in its way."""
    many = tuple(SignerSettings(f"s{n}", Path(f"/a/s{n}.key"), Path(f"/a/s{n}.pem"), None, "") for n in range(10_000))
    write_sets(layout, {0: NamedSigners(many, "s0")})
    assert read_sets(layout)[0].signers == many
