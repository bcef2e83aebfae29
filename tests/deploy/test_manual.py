"""Manual pages and completions: made from the commands, read by the programs that they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vouchd.cli.completions import SHELLS, bash
from vouchd.cli.manual import pages
from vouchd.cli.reference import commands
from vouchd.settings.declared import KNOWN


@pytest.fixture(scope="module")
def manual(tmp_path_factory) -> Path:
    """The folder that the pages are written to, as a package does."""
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, "-m", "vouchd.cli.manual", folder], check=True)
    return folder


@pytest.mark.process
def test_manual_is_read_without_a_complaint(manual):
    """mandoc finds nothing wrong with any page."""
    files = sorted(manual.rglob("*.[15]"))
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "error", *files], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.process
def test_each_command_and_each_setting_has_its_place_in_the_manual(manual):
    """A page a command, with its options, and one page with every key of CS.cfg."""
    assert len(list(manual.rglob("*.1"))) == len(list(commands())) + 1
    shown = _shown(manual / "man1" / "vouchd-crl-add.1")
    assert "vouchd-crl-add" in shown
    assert "--no-wait" in shown
    settings = _shown(manual / "man5" / "vouchd-CS.cfg.5")
    assert all(known.name in settings for known in KNOWN if not known.inert)


def _shown(page: Path) -> str:
    done = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=200", page], capture_output=True, text=True, check=True)
    return subprocess.run(["col", "-bx"], input=done.stdout, capture_output=True, text=True, check=True).stdout


def test_pages_are_the_same_each_time():
    """A package that is built twice is the same octets."""
    assert list(pages()) == list(pages())


def completed(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    typed = " ".join(f"'{word}'" for word in words)
    script = f'{bash()}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _vouchd; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("vouchd", "cr"), {"create", "crl"}),
        (("vouchd", "crl", "quarantine", ""), {"list", "release", "drop"}),
        (("vouchd", "crl", "add", "--no-w"), {"--no-wait"}),
        (("vouchd", "backup", "--al"), {"--all"}),
    ],
)
def test_bash_offers_what_may_follow(words, offered):
    """Verbs after their group, options after a command."""
    assert offered <= set(completed(*words))


@pytest.mark.process
def test_bash_offers_files_for_an_option_that_takes_one(tmp_path, monkeypatch):
    """After --out or an argument: the names of files."""
    (tmp_path / "first.crl").touch()
    monkeypatch.chdir(tmp_path)
    assert completed("vouchd", "backup", "--out", "fir") == ["first.crl"]
    assert completed("vouchd", "crl", "add", "fir") == ["first.crl"]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_names_every_command(shell):
    """Of each shell's script."""
    text = SHELLS[shell]()
    assert all(path.split()[-1] in text for path, _ in commands())
