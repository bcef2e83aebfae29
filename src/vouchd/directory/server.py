"""A 389 Directory Server of our own on this host, without systemd: made, started, stopped, removed.

Everything of it lies in one folder. It runs as the user of the plan: as root, the account `dirsrv` of the package
unless another is named.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from vouchd.core.hostnames import qualified
from vouchd.directory import dse
from vouchd.directory.client_certificate import CERTMAP
from vouchd.directory.nss import TLSIdentity, import_identity
from vouchd.directory.plan import PLAN_FILE, ServerPlan, check_folder, config_folder, read_plan, trust_file
from vouchd.directory.process import ServerProcess
from vouchd.errors import AlreadyExists, ConfigError, LifecycleError
from vouchd.files import PUBLIC, write_new

PACKAGE_USER = "dirsrv"


def create(folder: Path, plan: ServerPlan, password: str, identity: TLSIdentity | None = None) -> ServerProcess:
    """Make the server in a new (or empty) folder, not started; `password` becomes its Directory Manager's.

    All or nothing. Raises: ConfigError; AlreadyExists; LifecycleError.
    """
    qualified(plan.host)
    check_folder(folder)
    _check_identity(plan, identity)
    account = _account(plan)
    try:
        made_here = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise AlreadyExists(f"{folder}: exists already and is not empty", hint="choose another folder")
    except OSError as error:
        raise LifecycleError(f"{folder}: cannot be made: {error.strerror}") from error
    try:
        _check_reachable(folder, account)
        _fill(folder, plan, account, password, identity)
    except BaseException as error:
        _empty(folder, and_itself=made_here)
        if isinstance(error, OSError):
            raise LifecycleError(f"{folder}: cannot be written: {error.strerror}") from error
        raise
    return ServerProcess(folder)


def remove(folder: Path) -> None:
    """Remove a server that was made here, with its data. Raises: NotFound; LifecycleError when it runs."""
    read_plan(folder)  # removes nothing that is not ours
    if pid := ServerProcess(folder).pid():
        raise LifecycleError(f"the directory server runs, process {pid}", hint="vouchd directory stop")
    try:
        (folder / PLAN_FILE).rename(folder / f".{PLAN_FILE}")
        shutil.rmtree(folder)
    except OSError as error:
        raise LifecycleError(f"{folder}: cannot be removed: {error.strerror}", hint=f"rm -r {folder}") from error


def _fill(
    folder: Path, plan: ServerPlan, account: pwd.struct_passwd, password: str, identity: TLSIdentity | None
) -> None:
    for name in dse.FOLDERS:
        (folder / name).mkdir(mode=0o700)
    etc = config_folder(folder)
    (etc / "schema").mkdir(parents=True, mode=0o700)
    etc.chmod(0o700)
    write_new(etc / "schema/99user.ldif", dse.USER_SCHEMA.encode(), PUBLIC, error=LifecycleError)
    write_new(etc / "certmap.conf", CERTMAP.encode(), PUBLIC, error=LifecycleError)
    configuration = dse.configuration(plan, folder, account.pw_name, password)
    write_new(etc / "dse.ldif", configuration.encode(), error=LifecycleError)
    if identity is not None:
        import_identity(etc, trust_file(folder), identity, plan.host)
    plan.save(folder)
    if account.pw_uid != os.geteuid():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)


def _check_identity(plan: ServerPlan, identity: TLSIdentity | None) -> None:
    if plan.secure_port is not None and identity is None:
        raise ConfigError(
            "the directory server is to speak TLS but has no certificate", hint="give --cert, --key, --ca"
        )
    if plan.secure_port is None and identity is not None:
        raise ConfigError("the directory server has a certificate but no port for TLS", hint="give --secure-port")


def _account(plan: ServerPlan) -> pwd.struct_passwd:
    """Whom the server runs as. Raises: ConfigError."""
    mine = pwd.getpwuid(os.geteuid())
    if mine.pw_uid == 0 and plan.user is None:
        try:
            return pwd.getpwnam(PACKAGE_USER)
        except KeyError:
            return mine
    if plan.user in {None, mine.pw_name}:
        return mine
    try:
        account = pwd.getpwnam(str(plan.user))
    except KeyError:
        raise ConfigError(f"{plan.user}: no such user") from None
    if mine.pw_uid != 0:
        raise ConfigError(f"only root can make a server that runs as {plan.user}")
    return account


def _check_reachable(folder: Path, account: pwd.struct_passwd) -> None:
    """Raises: ConfigError when a folder above does not let the server's user through."""
    if account.pw_uid == os.geteuid():
        return
    for parent in folder.absolute().parents:
        status = parent.stat()
        if status.st_uid != account.pw_uid and not status.st_mode & 0o001:
            raise ConfigError(
                f"{parent}: the user {account.pw_name} may not pass", hint="choose a folder such as /var/lib/vouchd/ds"
            )


def _empty(folder: Path, *, and_itself: bool) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if and_itself:
        folder.rmdir()
