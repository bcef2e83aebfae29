"""Every command line that the documentation shows is understood by the command's own parser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.docs.lines import CommandLine, command_lines
from typer.main import get_command

from vouchd.cli.compat import ocspclient, pkcs12export
from vouchd.cli.main import command_line

PROGRAMS = {
    "vouchd": get_command(command_line()),
    "OCSPClient": get_command(ocspclient.app),
    "PKCS12Export": get_command(pkcs12export.app),
}
LINES = command_lines()


def resolve(line: CommandLine) -> tuple[Any, Any, list[str]]:
    """The command that the line names, a context for it, and what is said to it."""
    command, words = PROGRAMS[line.program], [word.strip("[]") for word in line.words]
    context = command.context_class(command, info_name=line.program)
    while words and (child := commands_of(command).get(words[0])):
        command, words = child, words[1:]
        context = command.context_class(command, info_name=child.name, parent=context)
    return command, context, words


def commands_of(command: Any) -> Mapping[str, Any]:
    """The verbs of a group; a single command has none."""
    return getattr(command, "commands", {})


def takes_value(command: Any, words: list[str]) -> bool:
    """Whether this is an option that is named without the value that it takes."""
    return any(word in one.opts and not getattr(one, "is_flag", False) for word in words for one in command.params)


def test_pages_show_command_lines() -> None:
    """What is looked for is there: this test file would otherwise guard nothing."""
    assert len(LINES) > 500
    assert sum(line.whole for line in LINES) > 150
    assert {line.program for line in LINES} == set(PROGRAMS)


@pytest.mark.parametrize("page", sorted({line.page for line in LINES}))
def test_line_is_understood_as_it_stands(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in a block has every argument that the command needs, each of its kind."""
    for line in (one for one in LINES if one.page == page and one.whole):
        command, context, words = resolve(line)
        assert not commands_of(command), line
        try:
            command.make_context(context.info_name, list(words), parent=context.parent)
        except Exception as error:  # noqa: BLE001  whatever the parser says
            pytest.fail(f"{line}\n{type(error).__name__}: {error}")


@pytest.mark.parametrize("page", sorted({line.page for line in LINES}))
def test_option_within_a_sentence_exists(page: str) -> None:
    """What is shown in part, or with a placeholder, has verbs and options that there are."""
    for line in (one for one in LINES if one.page == page and not one.whole):
        command, context, words = resolve(line)
        if commands_of(command):
            verbs = {verb for word in words for verb in word.split("|")} - {"…", "--help", "--version", "HOST:PORT"}
            assert verbs <= set(commands_of(command)), line
            continue
        named = words[-1:] if takes_value(command, words[-1:]) else []
        try:
            command.make_parser(context).parse_args([word for word in [*words, *named] if word != "…"])
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{line}\n{type(error).__name__}: {error}")
