"""What a host's service manager needs to run an instance: units of systemd, or an init script where that is not there.

The files are templates beside this module (`units/`), filled in and written below a root folder, so that a package
lays the same files as a host does.
"""

from __future__ import annotations

import grp
import pwd
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from vouchd.errors import ConfigError, LifecycleError
from vouchd.files import PUBLIC, replace_file
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings

DEFAULT_FOLDER = PurePosixPath("/var/lib/vouchd")
SOCKETS = ("ocsp", "agent")
_UNITS = PurePosixPath("/etc/systemd/system")
_SERVICES = PurePosixPath("/etc/vouchd/services")  # a file an instance: its folder, its user
_INIT = PurePosixPath("/etc/init.d/vouchd")
_EXECUTABLE = 0o755
# As systemd takes it without escaping.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,63}")
_PLAIN = re.compile(r"[A-Za-z0-9_./+@-]+")


@dataclass(frozen=True, slots=True)
class InstalledService:
    """`files` as they were written, with what they hold below the root; `commands` are the host's next ones."""

    files: tuple[Path, ...]
    commands: tuple[str, ...]


def has_systemd(root: Path = Path("/")) -> bool:
    """Whether systemd runs this host. See sd_booted(3)."""
    return (root / "run/systemd/system").is_dir()


def unit_name(name: str) -> str:
    """The unit of an instance. Raises: ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:64]}: not a name for a service", hint="letters, digits, underscores and dots; at most 64"
        )
    return f"vouchd@{name}.service"


def install_service(
    name: str, folder: Path, user: str, program: Path, root: Path, sockets: tuple[str, ...], *, systemd: bool
) -> InstalledService:
    """Write the files with which `user` runs the instance in `folder` as `vouchd@name`, below `root`.

    `sockets` are the ports that systemd opens for it. Raises: ConfigError; LifecycleError when the folder is no
    instance of that user; StoreUnavailable when a file cannot be written.
    """
    unit = unit_name(name)
    for path in (folder, program):
        if not _PLAIN.fullmatch(str(path)):
            raise ConfigError(f"{path}: such a path does not fit into a unit", hint="without spaces, quotes or %")
    values = {"USER": user, "GROUP": _group(folder, user), "PROGRAM": str(program)}
    if systemd:
        written = _systemd_files(name, unit, folder, values, sockets)
        commands = _systemd_commands(name, unit, sockets)
    elif sockets:
        raise ConfigError("no systemd here that could open ports", hint="leave --socket out")
    else:
        written = _init_files(name, folder, values)
        commands = (f"service vouchd start {name}",)
    return InstalledService(tuple(_write(root, path, *content) for path, content in written.items()), commands)


def package_files(program: PurePosixPath) -> dict[PurePosixPath, tuple[str, int]]:
    """What a package lays on every host, as (text, mode) by path: the unit of any instance, its user, its folder."""
    values = {"USER": "vouchd", "GROUP": "vouchd", "PROGRAM": str(program)}
    return {
        PurePosixPath("/lib/systemd/system/vouchd@.service"): _filled("vouchd@.service", values),
        PurePosixPath("/usr/lib/sysusers.d/vouchd.conf"): _filled("sysusers.conf", values),
        PurePosixPath("/usr/lib/tmpfiles.d/vouchd.conf"): _filled("tmpfiles.conf", values),
    }


def _group(folder: Path, user: str) -> str:
    """The group of the user who runs the instance, which is the folder's owner."""
    try:
        account = pwd.getpwnam(user)
        owner = folder.stat().st_uid
    except KeyError:
        hint = f"make it: useradd --system --home-dir {DEFAULT_FOLDER} --shell /usr/sbin/nologin {user}"
        raise ConfigError(f"there is no user {user} on this host", hint=hint) from None
    except OSError as error:
        raise LifecycleError(
            f"{folder}: {error.strerror}", hint="name the instance's folder: --instance DIR"
        ) from error
    if owner != account.pw_uid:
        hint = f"stop it, then: chown -R {user}: {folder}"
        raise LifecycleError(f"{folder}: belongs to another user than {user}, who is to run it", hint=hint)
    return grp.getgrgid(account.pw_gid).gr_name


Content = tuple[str, int]


def _systemd_files(
    name: str, unit: str, folder: Path, values: Mapping[str, str], sockets: tuple[str, ...]
) -> dict[PurePosixPath, Content]:
    settings = read_settings(Layout(folder))
    ports = {"ocsp": settings.ee.port, "agent": settings.agent.port}
    written = {
        _UNITS / "vouchd@.service": _filled("vouchd@.service", values),
        PurePosixPath("/etc/sysusers.d/vouchd.conf"): _filled("sysusers.conf", values),
        PurePosixPath("/etc/tmpfiles.d/vouchd.conf"): _filled("tmpfiles.conf", values),
    }
    lines = []
    if folder != Path(DEFAULT_FOLDER / name):
        home = ["ProtectHome=no"] if folder.is_relative_to("/home") or folder.is_relative_to("/root") else []
        lines = ["[Service]", f"Environment=VOUCHD_INSTANCE={folder}", f"ReadWritePaths={folder}", *home]
    if lines:
        written[_UNITS / f"{unit}.d" / "instance.conf"] = ("\n".join([*lines, ""]), PUBLIC)
    for socket in sockets:
        port = ports[socket]
        if not port:
            hint = "name a port in CS.cfg: vouchd.ee.port, vouchd.agent.port"
            raise ConfigError(f"the {socket} port of {folder} is chosen anew at each start", hint=hint)
        written[_UNITS / f"vouchd-{socket}@{name}.socket"] = _filled(
            f"vouchd-{socket}@.socket", {**values, "PORT": str(port)}
        )
    return written


def _systemd_commands(name: str, unit: str, sockets: tuple[str, ...]) -> tuple[str, ...]:
    units = [f"vouchd-{socket}@{name}.socket" for socket in sockets]
    return ("systemctl daemon-reload", f"systemctl enable --now {' '.join([*units, unit])}")


def _init_files(name: str, folder: Path, values: Mapping[str, str]) -> dict[PurePosixPath, Content]:
    values = {**values, "SERVICES": str(_SERVICES), "INIT": str(_INIT), "LOGS": str(Layout(folder).log)}
    script, _ = _filled("init", values)
    return {
        _INIT: (script, _EXECUTABLE),
        _SERVICES / name: (f"{folder}\n{values['USER']}\n", PUBLIC),
        PurePosixPath(f"/etc/logrotate.d/vouchd-{name.replace('.', '-')}"): _filled("logrotate.conf", values),
    }


def _filled(template: str, values: Mapping[str, str]) -> Content:
    text = files(__package__).joinpath("units", template).read_text("utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text), PUBLIC


def _write(root: Path, path: PurePosixPath, text: str, mode: int) -> Path:
    place = root / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(place, text.encode(), mode, error=LifecycleError)
    return place


def main() -> None:
    """Lay the files of a package: `python -m vouchd.instance.service_units ROOT PROGRAM`."""
    for path, content in package_files(PurePosixPath(sys.argv[2])).items():
        _write(Path(sys.argv[1]), path, *content)


if __name__ == "__main__":
    main()
