"""The manual pages, made from the commands and the settings: `python -m vouchd.cli.manual DIR` writes them below it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vouchd import __version__
from vouchd.cli.main import OVERVIEW
from vouchd.cli.reference import commands
from vouchd.files import PUBLIC, replace_file
from vouchd.settings.declared import KNOWN
from vouchd.settings.keys import KnownKey

_COMMANDS, _FILES = 1, 5


def pages() -> Iterator[tuple[str, str]]:
    """Each page as (`man1/vouchd-crl-add.1`, its text in the macros of man(7))."""
    known = list(commands())
    names = [path.replace(" ", "-") for path, _ in known]
    yield f"man{_COMMANDS}/vouchd.{_COMMANDS}", _overview(known)
    for name, (path, command) in zip(names, known, strict=True):
        yield f"man{_COMMANDS}/{name}.{_COMMANDS}", _page(name, path, command)
    yield f"man{_FILES}/vouchd-CS.cfg.{_FILES}", _settings()


def _overview(known: list[tuple[str, Any]]) -> str:
    lines = [_title("vouchd", _COMMANDS), ".SH NAME", r"vouchd \- online certificate status manager (OCSP responder)"]
    lines += [".SH SYNOPSIS", r".B vouchd", r"\fICOMMAND\fR [\fIOPTION\fR...]", ".SH DESCRIPTION"]
    for part in inspect.cleandoc(OVERVIEW).split("\n\n"):
        lines += _example(part.strip()) if part.startswith("  ") else [_plain(part), ".PP"]
    lines.append(".SH COMMANDS")
    for path, command in known:
        lines += [".TP", f".BR {_plain(path.replace(' ', '-'))} ({_COMMANDS})", _plain(_summary(command))]
    lines += [".SH SEE ALSO", rf".BR vouchd\-CS.cfg ({_FILES})"]
    return "\n".join(lines) + "\n"


def _page(name: str, path: str, command: Any) -> str:
    about, _, example = inspect.cleandoc(command.help or "").partition("Example: ")
    parameters = [one for one in command.params if one.name != "help"]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name != "argument"]
    shown = " ".join(rf"\fI{_plain(_name(one))}\fR" for one in arguments)
    lines = [_title(name, _COMMANDS), ".SH NAME", rf"{_plain(name)} \- {_plain(_summary(command))}"]
    lines += [".SH SYNOPSIS", rf".B {_plain(path)}", rf"[\fIOPTION\fR...] {shown}".rstrip(), ".SH DESCRIPTION"]
    for number, part in enumerate(about.strip().split("\n\n")):
        lines += [_plain(part)] if number == 0 else [".PP", _plain(part)]
    for heading, some in (("ARGUMENTS", arguments), ("OPTIONS", options)):
        lines += [f".SH {heading}"] if some else []
        for one in some:
            lines += [".TP", rf"\fB{_plain(_name(one))}\fR", _plain(one.help or "see above")]
    if example:
        lines += [".SH EXAMPLE", *_example(example.strip())]
    lines += [".SH SEE ALSO", rf".BR vouchd ({_COMMANDS}),", rf".BR vouchd\-CS.cfg ({_FILES})"]
    return "\n".join(lines) + "\n"


def _settings() -> str:
    lines = [_title("vouchd-CS.cfg", _FILES), ".SH NAME", r"vouchd\-CS.cfg \- the settings of an instance of vouchd"]
    lines += [".SH DESCRIPTION", _plain("Lines of the form key=value in the file CS.cfg of an instance's folder.")]
    lines.append(".SH KEYS")
    for known in KNOWN:
        if not known.inert:
            lines += [".TP", rf"\fB{_plain(known.name)}\fR", _plain(_meaning(known))]
    lines += [".SH SEE ALSO", rf".BR vouchd ({_COMMANDS})"]
    return "\n".join(lines) + "\n"


def _meaning(known: KnownKey) -> str:
    default = known.kind.write(known.default)
    shared = " Every member of a set has the same." if known.shared else ""
    text = f"{known.about} {known.accepts[:1].upper()}{known.accepts[1:]}; default: {default or 'empty'}.{shared}"
    return text.replace("`", "")


def _title(name: str, section: int) -> str:
    return f'.TH "{name.upper()}" "{section}" "" "vouchd {__version__}" "vouchd"'


def _summary(command: Any) -> str:
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split()).rstrip(".")


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    value = f" {parameter.metavar}" if parameter.metavar and not parameter.is_flag else ""
    return ", ".join(f"{option}{value}" for option in (*parameter.opts, *parameter.secondary_opts))


def _example(text: str) -> list[str]:
    return [".nf", ".RS 4", *(_plain(line) for line in text.splitlines()), ".RE", ".fi"]


def _plain(text: str) -> str:
    """The words as roff takes them for words."""
    words = " ".join(text.replace("\\", r"\e").replace("-", r"\-").split())
    return rf"\&{words}" if words.startswith((".", "'")) else words


def main() -> None:
    """Write all of them below the folder that is named."""
    folder = Path(sys.argv[1])
    for name, text in pages():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        replace_file(folder / name, text.encode(), PUBLIC, durable=False)


if __name__ == "__main__":
    main()
