"""Completion of the command in shells, made from the commands: `python -m vouchd.cli.completions bash|zsh|fish`.

The scripts are plain text and start no program: what may follow what stands in them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from vouchd.cli.main import command_line

_BASH = """\
# bash completion of vouchd; made by: python -m vouchd.cli.completions bash
_vouchd() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} path=vouchd next index
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        next="$path ${{COMP_WORDS[index]}}"
        case $next in
{groups}
        esac
    done
    case "$path $before" in
{files}
    esac
    case $path in
{words}
    esac
    [ ${{#COMPREPLY[@]}} -gt 0 ] || [[ $word == -* ]] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -F _vouchd vouchd
"""


def _nodes(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _nodes(f"{path} {name}", child)


def _options(command: Any) -> list[str]:
    options = [one for one in command.params if one.param_type_name != "argument"]
    return [name for one in options for name in (*one.opts, *one.secondary_opts)] + ["--help"]


def bash() -> str:
    """The script for bash."""
    groups, files, words = [], [], []
    for path, command in _nodes("vouchd", get_command(command_line())):
        if path != "vouchd":
            groups.append(f'            "{path}") path=$next ;;')
        children = [name for name, child in getattr(command, "commands", {}).items() if not child.hidden]
        some = " ".join(dict.fromkeys([*children, *_options(command)]))
        words.append(f'        "{path}") COMPREPLY=($(compgen -W "{some}" -- "$word")) ;;')
        named = [
            f'"{path} {name}"'
            for one in command.params
            if one.param_type_name != "argument" and one.metavar in {"FILE", "DIR", "DIR|URL", "PATH"}
            for name in (*one.opts, *one.secondary_opts)
        ]
        if named:
            files.append(f'        {" | ".join(named)}) COMPREPLY=($(compgen -f -- "$word")); return ;;')
    return _BASH.format(groups="\n".join(groups), files="\n".join(files), words="\n".join(words))


def zsh() -> str:
    """The script for zsh, which takes that of bash."""
    head = (
        "#compdef vouchd\n# made by: python -m vouchd.cli.completions zsh\nautoload -U +X bashcompinit\nbashcompinit\n"
    )
    return head + bash()


def fish() -> str:
    """The script for fish."""
    lines = ["# fish completion of vouchd; made by: python -m vouchd.cli.completions fish"]
    for path, command in _nodes("vouchd", get_command(command_line())):
        verbs = path.split()[1:]
        seen = "; and ".join(f"__fish_seen_subcommand_from {verb}" for verb in verbs) or "__fish_use_subcommand"
        children = [(name, child) for name, child in getattr(command, "commands", {}).items() if not child.hidden]
        for name, child in children:
            none = (
                "" if path == "vouchd" else f"; and not __fish_seen_subcommand_from {' '.join(n for n, _ in children)}"
            )
            about = (child.help or "").strip().split("\n")[0].replace("'", "\\'")
            lines.append(f"complete -c vouchd -f -n '{seen}{none}' -a {name} -d '{about}'")
        for one in command.params if verbs else ():
            if one.param_type_name == "argument":
                continue
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in (*one.opts, *one.secondary_opts)
            )
            about = " ".join((one.help or "").split()).replace("'", "\\'")
            takes = "" if one.is_flag else " -r"
            lines.append(f"complete -c vouchd -n '{seen}' {names}{takes} -d '{about}'")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


if __name__ == "__main__":
    sys.stdout.write(SHELLS[sys.argv[1]]())
