"""Directory servers for tests: real 389 Directory Servers made by the product, several with names of their own.

Each stands on a loopback address of its own and listens there alone, below a temporary folder, as the user who runs the
tests. It syncs nothing unless asked to: it is thrown away. Needs 389-ds-base and the lines of scripts/test-hosts.sh.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pki import CA, DAY, NOW, shared_key
from tests.ports import free_port
from tests.scratch import DISK

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.directory import dse, server
from vouchd.directory.connection import Connection, Credentials
from vouchd.directory.nss import TLSIdentity, import_identity
from vouchd.directory.plan import ServerPlan, config_folder, trust_file
from vouchd.directory.process import PROGRAMS, ServerProcess

ROOT_DN = dse.ROOT_DN
PASSWORD = "directory-test"
SUFFIX = "o=ocsp.example"
CRASHES: list[str] = []  # servers that ended by themselves, in words, since somebody looked
# What scripts/test-hosts.sh enters in /etc/hosts.
HOSTS = {f"ds{number}.vouchd.test": f"127.0.0.{number + 1}" for number in (1, 2, 3, 4)}


@cache
def root() -> CA:
    """The CA that issues to all test servers."""
    return CA.create("Directory root", key=shared_key("RSA", 1))


def identity(host: str, ca: CA | None = None) -> TLSIdentity:
    """Key and certificate for one host, issued by `ca`."""
    ca = ca or root()
    name = x509.SubjectAlternativeName([x509.DNSName(host)])
    issued = ca.issue(host, key=shared_key("RSA", 2), not_after=NOW + 3600 * DAY, extensions=((name, False),))
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return TLSIdentity(issued.pem, key, ca.pem)


@cache
def _own_identity(host: str) -> TLSIdentity:
    """What the servers of that host show, one after the other."""
    return identity(host)


@cache
def _database(tls: TLSIdentity, host: str) -> TemporaryDirectory:
    """An NSS database with that identity in `etc`, and its roots: made once, as each of three tools is slow to start."""
    folder = TemporaryDirectory(prefix="nss")
    etc = Path(folder.name, "etc")
    etc.mkdir()
    import_identity(etc, etc.with_name("root.pem"), tls, host)
    return folder


def _import_copy(etc: Path, trust: Path, tls: TLSIdentity, host: str) -> None:
    """As `import_identity`, of what was made before."""
    made = Path(_database(tls, host).name, "etc")
    shutil.copytree(made, etc, dirs_exist_ok=True)
    shutil.copy(made.with_name("root.pem"), trust)
    modules = etc / "pkcs11.txt"  # names its own folder
    modules.write_text(modules.read_text().replace(str(made), str(etc)))


@dataclass
class Directory:
    """One directory server with one suffix, no entry in it; `start` before use, `kill` after it."""

    folder: Path  # a short path: the LDAPI socket below it may have 107 bytes
    suffix: str = SUFFIX
    host: str = "ds1.vouchd.test"
    tls: TLSIdentity | None = None  # with it TLS is on
    durable: bool = False
    port: int = 0
    secure_port: int = 0
    process: ServerProcess = field(init=False)

    def __post_init__(self) -> None:
        address = HOSTS[self.host]
        self.port = self.port or free_port(address)
        self.secure_port = self.secure_port or free_port(address)

    @property
    def url(self) -> str:
        return f"ldap://{self.host}:{self.port}"

    @property
    def secure_url(self) -> str:
        return f"ldaps://{self.host}:{self.secure_port}"

    @property
    def trust(self) -> Path:
        """PEM file of the root that issued to it."""
        return trust_file(self.folder)

    def server(self, transport: Transport = Transport.PLAIN, replica_id: int | None = None) -> DirectoryServer:
        """How it is reached in that transport."""
        port = self.secure_port if transport is Transport.TLS else self.port
        return DirectoryServer(self.host, port, transport, self.suffix, replica_id)

    def create(self) -> None:
        """Make it, not started."""
        _check_surroundings(self.host)
        plan = ServerPlan(
            self.host,
            self.suffix,
            self.port,
            self.secure_port if self.tls else None,
            listen=HOSTS[self.host],
            user=_me(),
            small=True,
            durable=self.durable,
        )
        with patch.object(server, "import_identity", _import_copy):
            self.process = server.create(self.folder, plan, PASSWORD, self.tls)

    def start(self) -> None:
        """Start it, again too, and wait until it answers."""
        self.process.start()

    def admin(self) -> Connection:
        """A connection of the Directory Manager."""
        return Connection(self.server(), Credentials(ROOT_DN, PASSWORD))

    def stop(self) -> None:
        """End it in good order, which takes seconds."""
        self.process.stop()

    def also_trust(self, certificate: Path) -> None:
        """Have it trust the clients of another CA, from its next start on, which is now."""
        self.stop()
        folder = config_folder(self.folder)
        what = ["-n", "another CA", "-t", "CT,,", "-a", "-i", str(certificate)]
        command = ["certutil", "-A", "-d", str(folder), "-f", str(folder / "pwdfile.txt"), *what]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        self.start()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()

    def end(self) -> None:
        """End it where the test is over; if it has crashed before, by a fault of its own, that is kept in `CRASHES`."""
        child = self.process._child
        if child is not None and (child.poll() or 0) < 0:
            CRASHES.append(f"the directory server of {self.host} crashed: {signal.Signals(-child.returncode).name}")
        self.process.kill()


@contextmanager
def directories(
    *hosts: str, tls: bool = True, suffix: str = SUFFIX, durable: bool = False, places: Mapping[str, Path] | None = None
) -> Iterator[list[Directory]]:
    """Running directory servers, one for each host name, empty; gone afterwards. `places`: folders to make them in."""
    with ExitStack() as stack:
        servers = []
        for host in hosts or ("ds1.vouchd.test",):
            folder = (
                Path(stack.enter_context(TemporaryDirectory(prefix="ds", dir=(places or {}).get(host, DISK)))) / "d"
            )
            made = Directory(folder, suffix, host, _own_identity(host) if tls else None, durable)
            made.create()
            stack.callback(made.end)
            made.start()
            servers.append(made)
        yield servers


def _me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _check_surroundings(host: str) -> None:
    assert any(program.exists() for program in PROGRAMS), (
        "these tests drive real directory servers: apt-get install 389-ds-base libnss3-tools"
    )
    try:
        address = socket.gethostbyname(host)
    except OSError:
        address = "nothing"
    assert address == HOSTS[host], (
        f"{host} should be {HOSTS[host]} here, but is {address}: run scripts/test-hosts.sh as root"
    )
