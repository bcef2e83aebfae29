"""The command as a whole: help, wrong command lines, bugs and interruptions."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands import words
from typer.testing import CliRunner

from vouchd import __version__
from vouchd.cli import main as command
from vouchd.cli import output
from vouchd.cli.main import command_line, main
from vouchd.cli.reference import commands, reference
from vouchd.hardening import PROGRAM
from vouchd.instance.lifecycle import manager_command
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

PAGE = Path(__file__).parents[2] / "docs" / "use" / "commands.md"
COMMANDS = dict(commands())


def test_version_is_the_package_s(capsys):
    """`--version` says which release this is."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vouchd {__version__}\n"


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_version_and_help_load_no_verb(word):
    """Who asks for the release or the list of verbs does not wait for what the verbs need."""
    listed = f"import sys; from vouchd.cli.main import main; main(['{word}']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    unwanted = ("vouchd.wiring", "vouchd.api", "vouchd.cloning", "msgspec")
    assert not {name for name in loaded if name.startswith(unwanted)}


def test_instance_that_starts_reads_no_options(tmp_path):
    """The words by which it starts and restarts itself load nothing that would only lie in its memory, and fail alike."""
    command = manager_command(Layout(tmp_path / "nowhere"))
    listed = f"import sys; from vouchd.cli.main import main; print(main({command[len(PROGRAM) + 1 :]}), 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    other = subprocess.run([*command, "--"], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(other.returncode), "False"]
    assert done.stderr == other.stderr


def test_list_of_verbs_says_of_each_what_it_says_of_itself():
    """The list that loads no verb is the one that all verbs together make."""
    quick = CliRunner().invoke(command_line("--help"), ["--help"]).output
    assert quick == CliRunner().invoke(command_line(), ["--help"]).output


def test_commands_page_is_made_from_the_commands():
    """docs/use/commands.md tells every command with its options as the program itself does."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_host_is_a_name_and_listen_an_address_in_every_command():
    """An option means one thing everywhere: `--host` how others reach a host, `--listen` where its ports are."""
    named = {
        (option, parameter.metavar)
        for _, command in commands()
        for parameter in command.params
        for option in {"--host", "--listen"}.intersection(parameter.opts)
    }
    assert named == {("--host", "NAME"), ("--listen", "ADDRESS")}


@pytest.mark.parametrize("path", COMMANDS)
def test_command_help_has_an_example_that_names_the_command(path):
    """Each verb's help ends with an example of that verb."""
    help_text = COMMANDS[path].help
    assert f"Example: {path}" in help_text


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nonsense"], "nonsense"),
        (["create", "--prot", "1"], "--prot"),
        (["create", "--port", "many"], "--port"),
        (["crl", "add"], "FILE"),
    ],
)
def test_main_wrong_command_line_is_told_with_the_help_to_read(capsys, arguments, words):
    """A wrong command line is exit code 2 and two lines on stderr."""
    assert main(arguments) == command.USAGE_ERROR
    captured = capsys.readouterr()
    assert captured.out == ""
    said, hint = captured.err.splitlines()
    assert said.startswith("vouchd: ")
    assert words in said
    assert hint.startswith("vouchd: hint: see vouchd")


def test_main_bug_shows_no_traceback(capsys, monkeypatch):
    """A bug is one line, and the way to see more."""
    monkeypatch.delenv("VOUCHD_DEBUG", raising=False)
    monkeypatch.setattr(wiring, "services", lambda _: 1 // 0)
    assert main(["crl", "list"]) == 70
    captured = capsys.readouterr()
    assert captured.err.startswith("vouchd: internal error: ZeroDivisionError")
    assert "Traceback" not in captured.err


def test_main_bug_with_debug_shows_where(capsys, monkeypatch):
    """VOUCHD_DEBUG shows the traceback."""
    monkeypatch.setenv("VOUCHD_DEBUG", "1")
    monkeypatch.setattr(wiring, "services", lambda _: 1 // 0)
    assert main(["crl", "list"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_main_interrupt_is_exit_code_130(monkeypatch):
    """Ctrl-C is no error message."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "say", interrupted)
    assert main(["--version"]) == 130


@pytest.mark.parametrize("arguments", [["crl", "list"], ["ca", "list"], ["status"], ["start"], ["run"], ["stop"]])
def test_main_without_instance_tells_how_to_make_one(capsys, monkeypatch, tmp_path, arguments):
    """Every verb on an instance that is not there points to `vouchd create`."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "nowhere"))
    assert main(arguments) != 0
    assert "vouchd create" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.process
def test_end_of_input_at_a_prompt_is_no_bug(tmp_path):
    """Who answers a question with Ctrl-D wants nothing done; no internal error is told."""
    path = tmp_path / "keys.p12"
    path.write_bytes(b"x")
    path.chmod(0o600)
    terminal, end = pty.openpty()
    asking = subprocess.Popen(words("pkcs12", "show", path), stdin=end, stderr=subprocess.PIPE, start_new_session=True)
    said = b""
    while not said.endswith(b": "):
        part = os.read(asking.stderr.fileno(), 1000)
        assert part, f"it ended without asking: {said}"
        said += part
    os.write(terminal, b"\x04")
    said = asking.stderr.read().decode()
    assert (asking.wait(), "nothing was typed" in said) == (output.INTERRUPTED, True), said
    assert "internal error" not in said
    os.close(terminal)
    os.close(end)
