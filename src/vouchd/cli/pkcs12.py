"""`vouchd pkcs12`: look into PKCS #12 files, take keys out of an instance, put them in."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from vouchd.api.certificates import installed
from vouchd.api.model import plain
from vouchd.cli import output
from vouchd.cli.certs import RestartOption, taken_on
from vouchd.cli.instance import Instance, opened, reachable
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password
from vouchd.errors import SigningError
from vouchd.files import PRIVATE, replace_file
from vouchd.pkix.certs import not_after
from vouchd.settings.layout import Layout
from vouchd.signing.key_files import check_context
from vouchd.signing.pkcs12 import KeyBag, KeyFile, read_key_file
from vouchd.wiring import services as wiring

OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the PKCS #12 file goes (0600).")]
PasswordFileOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="File (0600) whose first line is the password.")
]


def export(
    instance: Instance, out: Path, names: Sequence[str], password_file: Path | None, *, json_output: bool
) -> None:
    """Write the keys of those names, and say which there were."""
    body = {"password": read_password(password_file, out), "names": list(names)}
    done = instance.call("keys.backup", body=body)
    replace_file(out, base64.b64decode(done["pkcs12"]), PRIVATE)
    output.record({"file": str(out), "keys": ", ".join(done["keys"])}, json_output=json_output)
    for name in done["on_tokens"]:
        output.warn(
            f"{name} is not in the file: its key is on a token and does not leave it",
            "back it up by the means of the token's maker; a clone that reaches the token needs no file",
        )
    for name in done["missing"]:
        output.warn(f"{name} is not in the file: its certificate has not come yet", "see vouchd certs list")


app = typer.Typer(name="pkcs12", no_args_is_help=True, help="PKCS #12 files: keys with their certificates.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The PKCS #12 file (0600).")]
NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: as `vouchd backup`.")]


@app.command()
def show(file: FileArgument, password_file: PasswordFileOption = None, json_output: JsonOption = False) -> None:
    """List what is in a file, of several keys too; its MAC and its keys are checked, and no key is shown.

    Example: vouchd pkcs12 show ocsp-keys.p12 --password-file ocsp-keys.password
    """
    key_file = read_key_file(file, read_password(password_file, file))
    output.records(list(_rows(key_file)), json_output=json_output, empty=f"{file}: empty")


def _rows(key_file: KeyFile) -> Iterable[dict[str, object]]:
    for bag in key_file.bags:
        yield _row(bag.friendly_name, "key", bag)
    for name, certificate in key_file.certificates:
        yield {
            "name": name,
            "kind": "certificate",
            "subject": certificate.subject.rfc4514_string(),
            "not_after": output.when(not_after(certificate)),
            "chain": None,
        }


def _row(name: str, kind: str, bag: KeyBag) -> dict[str, object]:
    return {
        "name": name,
        "kind": kind,
        "subject": bag.certificate.subject.rfc4514_string(),
        "not_after": output.when(not_after(bag.certificate)),
        "chain": " < ".join(other.subject.rfc4514_string() for other in bag.others) or None,
    }


@app.command("export")
@reachable
def export_(
    out: OutOption,
    instance: Instance,
    names: NamesArgument = None,
    password_file: PasswordFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Write keys of the instance with their chains into one file, each under its name.

    Example: vouchd pkcs12 export ocspSigningCert --out signer.p12 --password-file signer.password
    """
    export(instance, out, names or (), password_file, json_output=json_output)


@app.command("import")
def import_(
    file: FileArgument,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[=FRIENDLY]]...",
            help="Name here, and in the file where it differs. Default: all that a backup holds.",
        ),
    ] = None,
    instance: InstanceOption = DEFAULT_INSTANCE,
    password_file: PasswordFileOption = None,
    restart: RestartOption = True,
    json_output: JsonOption = False,
) -> None:
    """Put keys with their certificates into the instance: all are tried out, then switched to.

    The Certificate System's nicknames, such as "subsystemCert cert-pki-tomcat", find their place by themselves.

    Example: vouchd pkcs12 import ocsp-keys.p12 --password-file ocsp-keys.password
    """
    layout = Layout(instance.absolute())
    key_file = read_key_file(file, read_password(password_file, file))
    with wiring.services(layout) as services:
        try:
            check_context(file, layout.alias)
        except SigningError as error:
            output.warn(str(error), error.hint)
        done = services.keys.restore(key_file, _wanted(names or ()), services.caller)
        shapes = [plain(installed(services, services.caller, one)) for one in done]
    with opened(str(layout.root)) as folder:
        taken_on(folder, shapes, restart=restart, trial=False, json_output=json_output)


def _wanted(names: Iterable[str]) -> dict[str, str]:
    """Friendly name in the file by name here: `NAME` where they are the same, else `NAME=FRIENDLY NAME`."""
    pairs = (name.partition("=") for name in names)
    return {name: friendly if equals else name for name, equals, friendly in pairs}
