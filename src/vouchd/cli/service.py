"""`vouchd service`: an instance as a service of the host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.options import JsonOption
from vouchd.errors import ConfigError, LifecycleError
from vouchd.instance.lifecycle import require_instance
from vouchd.instance.service_units import DEFAULT_FOLDER, SOCKETS, has_systemd, install_service, unit_name
from vouchd.settings.layout import Layout

app = typer.Typer(no_args_is_help=True, help="An instance as a service of the host: systemd, or an init script.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The service's name; its unit is vouchd@NAME.")]


@app.command()
def install(
    name: NameArgument,
    instance: Annotated[
        Path | None,
        typer.Option("--instance", "-i", metavar="DIR", help=f"The instance's folder; default: {DEFAULT_FOLDER}/NAME."),
    ] = None,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Who runs it, and owns the folder.")] = "vouchd",
    socket: Annotated[
        list[str] | None,
        typer.Option("--socket", metavar="PORT", help="Let systemd open this port, ocsp or agent; repeatable."),
    ] = None,
    init: Annotated[bool, typer.Option("--init", help="An init script, also where systemd runs the host.")] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="Units of systemd, also where it does not run.")] = False,
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Write below this folder, as a package is built.")
    ] = Path("/"),
    json_output: JsonOption = False,
) -> None:
    """Write the files with which the host's service manager runs the instance; what there was is replaced.

    Says what to run next. Units: Type=notify with a watchdog, a sandbox, a user of its own.

    Example: vouchd service install master --instance /srv/vouchd --socket ocsp
    """
    folder = (instance or Path(str(DEFAULT_FOLDER)) / name).absolute()
    require_instance(Layout(folder))
    if init and systemd:
        raise ConfigError("--init and --systemd exclude each other", hint="leave out one of them")
    if unknown := sorted(set(socket or ()) - {*SOCKETS}):
        raise ConfigError(f"--socket {unknown[0]}: no such port", hint=f"one of {', '.join(SOCKETS)}")
    wanted = systemd or (has_systemd() and not init)
    made = install_service(
        name, folder, user, _program(), root.absolute(), tuple(dict.fromkeys(socket or ())), systemd=wanted
    )
    output.record({"files": [str(one) for one in made.files], "next": list(made.commands)}, json_output=json_output)


@app.command()
def start(name: NameArgument) -> None:
    """Have the service manager start the instance, and wait until it answers.

    Example: vouchd service start master
    """
    _drive("start", name)


@app.command()
def stop(name: NameArgument) -> None:
    """Have the service manager stop the instance; requests under way are answered first.

    Example: vouchd service stop master
    """
    _drive("stop", name)


@app.command()
def status(name: NameArgument) -> None:
    """Show what the service manager says of the instance; its exit code is passed on (3: it does not run).

    Example: vouchd service status master
    """
    _drive("status", name)


def _drive(action: str, name: str) -> None:
    unit = unit_name(name)
    if has_systemd():
        command = ["systemctl", "--no-pager", action, unit]
    elif Path("/etc/init.d/vouchd").exists():
        command = ["service", "vouchd", action, name]
    else:
        raise LifecycleError(
            "no service manager runs vouchd on this host",
            hint=f"vouchd service install {name}, or without one: vouchd {action} --instance DIR",
        )
    ended = subprocess.run(command, check=False)  # noqa: S603  a fixed command and a checked name
    if ended.returncode:
        raise typer.Exit(ended.returncode)


def _program() -> Path:
    """Where this command lies, by a path that a service manager can use."""
    program = shutil.which("vouchd", path=str(Path(sys.executable).parent)) or shutil.which("vouchd")
    if program is None:
        raise LifecycleError("the command vouchd is not installed", hint="install the package, then do it again")
    return Path(program).absolute()
