"""docs/use/commands.md, made from the commands themselves: `python -m vouchd.cli.reference > docs/use/commands.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from typer.main import get_command

from vouchd.cli.main import command_line

_HEAD = """\
# Commands

<!-- made by: python -m vouchd.cli.reference -->

Results go to stdout, as a table or with `--json` as JSON; everything else goes to stderr as `vouchd: …`, with
`vouchd: hint: …` where there is a remedy. Every verb on an instance takes `--instance DIR` (or `VOUCHD_INSTANCE`,
else `./vouchd`), every verb of the certificate manager `--ca DIR` (or `VOUCHD_CA`, else `./ca`). They work whether
the instance runs or not; a running one is told of the change and waited for. Verbs with `--url` work as well from
another host, over the agent port, as the user of `--cert`, with the same output; `--instance https://HOST:8443` is the
same as `--url`. What takes longer than a second says so on stderr (a line that turns on a terminal, lines elsewhere,
nothing with `--json`, nothing with `VOUCHD_PROGRESS=0`). `VOUCHD_DEBUG=1` shows where an internal error happened.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | starting or stopping failed; `query`: a certificate is revoked |
| 2 | wrong command line |
| 3 | `status`: the instance does not run; `query`: a certificate is unknown |
| 4 | `clone status`: something is not as it should be; `clone verify`: members differ, or one does not answer |
| 65 | a CRL, a certificate or a request was refused |
| 66, 73 | not there; there already |
| 69, 76 | no usable answer from a server; an answer that cannot be relied upon |
| 70 | a key or certificate of this host that cannot be used; a bug |
| 75 | try again later: the store is away, a CRL is held back |
| 77 | not permitted |
| 78 | a setting or an option is wrong |
| 130 | interrupted |
"""


def reference() -> str:
    """The page in Markdown: every command with its help, example and options."""
    return _HEAD + "".join(_section(path, command) for path, command in commands())


@cache
def commands() -> tuple[tuple[str, Any], ...]:
    """Every command of the help as (`vouchd crl add`, its object), in its order."""
    return tuple(_walk("vouchd", get_command(command_line())))


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        if not child.hidden:  # an old name of another command
            yield from _walk(f"{path} {name}", child)


def _section(path: str, command: Any) -> str:
    text = inspect.cleandoc(command.help or "")
    about, _, example = text.partition("Example: ")
    lines = ["", f"## {path}", "", about.strip(), ""]
    if example:
        lines += ["```", example.strip(), "```", ""]
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    lines += ["| argument or option | meaning |", "|---|---|", *rows] if rows else []
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        options = [*parameter.opts, *parameter.secondary_opts]
        value = f" {parameter.metavar}" if parameter.metavar and not parameter.is_flag else ""
        name = ", ".join(f"`{option}{value}`" for option in options)
    return f"| {_cell(name)} | {_cell(parameter.help or '')} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
