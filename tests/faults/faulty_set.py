"""A master and a clone as processes, what a test breaks of them and how it is mended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.x509 import ocsp
from tests.http.running import eventually
from tests.whole.clones import CloneSet

from vouchd.instance import cs_cfg
from vouchd.instance.locking import ingest_lock
from vouchd.ops.pidfile import running_pid
from vouchd.signing.files import replace_file

M, C = ("m", "small/c")
MIB = 1 << 20


class FaultySet:
    """Master and clone, the clone on a small file system of its own; whatever a test breaks it also mends."""

    def __init__(self, site: CloneSet) -> None:
        self.site = site
        self.number = 0

    def issue(self) -> str:
        """A new certificate of the CA."""
        self.number += 1
        name = f"leaf{self.number}"
        issue = ["ca", "issue", "--ca", "lab", "--subject", f"CN={name}", "--name", f"DNS:{name}.example"]
        self.site.run(*issue, "--out", f"{name}.crt")
        return name

    def revoke(self, to: str) -> str:
        """A new certificate is revoked and the CRL given to that member."""
        name = self.issue()
        self.site.revoke(name)
        self.publish(to)
        return name

    def publish(self, to: str, code: int | None = 0) -> subprocess.CompletedProcess:
        """A new CRL is given to that member alone."""
        self.site.run("ca", "crl", "--ca", "lab", "--out", "new.crl")
        return self.site.done("crl", "add", "new.crl", "--instance", to, code=code)

    def check(self, member: str, name: str) -> dict:
        """One check of /readyz."""
        address = f"http://127.0.0.1:{self.site.ports[member][2]}/readyz"
        try:
            with urllib.request.urlopen(address, timeout=30) as response:
                found = json.load(response)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        return next(one for one in found["checks"] if one["name"] == name)

    def until(self, member: str, name: str, words: str) -> None:
        """Wait until a check of /readyz of that member fails with these words."""

        def told() -> bool:
            check = self.check(member, name)
            return not check["ok"] and words in check["detail"]

        eventually(told, lambda: f"{name} of {member} tells {words!r}: {self.check(member, name)}")

    def until_sound(self, member: str) -> None:
        """Wait until nothing is wrong with the set, as that member sees it."""
        for name in ("members", "behind", "upkeep"):
            eventually(lambda name=name: self.check(member, name)["ok"], lambda name=name: self.check(member, name))

    def metrics(self, member: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.site.ports[member][2]}/metrics", timeout=30) as response:
            return response.read().decode()

    def same(self, name: str) -> None:
        """Both answer alike, to the last byte that is signed."""
        assert self.site.said(C, name) == self.site.said(M, name)

    def tries_later(self, member: str, name: str) -> bool:
        return self.site.answer(member, name).response_status is ocsp.OCSPResponseStatus.TRY_LATER

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
    def held(self, member: str) -> Iterator[None]:
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
        filler = self.site.folder / Path(member).parent / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue
        try:
            yield
        finally:
            filler.unlink()

    def set(self, member: str, **values: object) -> None:
        """Change lines of its CS.cfg, `a__b` for a.b; it is restarted."""
        path = self.site.layout(member).cs_cfg
        texts = {f"vouchd.clone.{name}": str(value) for name, value in values.items()}
        replace_file(path, cs_cfg.read(path).with_values(texts).render().encode(), 0o600)
        self.site.run("restart", "--instance", member)


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


def newest_crl(site: CloneSet) -> bytes:
    """The CRL that the master has now."""
    from vouchd import wiring

    with wiring.services(site.layout(M)) as services:
        (epoch,) = services.store.epochs()
        return b"".join(services.store.document_chunks(epoch.base.sha256))
