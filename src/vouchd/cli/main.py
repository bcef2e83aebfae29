"""The `vouchd` command: all verbs in one place, and the one place where an error becomes words and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from vouchd import __version__
from vouchd.cli import (
    audit,
    authorities,
    backup,
    ca,
    certs,
    clone,
    clonerole,
    cloneverify,
    create,
    crl,
    directory,
    directoryadopt,
    directorysetup,
    directoryuse,
    domain,
    explain,
    lifecycle,
    output,
    pkcs12,
    query,
    run,
    selftest,
    user,
)
from vouchd.errors import VouchdError

USAGE_ERROR = 2
INTERRUPTED = 130
INTERNAL_ERROR = 70
DEBUG = "VOUCHD_DEBUG"

_HELP = """An online certificate status manager: an OCSP responder that is fed by CRLs.

A site with its own CA and CRLs is running in three commands:

  vouchd create --signer-key ocsp.key --signer-cert ocsp.pem --ca-cert ca.pem

  vouchd crl add ca.crl

  vouchd start

Ask it: vouchd query --url http://127.0.0.1:8080/ --issuer ca.pem server.pem
"""

app = typer.Typer(
    name="vouchd",
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        output.say(f"vouchd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """See `_HELP`: typer wants a function to hang the common options on."""


_root.__doc__ = _HELP
app.command("create")(create.create)
app.command("run")(run.run)
for _verb in (lifecycle.start, lifecycle.stop, lifecycle.restart, lifecycle.status):
    app.command(_verb.__name__)(_verb)
app.command("query")(query.query)
app.command("explain")(explain.explain)
authorities.register(ca.app)
app.add_typer(ca.app, name="ca")
app.add_typer(crl.app, name="crl")
app.add_typer(certs.app, name="certs")
app.command("backup")(backup.backup)
app.add_typer(pkcs12.app, name="pkcs12")
app.add_typer(user.app, name="user")
app.add_typer(selftest.app, name="selftest")
app.add_typer(audit.app, name="audit")
directorysetup.register(directory.app)
directory.app.command()(directoryuse.use)
directoryadopt.register(directory.app)
app.add_typer(directory.app, name="directory")
app.add_typer(domain.app, name="domain")
for verb in (clonerole.destroy, clonerole.promote, cloneverify.verify):
    clone.app.command()(verb)
app.add_typer(clone.app, name="clone")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. `arguments` default to this process's."""
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="vouchd", standalone_mode=False)
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
    if os.environ.get(DEBUG):
        traceback.print_exc()
    output.note(f"internal error: {type(error).__name__}: {error}")
    output.hint(f"this is a bug; {DEBUG}=1 shows where it happened")
    return INTERNAL_ERROR


def _lowered(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
