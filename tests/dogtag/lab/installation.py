"""The lab made from nothing, step by step: what is done is not done again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dogtag.lab import plan
from tests.dogtag.lab.enclosure import CommandFailed, Enclosure
from tests.dogtag.lab.running import answers, configure, start

from vouchd.migration.importing import publisher_lines

HERE = Path(__file__).parent
RELEASE = "bullseye"  # the last Debian with Dogtag in it
# What the lab is made by: another state of these is another lab.
_RECIPE = ("plan.py", "installation.py", "systemctl")


class LabUnavailable(Exception):
    """The lab cannot be set up here; the text says what is missing."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else sets the lab up, starts or removes it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(enclosure: Enclosure) -> None:
    """Make what is not there yet; one made by another recipe goes first.

    Raises:
        LabUnavailable: with what is missing here.
    """
    _check_host()
    recipe = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in _RECIPE)).hexdigest()
    stamp = enclosure.root.parent / "recipe"
    if enclosure.root.exists() and (not stamp.exists() or stamp.read_text(encoding="ascii") != recipe):
        remove(enclosure)
    stamp.write_text(recipe, encoding="ascii")
    try:
        for name, step in _steps(enclosure):
            _once(enclosure, name, step)
    except (CommandFailed, subprocess.CalledProcessError) as error:
        raise LabUnavailable(f"the lab below {enclosure.root} could not be made: {error}") from error


def remove(enclosure: Enclosure) -> None:
    """End it and take its files away."""
    enclosure.close()
    shutil.rmtree(enclosure.root, ignore_errors=True)


def _steps(enclosure: Enclosure) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "debian", lambda: _debian(enclosure.root)
    enclosure.open()
    shutil.copy("/etc/hosts", enclosure.root / "etc/hosts")
    yield "packages", lambda: _packages(enclosure)
    yield "stand-ins", lambda: _stand_ins(enclosure)
    for instance in plan.INSTANCES:
        yield f"directory of {instance.name}", lambda instance=instance: _directory(enclosure, instance)
    for instance in plan.INSTANCES:
        yield instance.name, lambda instance=instance: _subsystem(enclosure, instance)
    yield "client", lambda: _client(enclosure)
    yield "first CRL", lambda: _publish(enclosure)


def _once(enclosure: Enclosure, name: str, step: Callable[[], None]) -> None:
    done = enclosure.root / "var/lib/vouchd-lab" / name.replace(" ", "-")
    if done.exists():
        return
    begin = time.monotonic()
    sys.stderr.write(f"lab: {name}\n")
    step()
    done.parent.mkdir(exist_ok=True)
    done.write_text(f"{time.monotonic() - begin:.0f} seconds\n", encoding="ascii")


def _check_host() -> None:
    if os.geteuid():
        raise LabUnavailable("the lab is a root folder with mounts of its own: run it as root")
    missing = [name for name in ("debootstrap", "unshare", "nsenter", "curl") if not shutil.which(name)]
    if missing:
        raise LabUnavailable(f"missing here: {', '.join(missing)}; run scripts/install-debian-packages.sh")
    if not re.search(rf"^{plan.ADDRESS}\s+{plan.HOST}$", Path("/etc/hosts").read_text(encoding="utf-8"), re.MULTILINE):
        raise LabUnavailable(f"{plan.HOST} is no name of this host: run scripts/test-hosts.sh")


def _debian(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)  # half of one is of no use
    # What it mounts is seen by nobody else, and gone when it ends.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase", "--include=ca-certificates"]
    command += [RELEASE, str(root), _mirror()]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"debootstrap: {(done.stdout + done.stderr)[-2000:]}")


def _mirror() -> str:
    """Where this host's own Debian packages come from."""
    form = "$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    mirrors = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for mirror in mirrors:
        if mirror.rstrip("/").endswith("/debian"):
            return mirror
    raise LabUnavailable("this host's apt knows no Debian mirror")


def _packages(enclosure: Enclosure) -> None:
    etc = enclosure.root / "etc"
    etc.joinpath("apt/sources.list").write_text(f"deb {_mirror()} {RELEASE} main\n", encoding="utf-8")
    shutil.copy("/etc/resolv.conf", etc / "resolv.conf")
    for proxy in Path("/etc/apt/apt.conf.d").glob("*prox*"):
        shutil.copy(proxy, etc / "apt/apt.conf.d")
    nothing_starts = enclosure.root / "usr/sbin/policy-rc.d"
    nothing_starts.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    nothing_starts.chmod(0o755)
    enclosure.run("apt-get", "update", "-qq")
    enclosure.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *plan.PACKAGES)


def _stand_ins(enclosure: Enclosure) -> None:
    root = enclosure.root
    replaced = "/bin/systemctl"
    enclosure.run("dpkg-divert", "--quiet", "--local", "--rename", "--divert", f"{replaced}.real", "--add", replaced)
    shutil.copy(HERE / "systemctl", root / "bin/systemctl")
    _edit(root / "usr/share/dirsrv/inf/defaults.inf", "with_systemd = 1", "with_systemd = 0")
    server = root / "usr/share/pki/server/conf/server.xml"
    for port in ("[PKI_UNSECURE_PORT]", "[PKI_SECURE_PORT]"):
        _edit(server, f'port="{port}"', f'address="{plan.ADDRESS}" port="{port}"')
    (root / plan.TRANSFER[1:]).mkdir(parents=True, exist_ok=True)
    enclosure.run("install", "-d", "-o", "dirsrv", "-g", "dirsrv", "/run/lock/dirsrv", "/run/dirsrv")
    enclosure.run("install", "-d", "-o", "pkiuser", "-g", "pkiuser", "/run/pki")


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise CommandFailed(f"{path} has no {old}")
    path.write_text(text.replace(old, new), encoding="utf-8")


def _directory(enclosure: Enclosure, instance: plan.Instance) -> None:
    folder = enclosure.root / f"etc/dirsrv/slapd-{instance.name}"
    if folder.exists():
        enclosure.run("dsctl", instance.name, "remove", "--do-it")
    file = f"{plan.TRANSFER}/{instance.name}.inf"
    (enclosure.root / file[1:]).write_text(plan.directory_answers(instance), encoding="utf-8")
    enclosure.run("dscreate", "from-file", file)
    settings = folder / "dse.ldif"
    _edit(settings, "\ndn: cn=config\n", f"\ndn: cn=config\nnsslapd-listenhost: {plan.ADDRESS}\n")


def _subsystem(enclosure: Enclosure, instance: plan.Instance) -> None:
    for needed in plan.INSTANCES[: plan.INSTANCES.index(instance)]:
        start(enclosure, needed)
    enclosure.run("systemctl", "start", f"dirsrv@{instance.name}")
    if (enclosure.root / "etc/pki" / instance.tomcat).exists():
        enclosure.run("pkidestroy", "-s", instance.subsystem, "-i", instance.tomcat)
    if instance.master:
        packing = ["--pkcs12-file", f"{plan.TRANSFER}/ocsp.p12", "--pkcs12-password", plan.PASSWORD]
        enclosure.run("pki-server", "ocsp-clone-prepare", "-i", instance.master.tomcat, *packing)
    file = f"{plan.TRANSFER}/{instance.name}.cfg"
    (enclosure.root / file[1:]).write_text(plan.subsystem_answers(instance), encoding="utf-8")
    enclosure.run("pkispawn", "-f", file, "-s", instance.subsystem)
    answers(instance)
    if instance is plan.CA:
        certificate = f"{plan.TRANSFER}/ca_signing.crt"
        enclosure.run("pki-server", "cert-export", "ca_signing", "-i", instance.tomcat, "--cert-file", certificate)
    elif instance is plan.OCSP:
        # The publisher that was written into the CA's settings is taken up at a start.
        lines = publisher_lines(plan.HOST, str(plan.BESIDE_HTTPS_PORT))
        configure(enclosure, plan.CA, dict(line.split("=", 1) for line in lines))


def _client(enclosure: Enclosure) -> None:
    transfer = enclosure.root / plan.TRANSFER[1:]
    bundle = f"{plan.CA.administrator}/ca_admin_cert.p12"
    reading = ["openssl", "pkcs12", "-in", bundle, "-passin", f"pass:{plan.PASSWORD}", "-nodes"]
    enclosure.run(*reading, "-clcerts", "-nokeys", "-out", f"{plan.TRANSFER}/admin.pem")
    enclosure.run(*reading, "-nocerts", "-out", f"{plan.TRANSFER}/admin.key")
    transfer.chmod(0o700)
    database, password = plan.DATABASE, f"{plan.TRANSFER}/password"
    (transfer / "password").write_text(plan.PASSWORD + "\n", encoding="ascii")
    shutil.rmtree(enclosure.root / database[1:], ignore_errors=True)
    enclosure.run("mkdir", database)
    enclosure.run("certutil", "-N", "-d", database, "-f", password)
    pki = ["pki", "-d", database, "-C", password]
    enclosure.run(*pki, "client-cert-import", "ca_signing", "--ca-cert", f"{plan.TRANSFER}/ca_signing.crt")
    enclosure.run(*pki, "pkcs12-import", "--pkcs12", bundle, "--pkcs12-password", plan.PASSWORD)


def _publish(enclosure: Enclosure) -> None:
    start(enclosure, plan.CA, plan.OCSP)
    identity = ["--cert", f"{plan.TRANSFER}/admin.pem", "--key", f"{plan.TRANSFER}/admin.key"]
    form = "crlIssuingPoint=MasterCRL&waitForUpdate=true&xml=true"
    url = f"https://{plan.HOST}:{plan.CA.https_port}/ca/agent/ca/updateCRL"
    said = enclosure.run("curl", "-s", "--cacert", f"{plan.TRANSFER}/ca_signing.crt", *identity, "-d", form, url)
    if "<crlPublished>Success" not in said:
        raise CommandFailed(f"no CRL was published: {said}")
