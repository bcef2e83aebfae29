"""Debian's `openssl ocsp`, the responder that everyone has: one process, one connection after the other.

It listens on all addresses and can do nothing else, so it gets a network of its own in which there is only loopback.
A connection that ends before it has asked holds it for good (3.0.19 looks at its index again and again, and at nothing
else), as some of a load's do at its end: so it begins anew before each.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.peers.peer import Serving, Site, Unavailable
from bench.peers.running import running

PORT = 8080  # of that network
_ALONE = ("unshare", "--map-root-user", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity")


class OpenSSL:
    """Signs each answer anew; reads the index of the whole CA when it starts."""

    name = "openssl ocsp"
    keys = ("EC",)

    @contextmanager
    def serving(self, site: Site) -> Iterator[Serving]:
        """It, over an index of what the CA has issued and revoked."""
        try:
            version = subprocess.run(["openssl", "version"], check=True, capture_output=True, text=True).stdout
        except OSError as error:
            raise Unavailable("there is no openssl here") from error
        command = [
            "openssl",
            "ocsp",
            "-port",
            str(PORT),
            "-index",
            str(index(site)),
            "-CA",
            str(site.folder / "ca.pem"),
        ]
        command += [
            "-rsigner",
            str(site.folder / "signer.pem"),
            "-rkey",
            str(site.folder / "signer.key"),
            "-ndays",
            "1",
        ]
        with _network() as network, ExitStack() as process:
            pids: list[int] = []

            def begin_anew() -> float:
                process.close()
                begin = time.monotonic()
                pids[:] = [process.enter_context(running([*network, *command], site.folder))]
                return serving.seconds_until_revoked(site, begin)

            serving = Serving(version.split()[1], PORT, lambda: pids, inside=network, refresh=begin_anew)
            yield serving.listed(begin_anew(), "its start, over the index of all")


@contextmanager
def _network() -> Iterator[tuple[str, ...]]:
    """The command that runs another one in a network of nothing but loopback.

    Raises:
        Unavailable: this is not allowed here.
    """
    with subprocess.Popen(_ALONE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        try:
            said = first.stdout.readline().strip()
            if said != "ready":
                raise Unavailable(f"it cannot be kept to loopback: {said}")
            yield "nsenter", "--user", "--net", "--preserve-credentials", f"--target={first.pid}"
        finally:
            first.terminate()


def index(site: Site) -> Path:
    """Its text file: a line for each certificate."""
    file = site.folder / "index.txt"
    file.with_suffix(".txt.attr").write_text("unique_subject = no\n")
    lines = [f"V\t400101000000Z\t\t{_hex(serial)}\tunknown\t/CN=issued\n" for serial in site.issued]
    for entry in site.revoked:
        day = f"{entry.revocation_date_utc:%y%m%d%H%M%SZ}"
        lines.append(f"R\t400101000000Z\t{day}\t{_hex(entry.serial_number)}\tunknown\t/CN=revoked\n")
    file.write_text("".join(lines))
    return file


def _hex(serial: int) -> str:
    """As the index has it: octets, in capitals."""
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)
