"""The `vouchd` command: all verbs in one place, and the one place where an error becomes words and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import typer

from vouchd import __version__
from vouchd.cli import output
from vouchd.errors import VouchdError

USAGE_ERROR = 2
INTERRUPTED = 130
INTERNAL_ERROR = 70
DEBUG = "VOUCHD_DEBUG"
VERSION = "--version"

_HELP = """An online certificate status manager: an OCSP responder that is fed by CRLs.

A site with its own CA and CRLs is running in three commands:

  vouchd create --signer-key ocsp.key --signer-cert ocsp.pem --ca-cert ca.pem

  vouchd crl add ca.crl

  vouchd start

Ask it: vouchd query --url http://127.0.0.1:8080/ --issuer ca.pem server.pem
"""

# Verb -> the module of this package that has a function of its name.
_VERBS = {
    "create": "create",
    "run": "run",
    "start": "lifecycle",
    "stop": "lifecycle",
    "restart": "lifecycle",
    "status": "lifecycle",
    "query": "query",
    "explain": "explain",
    "backup": "pkcs12",
}
# Group of verbs -> the module that has its `app`, and those that `register` more verbs there.
_GROUPS = {
    "authority": ("authority",),
    "ca": ("ca.manager", "authority"),
    "crl": ("crl",),
    "certs": ("certs",),
    "pkcs12": ("pkcs12",),
    "user": ("user",),
    "selftest": ("selftest",),
    "audit": ("audit",),
    "directory": ("directory.server", "directory.setup", "directory.use", "directory.adopt"),
    "domain": ("domain",),
    "clone": ("clone.commands", "clone.status", "clone.verify"),
}


def command_line(verb: str = "") -> typer.Typer:
    """The command with that verb alone, or with all verbs, which takes longer to load, where there is none such."""
    app = typer.Typer(
        name="vouchd",
        help=_HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    known = {verb} & {*_VERBS, *_GROUPS} or {*_VERBS, *_GROUPS}
    if verb == VERSION:
        known = set()
    for name in _VERBS:
        if name in known:
            app.command(name)(_function(name))
    for name in _GROUPS:
        if name in known:
            app.add_typer(_group(name), name=name)
    return app


def _function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(import_module(f"vouchd.cli.{_VERBS[name]}"), name)
    return found


@cache
def _group(name: str) -> typer.Typer:
    first, *others = (import_module(f"vouchd.cli.{module}") for module in _GROUPS[name])
    app: typer.Typer = first.app
    for module in others:
        module.register(app)
    return app


def _version(asked: bool) -> None:
    if asked:
        output.say(f"vouchd {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, VERSION, callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """See `_HELP`: typer wants a function to hang the common options on."""


_root.__doc__ = _HELP


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. `arguments` default to this process's."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app = command_line(given[0] if given else "")
        code = app(args=given, prog_name="vouchd", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter's own flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except VouchdError as error:
        return output.fail(error)
    except Exception as error:  # noqa: BLE001  outermost: no traceback reaches a user who did not ask for it
        return _unexpected(error)
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception) -> int:
    """Words for a wrong command line, or for a bug of ours."""
    wording = getattr(error, "format_message", None)  # typer's own errors; their class moved between its versions
    if wording is not None:
        output.note(_lowered(wording()))
        context = getattr(error, "ctx", None)
        output.hint(f"see {context.command_path} --help" if context else "see vouchd --help")
        return USAGE_ERROR
    if isinstance(error, EOFError) or type(error).__name__ == "Abort":  # click's own, of a prompt that got Ctrl-D
        output.note("nothing was typed, and nothing was done")
        return INTERRUPTED
    if os.environ.get(DEBUG):
        import traceback  # noqa: PLC0415  seldom wanted, and dear

        traceback.print_exc()
    output.note(f"internal error: {type(error).__name__}: {error}")
    output.hint(f"this is a bug; {DEBUG}=1 shows where it happened")
    return INTERNAL_ERROR


def _lowered(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
