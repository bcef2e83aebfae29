"""`vouchd backup`: the keys that a clone needs, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vouchd.wiring import instance as wiring
from vouchd.cli import output
from vouchd.cli.inputs import read_password
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.settings.layout import Layout

OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the PKCS #12 file goes (0600).")]
PasswordFileOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="File (0600) whose first line is the password.")
]


def backup(
    out: OutOption,
    instance: InstanceOption = DEFAULT_INSTANCE,
    password_file: PasswordFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Write the instance's keys with their chains into one PKCS #12 file, for a clone or a spare.

    The TLS server's key stays: it belongs to this host. The administrator's is in admin.p12.

    Example: vouchd backup --out ocsp-keys.p12 --password-file ocsp-keys.password
    """
    export(out, (), instance, password_file, json_output=json_output)


def export(out: Path, names: tuple[str, ...], instance: Path, password_file: Path | None, *, json_output: bool) -> None:
    """Write the keys of those names, and say which there were."""
    password = read_password(password_file, out)
    with wiring.services(Layout(instance.absolute())) as services:
        done = services.keys.export(out, password, services.caller, names)
    output.record({"file": str(out), "keys": ", ".join(done.names)}, json_output=json_output)
    for name in done.missing:
        output.warn(f"{name} is not in the file: its certificate has not come yet", "see vouchd certs list")
