"""What the demos have in common: commands shown as they are typed, and two members shown side by side."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding
from rich import box
from rich.console import Console
from rich.table import Column, Table

from vouchd.client import inquiry
from vouchd.client.transport import Connection
from vouchd.signing.certificates import read_certificates

MARKER = ".vouchd-demo"
console = Console(highlight=False)

_LISTED = {"CA": "ca", "CRL number": "crl_number", "this update": "this_update", "entries": "entries"}


class DemoError(Exception):
    """A step that did not do what it should."""


class Commands:
    """Runs commands in the demo's folder, so that their defaults ./ca and ./vouchd hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vouchd_command = [sys.executable, "-m", "vouchd.cli.main"]

    def run(self, command: Sequence[str], shown: str, *, codes: Sequence[int] = (0,)) -> str:
        """Run a command, show how it is typed (when there is something to show); its standard output."""
        if shown:
            console.print(f"[bold cyan]$[/] {shown}", soft_wrap=True)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode not in codes:
            problem = f"exit code {done.returncode}\n{done.stderr or done.stdout}".rstrip()
            raise DemoError(f"{shown or shlex.join(command)}: {problem}")
        return done.stdout

    def vouchd(self, *arguments: str, show: bool = True) -> str:
        """Run `vouchd`."""
        return self.run([*self.vouchd_command, *arguments], shlex.join(["vouchd", *arguments]) if show else "")


class Pair:
    """A master and its clone: their folders below the demo's, and the URLs they answer at, by name."""

    def __init__(self, commands: Commands, urls: Mapping[str, str]) -> None:
        self.commands = commands
        self.urls = urls

    def clone(self, host: str, options: Sequence[str], master_host: str) -> None:
        """Make the clone of the running master, as an administrator does."""
        master, clone = self.urls
        folder, run = self.commands.folder, self.commands.vouchd
        (folder / "keys.password").write_text("the password of the keys\n")
        (folder / "keys.password").chmod(0o600)
        files = ("--password-file", "keys.password")
        prepared = json.loads(
            run(
                *("clone", "prepare", "--instance", master, "--host", master_host),
                *("--out", "keys.p12", *files, "--token-out", "token", "--json"),
            )
        )
        run(
            *(
                "clone",
                "create",
                "--instance",
                clone,
                "--master",
                prepared["master"],
                "--fingerprint",
                prepared["fingerprint"],
            ),
            *("--token-file", "token", "--pkcs12", "keys.p12", *files, "--host", host, "--ca", "ca", *options),
        )

    def lists(self) -> dict[str, list[dict[str, object]]]:
        """The CRLs that each lists."""
        return {
            name: json.loads(self.commands.vouchd("crl", "list", "--instance", name, "--json", show=False))
            for name in self.urls
        }

    def answers(self, certificate: str) -> dict[str, tuple[str, str]]:
        """What each says of a certificate, and the SHA-256 of the whole answer."""
        folder = self.commands.folder
        issuer = read_certificates(folder / "ca" / "ca.crt")[0].public_bytes(Encoding.DER)
        leaf = read_certificates(folder / certificate)[0].public_bytes(Encoding.DER)
        question = inquiry.question(issuer, [inquiry.serial_of(leaf, issuer)])
        answers = {}
        for name, url in self.urls.items():
            with Connection(url) as connection:
                reply = inquiry.send(connection, question)
            status = reply.response.basic.singles[0].status if reply.response.basic else reply.response.status.name
            answers[name] = (status, hashlib.sha256(reply.exchange.body).hexdigest())
        return answers

    def show(self, certificates: Sequence[str]) -> bool:
        """Both lists and both answers side by side; whether they are the same."""
        lists = self.lists()
        table = Table(Column("what"), *self.urls, box=box.SIMPLE, pad_edge=False)
        first = next(iter(lists.values()))
        for number in range(len(first)):
            for words, field in _LISTED.items():
                table.add_row(words, *(str(listed[number][field]) for listed in lists.values()))
        same = all(listed == first for listed in lists.values())
        for certificate in certificates:
            answers = self.answers(certificate)
            table.add_row(Path(certificate).name.split(".")[0], *(status for status, _ in answers.values()))
            table.add_row("  SHA-256 of the answer", *(f"{digest[:24]}…" for _, digest in answers.values()))
            same = same and len(set(answers.values())) == 1
        console.print(table)
        console.print("  [green]the same, byte for byte[/]" if same else "  [bold red]different[/]")
        return same


def heading(text: str) -> None:
    """A line between the steps."""
    console.print(f"\n[bold]{text}[/]")


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """TCP ports of a loopback address that nobody listens on now, below those that outgoing connections are given."""
    free: list[int] = []
    for port in random.sample(range(10_000, 32_000), 100 * count):
        if len(free) < count:
            with socket.socket() as probe, suppress(OSError):
                probe.bind((address, port))
                free.append(port)
    return free


class Demo(Protocol):
    """What a demo can be told."""

    def stop(self) -> None:
        """Stop everything that was made."""


D = TypeVar("D", bound=Demo)
D_contra = TypeVar("D_contra", bound=Demo, contravariant=True)


class Show(Protocol[D_contra]):
    """Shows everything; whether all was as expected."""

    def __call__(self, demo: D_contra, *, once: bool) -> bool:
        """`once`: it ends after this."""


def run_demo(about: str, name: str, make: Callable[[Path], D], show: Show[D]) -> int:
    """The command line of a demo: a fresh folder, what it shows, serving until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(description=about.split("\n", maxsplit=1)[0])
    parser.add_argument("--once", action="store_true", default=os.environ.get("ONCE", "") in {"1", "yes", "true"})
    parser.add_argument("--folder", type=Path, default=Path(name), help=f"default: ./{name}")
    arguments = parser.parse_args()
    demo = None
    try:
        demo = make(_fresh_folder(arguments.folder.absolute(), make))
        as_expected = show(demo, once=arguments.once)
        if not arguments.once:
            _serve_until_interrupted()
    except DemoError as error:
        console.print(f"[bold red]demo:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if demo is not None:
            demo.stop()
    if not as_expected:
        console.print("[bold red]demo: an answer is not the expected one[/]")
    return 0 if as_expected else 1


def _fresh_folder(folder: Path, make: Callable[[Path], Demo]) -> Path:
    """An empty folder with the demo's mark; an older demo in it is stopped and removed, anything else is refused."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise DemoError(
                f"{folder} is there and was not made by the demo: move it away, or name another with --folder"
            )
        make(folder).stop()
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("made by the demo, which removes this folder when it runs again\n")
    return folder


def _serve_until_interrupted() -> None:
    """Return at Ctrl-C or SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    console.print("\n[bold]Serving. Ctrl-C ends it.[/]")
    over.wait()
