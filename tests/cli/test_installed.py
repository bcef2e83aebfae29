"""The installed command itself, started as a shell starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands import run_vouchd, words

from vouchd.cli.main import _GROUPS, _VERBS

pytestmark = pytest.mark.process
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("verb", [*_VERBS, *_GROUPS])
def test_verb_of_the_installed_command_loads_by_itself(verb):
    """With nothing loaded before, each verb finds all it imports: it says what it is for, and nothing on stderr."""
    done = subprocess.run([BIN / "vouchd", verb, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: vouchd {verb} " in done.stdout


@pytest.mark.parametrize("program", ["OCSPClient", "PKCS12Export"])
def test_compatible_command_is_installed(program):
    """The commands that scripts of the Certificate System call are there under their names."""
    done = subprocess.run([BIN / program, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: {program} " in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--version",), ("status",), ("crl", "add"), ("ca", "list", "--instance", "nowhere")], ids=" ".join
)
def test_forked_command_is_as_the_installed_one(tmp_path, arguments):
    """What tests fork in place of a start has the same output, errors and exit code."""
    cold = subprocess.run(words(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
    forked = run_vouchd(*arguments, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (cold.returncode, cold.stdout, cold.stderr)
