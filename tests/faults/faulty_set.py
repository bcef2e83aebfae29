"""A master and a clone as processes, what a test breaks of them and how it is mended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.faults.promises import Promises
from tests.pki import name as named
from tests.pki import shared_key
from tests.processes.running import eventually
from tests.whole.clones import CloneSet

from vouchd.ca.authority import CertificateManager
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest
from vouchd.cli.main import main
from vouchd.clock import SystemClock
from vouchd.instance.locking import ingest_lock
from vouchd.instance.pidfile import running_pid
from vouchd.pkix.certs import serial_octets
from vouchd.pkix.reasons import Reason

M, C = ("m", "small/c")
MIB = 1 << 20


class FaultySet:
    """Master and clone, the clone on a small file system of its own; whatever a test breaks it also mends."""

    def __init__(self, site: CloneSet) -> None:
        self.site = site
        self.number = 0
        self.promises = Promises(site)

    def issue(self) -> str:
        """A new certificate of the CA, which is known by the name of its file."""
        self.number += 1
        name = f"leaf{self.number}"
        host = x509.DNSName(f"{name}.example")
        request = CertificateRequest(named(name), shared_key().public_key(), ProfileName.SERVER, (host,))
        with self._ca() as manager:
            made = manager.issue(request, SystemClock().now())
        pem = x509.load_der_x509_certificate(made.der).public_bytes(Encoding.PEM)
        (self.site.folder / f"{name}.crt").write_bytes(pem)
        return name

    def issue_revoked(self) -> str:
        """A new certificate that the CA has revoked; no CRL says so yet."""
        name = self.issue()
        serial = x509.load_pem_x509_certificate((self.site.folder / f"{name}.crt").read_bytes())
        with self._ca() as manager:
            manager.revoke(serial_octets(serial), SystemClock().now(), Reason.KEY_COMPROMISE)
        return name

    def crl(self) -> str:
        """A new CRL of the CA, given to nobody: the name of its file."""
        with self._ca() as manager:
            made = manager.make_crl(SystemClock().now())
        (self.site.folder / f"{made.number}.crl").write_bytes(made.der)
        return f"{made.number}.crl"

    def _ca(self) -> CertificateManager:
        return CertificateManager(self.site.folder / "lab")

    def give(self, to: str, crl: str, code: int = 0) -> str:
        """That CRL is given to that member alone, by the command with that exit code; what it tells."""
        folder, output = self.site.folder, StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            ended = main(["crl", "add", str(folder / crl), "--instance", str(folder / to)])
        assert ended == code, output.getvalue()
        return output.getvalue()

    def publish(self, to: str, code: int = 0) -> str:
        """A new CRL is given to that member alone."""
        return self.give(to, self.crl(), code)

    def revoke(self, to: str) -> str:
        """A new certificate is revoked and the CRL given to that member, which acknowledges it."""
        name = self.issue_revoked()
        self.publish(to)
        self.promises.made(to, name)
        return name

    def check(self, member: str, name: str) -> dict:
        """One check of /readyz."""
        address = f"http://127.0.0.1:{self.site.ports[member][2]}/readyz"
        try:
            with urllib.request.urlopen(address, timeout=30) as response:
                readiness = json.load(response)
        except urllib.error.HTTPError as error:
            readiness = json.load(error)
        return next(one for one in readiness["checks"] if one["name"] == name)

    def until(self, member: str, name: str, words: str) -> None:
        """Wait until a check of /readyz of that member fails with these words."""

        def failing() -> bool:
            check = self.check(member, name)
            return not check["ok"] and words in check["detail"]

        eventually(failing, lambda: f"{name} of {member} tells {words!r}: {self.check(member, name)}")

    def until_sound(self, member: str) -> None:
        """Wait until nothing is wrong with the set, as that member sees it."""
        for name in ("members", "behind", "store", "upkeep"):
            eventually(lambda name=name: self.check(member, name)["ok"], lambda name=name: self.check(member, name))

    def metrics(self, member: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.site.ports[member][2]}/metrics", timeout=30) as response:
            return response.read().decode()

    def same(self, name: str) -> None:
        """Both answer alike, to the last byte that is signed."""
        assert self.site.said(C, name) == self.site.said(M, name)

    def tries_later(self, member: str, name: str) -> bool:
        return self.site.answer(member, name).response_status is ocsp.OCSPResponseStatus.TRY_LATER

    def until_revoked(self, member: str, name: str) -> None:
        """Wait until the member answers again: that the certificate is revoked, and nothing else before."""
        eventually(lambda: not self.tries_later(member, name), f"{member} answers again")
        assert self.site.says(member, name) == "revoked"

    def require_stale(self, member: str) -> str:
        """Revoke by a CRL that the member cannot have: it says so and answers tryLater, restarted too; whom it revokes."""
        name = self.revoke(M)
        assert self.site.says(M, name) == "revoked"
        assert self.seen_until_later(member, "bad") <= {"revoked"}
        self.until(member, "behind", "newer CRL")
        assert re.search(r'vouchd_behind\{ca="[^"]*"\} 1', self.metrics(member))
        self.site.run("restart", "--instance", member)
        assert self.tries_later(member, name)
        return name

    def seen_until_later(self, member: str, name: str) -> set[str]:
        """What the member says of a certificate until it answers tryLater."""
        seen: set[str] = set()

        def later() -> bool:
            answer = self.site.answer(member, name)
            if answer.response_status is ocsp.OCSPResponseStatus.TRY_LATER:
                return True
            seen.add(answer.certificate_status.name.lower())
            return False

        eventually(later, f"{member} answers tryLater")
        return seen

    @contextmanager
    def stopped(self, member: str) -> Iterator[None]:
        """The manager process of a member is frozen: connections are taken by the kernel and nothing answers."""
        pid = running_pid(self.site.layout(member).pid_file)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def locked(self, member: str) -> Iterator[None]:
        """Nothing can be taken in at a member: something holds its lock."""
        with ingest_lock(self.site.layout(member).ingest_lock):
            yield

    @contextmanager
    def full(self, member: str) -> Iterator[None]:
        """The file system of a member has no room left; without the right to mount one, its index cannot be written."""
        if os.geteuid():
            index = self.site.layout(member).index
            index.chmod(0o500)
            try:
                yield
            finally:
                index.chmod(0o700)
            return
        with filled(self.site.folder / Path(member).parent):
            yield


@contextmanager
def small_file_system(folder: Path) -> Iterator[None]:
    """A file system of 64 MiB at `folder`, which is made; without the right to mount one, the folder alone."""
    folder.mkdir()
    if os.geteuid():
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "vouchd-test", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """The file system of that folder has no room left, nor what becomes free meanwhile, as when a file is replaced."""
    filler, over = folder / "filler", threading.Event()

    def fill(file: BinaryIO) -> None:
        for size in (MIB, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)

    def keep_full(file: BinaryIO) -> None:
        while not over.wait(0.005):
            fill(file)

    with filler.open("wb", buffering=0) as file:
        fill(file)
        keeper = threading.Thread(target=keep_full, args=(file,), name="filler")
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            filler.unlink()


def newest_crl(site: CloneSet) -> bytes:
    """The CRL that the master has now."""
    from vouchd.wiring import services as wiring

    with wiring.services(site.layout(M)) as services:
        (epoch,) = services.store.epochs()
        return b"".join(services.store.document_chunks(epoch.base.sha256))
