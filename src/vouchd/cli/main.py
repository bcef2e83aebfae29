"""The `vouchd` command: all verbs in one place, and the one place where an error becomes words and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from vouchd import __version__
from vouchd.cli import output
from vouchd.errors import VouchdError

USAGE_ERROR = 2
INTERNAL_ERROR = 70
DEBUG = "VOUCHD_DEBUG"
VERSION = "--version"
_RUN_IN = ["run", "--instance"]

OVERVIEW = """An online certificate status manager: an OCSP responder that is fed by CRLs.

A site with its own CA and CRLs is running in three commands:

  vouchd create --signer-key ocsp.key --signer-cert ocsp.pem --ca-cert ca.pem

  vouchd crl add ca.crl

  vouchd start

Ask it: vouchd query --url http://127.0.0.1:8080/ --issuer ca.pem server.pem
"""

# Verb -> the module of this package that has a function of its name.
_VERBS = {
    "create": "create",
    "setup": "setup",
    "run": "run",
    "start": "lifecycle",
    "stop": "lifecycle",
    "restart": "lifecycle",
    "status": "lifecycle",
    "query": "query",
    "explain": "explain",
    "compare": "compare",
    "backup": "backup",
    "restore": "backup",
}
# Group of verbs -> the module that has its `app`, and those that `register` more verbs there.
_GROUPS = {
    "authority": ("authority",),
    "ca": ("ca.manager", "authority"),
    "crl": ("crl", "crl_history"),
    "source": ("source",),
    "signer": ("signer",),
    "certs": ("certs",),
    "pkcs12": ("pkcs12",),
    "token": ("token",),
    "user": ("user",),
    "approval": ("approval",),
    "selftest": ("selftest",),
    "alert": ("alert",),
    "config": ("config",),
    "audit": ("audit",),
    "directory": ("directory.server", "directory.setup", "directory.use", "directory.adopt", "directory.doubts"),
    "domain": ("domain", "other_domain"),
    "service": ("service",),
    "clone": ("clone.commands", "clone.status", "clone.verify"),
    "import": ("importing",),
}

# What the list of verbs says of each, so that it can be shown without loading them; compared with what they say.
_ABOUT = {
    "create": "Make a new instance: its folder with settings, keys, an empty store.",
    "setup": "Set an instance up as its wizard does, master or clone, with the answers of a file.",
    "run": "Run the instance in the foreground until SIGTERM or Ctrl-C; SIGHUP restarts it without dropping a request.",
    "start": "Start the instance in the background and wait until it answers.",
    "stop": "Stop the instance; requests under way are answered first.",
    "restart": "Have the instance take on changed settings without dropping a request; start it when it does not run.",
    "status": "Show whether the instance runs and what it serves; exit code 3 when it does not run.",
    "query": "Ask a responder about certificates and verify what it says.",
    "explain": "Tell why a certificate is answered as it is: CRL, entry, policy and signer.",
    "compare": "Ask this instance and another responder the same, in every form, and tell what differs and why.",
    "backup": "Write the instance's keys with their chains into one PKCS #12 file, or with --all the whole instance.",
    "restore": "Make the instance of a whole backup anew, or with --verify try the backup out.",
    "authority": "The CAs that an instance answers for.",
    "ca": "A small certificate manager of our own; for the CAs that are answered for: vouchd authority.",
    "crl": "The CRLs that an instance answers from.",
    "source": "Where CRLs are fetched from, besides those that a CA sends.",
    "signer": "The signers of the set: requested, installed, and switched to by all members at once.",
    "certs": "The instance's own certificates: OCSP signing, TLS server, subsystem, audit signing, administrator.",
    "pkcs12": "PKCS #12 files: keys with their certificates.",
    "token": "Tokens (PKCS #11, HSMs) that keys of an instance are on.",
    "user": "Who may come to the agent port, and what each may do.",
    "approval": "Four eyes: what waits for a second agent, approved or denied.",
    "selftest": "Self tests: what an instance stands on, tried out.",
    "alert": "Alerts: what stands, who is told of it, and whether that works.",
    "config": "The settings of an instance: CS.cfg, read, explained, changed, compared.",
    "audit": "The audit log: who did what, and the proof of it.",
    "directory": "The directory server that an instance keeps facts in.",
    "domain": "The security domain: who is in it, and who may join.",
    "service": "An instance as a service of the host: systemd, or an init script.",
    "clone": "Clones: instances with the same keys that give the same answers.",
    "import": "Take the place of another program: all that it has, here.",
}
_HELP_WORDS = frozenset({"-h", "--help"})


def command_line(verb: str = "") -> typer.Typer:
    """The command with that verb alone, or with all verbs, which takes longer to load, where there is none such."""
    app = typer.Typer(
        name="vouchd",
        help=OVERVIEW,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    if verb in _HELP_WORDS:
        return _listing(app)
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


def _listing(app: typer.Typer) -> typer.Typer:
    """The command that can list its verbs, and does no more."""
    for name in _VERBS:
        app.command(name, help=_ABOUT[name])(lambda: None)
    for name in _GROUPS:
        app.add_typer(typer.Typer(help=_ABOUT[name]), name=name)
    return app


def _function(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(f"vouchd.cli.{_VERBS[name]}"), name)
    return function


@cache
def _group(name: str) -> typer.Typer:
    first, *others = (import_module(f"vouchd.cli.{module}") for module in _GROUPS[name])
    app: typer.Typer = first.app
    for module in others:
        module.register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        output.say(f"vouchd {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, VERSION, callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """See `OVERVIEW`: typer wants a function to hang the common options on."""


_root.__doc__ = OVERVIEW


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. `arguments` default to this process's."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if argv[:2] == _RUN_IN and len(argv) == 3:
            return _run(argv[2])
        app = command_line(argv[0] if argv else "--help")
        code = app(args=argv, prog_name="vouchd", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter's own flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return output.INTERRUPTED
    except VouchdError as error:
        return output.fail(error)
    except Exception as error:  # noqa: BLE001  outermost: no traceback reaches a user who did not ask for it
        return _unexpected(error)
    return code if isinstance(code, int) else 0


def _run(folder: str) -> int:
    """`vouchd run` in the words in which an instance starts and restarts: with no options to read.

    What reads them would stay in memory as long as the instance runs, and takes a tenth of its start.
    """
    gc.disable()  # what is loaded stays: to look for garbage in it meanwhile is a tenth of the time that it takes
    run = _function("run")
    gc.freeze()
    gc.enable()
    try:
        run(Path(folder))
    except typer.Exit as end:
        return end.exit_code
    return 0


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
        return output.INTERRUPTED
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
