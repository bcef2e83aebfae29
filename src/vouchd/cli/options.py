"""The options that several verbs share, declared once.

Options that belong together are the fields of a dataclass, which a verb takes as one parameter; `@spread` puts them in
its place, so that the command line has each by itself.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from vouchd.errors import ConfigError
from vouchd.files import mapped_copy, read_file, read_secret
from vouchd.pkix.der import Buffer

InstanceOption = Annotated[
    Path,
    typer.Option(
        "--instance", "-i", envvar="VOUCHD_INSTANCE", metavar="DIR", help="The instance's folder.", show_default=True
    ),
]
CADirOption = Annotated[
    Path,
    typer.Option(
        "--ca", envvar="VOUCHD_CA", metavar="DIR", help="The certificate manager's folder.", show_default=True
    ),
]
RenewOption = Annotated[
    bool, typer.Option("--renew", help="Have those who stay renew what it knew: signers, own certificates.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
ScopeOption = Annotated[
    str, typer.Option("--scope", metavar="ID", help="Scope of a partitioned CRL, as `vouchd crl list` shows it.")
]
ModuleOption = Annotated[
    Path | None, typer.Option("--module", metavar="FILE", help="The PKCS #11 module that reaches the token.")
]
PINFileOption = Annotated[
    Path | None, typer.Option("--pin-file", metavar="FILE", help="File (0600) whose first line is the token's PIN.")
]
PINCommandOption = Annotated[
    str, typer.Option("--pin-command", metavar="COMMAND", help="A command that prints the PIN, each time.")
]
# A directory server, of a new instance or of the program whose place it takes.
DirectoryStartTLSOption = Annotated[
    bool, typer.Option("--starttls", help="StartTLS on the plain port of the directory.")
]
DirectoryTrustOption = Annotated[
    Path | None, typer.Option("--directory-trust", "--trust", metavar="FILE", help="CAs of the directory server, PEM.")
]
ClientCertificateOption = Annotated[
    str,
    typer.Option(
        "--client-certificate", metavar="NAME", help="The instance binds with this system certificate of its own."
    ),
]
DirectoryPasswordOption = Annotated[
    Path | None, typer.Option("--directory-password-file", metavar="FILE", help="The manager's password (0600).")
]

ManagerOption = Annotated[
    str, typer.Option("--manager", metavar="DN", help="Who may configure the server; its password is asked for.")
]

DEFAULT_INSTANCE = Path("./vouchd")
DEFAULT_CA = Path("./ca")


Result = TypeVar("Result")


def spread(command: Callable[..., Result]) -> Callable[..., Result]:
    """The verb with the options of each group among its parameters in the place of that parameter."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        one.name: one.annotation for one in signature.parameters.values() if is_dataclass(one.annotation)
    }
    parameters = [option for one in signature.parameters.values() for option in _options(one)]

    @wraps(command)
    def run(**values: Any) -> Result:
        made = {
            name: group(**{one.name: values.pop(one.name) for one in fields(group)}) for name, group in groups.items()
        }
        return command(**values, **made)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    group = parameter.annotation
    if not is_dataclass(group):
        yield parameter.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return
    types = get_type_hints(group, include_extras=True)
    for one in fields(group):
        default = inspect.Parameter.empty if one.default is MISSING else one.default
        yield inspect.Parameter(
            one.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=types[one.name]
        )


# Reading what a command is given: a file, or `-` for standard input, never more than a limit.

STDIN = "-"
LARGE_BYTES = 16 << 20


def read_input(name: str, max_bytes: int) -> bytes:
    """The bytes of the file `name`, or of standard input for `-`. Raises: ConfigError."""
    try:
        if name != STDIN:
            return read_file(Path(name), max_bytes, error=ConfigError, hint="")
        data = sys.stdin.buffer.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise ConfigError(f"{name}: larger than {max_bytes} bytes")
    return data


def read_large_input(name: str, max_bytes: int) -> Buffer:
    """The same for what may be hundreds of megabytes, which are not held in this process's own memory."""
    try:
        is_large = name != STDIN and Path(name).stat().st_size >= LARGE_BYTES
    except OSError:
        is_large = False  # reading it tells why
    return mapped_copy(Path(name), max_bytes, error=ConfigError) if is_large else read_input(name, max_bytes)


def read_password(password_file: Path | None, subject: Path) -> str:
    """The first line of the password file (0600), or what is typed. A password never stands on the command line."""
    if password_file is not None:
        return read_secret(password_file).decode("utf-8", "surrogateescape").split("\n", 1)[0].removesuffix("\r")
    if not sys.stdin.isatty():
        raise ConfigError(f"{subject}: its password is needed", hint="put it into a file (0600): --password-file FILE")
    return str(typer.prompt(f"password of {subject}", hide_input=True, err=True))
