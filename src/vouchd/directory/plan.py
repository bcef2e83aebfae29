"""What a directory server on this host is made like, kept in its folder: where it listens, for what, as whom."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from vouchd.core.facts import DirectoryServer, Transport
from vouchd.errors import ConfigError, LifecycleError, NotFound
from vouchd.files import PUBLIC, read_file, write_new

PLAN_FILE = "vouchd-directory.json"
_SOCKET_MAX = 107  # sun_path of Linux, less its final NUL
_SUFFIX = re.compile(
    r"(o|ou|dc)=[^,+=\"\\<>;#\x00-\x1f ][^,+=\"\\<>;\x00-\x1f]*(,\s*(o|ou|dc|c|l|st)=[^,+=\"\\<>;\x00-\x1f]+)*"
)


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One 389 Directory Server in a folder of its own; `user` None means whoever makes it.

    `small` takes a third of the memory, for labs; `durable` False loses the last changes in a crash, for tests alone.
    """

    host: str  # fully qualified
    suffix: str
    port: int = 389  # 0: no plain port
    secure_port: int | None = None  # None: no TLS
    listen: str = ""  # address to listen on; empty: all
    user: str | None = None
    small: bool = False
    durable: bool = True
    require_tls: bool = False  # refuse to take a password over a connection without TLS

    def __post_init__(self) -> None:
        """Raises: ConfigError."""
        check_suffix(self.suffix)
        for port in (self.port, self.secure_port):
            if port is not None and not 0 <= port <= 65535:
                raise ConfigError(f"{port} is not a port", hint="0 to 65535")
        if not self.port and not self.secure_port:
            raise ConfigError("the directory server would listen on no port", hint="give --port or --secure-port")
        if self.require_tls and self.secure_port is None:
            raise ConfigError("passwords over TLS only, but the server has no TLS", hint="give it a certificate")

    def server(self, transport: Transport) -> DirectoryServer:
        """How an instance reaches it in that transport. Raises: ConfigError when it does not listen for that."""
        port = self.secure_port if transport is Transport.TLS else self.port
        if not port or (transport is not Transport.PLAIN and self.secure_port is None):
            raise ConfigError(f"{self.host}: the directory server does not speak {transport}")
        return DirectoryServer(self.host, port, transport, self.suffix)

    def save(self, folder: Path) -> None:
        """Write it into the folder that it describes. Raises: LifecycleError."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        write_new(folder / PLAN_FILE, text.encode(), PUBLIC, error=LifecycleError)


def read_plan(folder: Path) -> ServerPlan:
    """The plan of the server in `folder`. Raises: NotFound when none was made there; ConfigError."""
    path = folder / PLAN_FILE
    try:
        return ServerPlan(**json.loads(read_file(path, error=ConfigError)))
    except FileNotFoundError:
        raise NotFound(f"{folder}: no directory server was made here", hint="vouchd directory create") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: not the plan of a directory server") from error


def check_suffix(suffix: str) -> None:
    """Raises: ConfigError unless `suffix` is a plain DN that begins with o, ou or dc."""
    if len(suffix) > 256 or not _SUFFIX.fullmatch(suffix):
        raise ConfigError(f"{suffix[:80]!r} is not a suffix", hint="such as o=ocsp.example or dc=ocsp,dc=example")


def check_folder(folder: Path) -> None:
    """Raises: ConfigError when the path is too long for the socket below it."""
    if len(str(socket_path(folder)).encode()) > _SOCKET_MAX:
        raise ConfigError(f"{folder}: too long a path for the server's socket", hint="choose a shorter folder")


def socket_path(folder: Path) -> Path:
    """Where the server listens for its own host (LDAPI)."""
    return folder / "ldapi.sock"


def config_folder(folder: Path) -> Path:
    """The server's configuration. The last name is the server's own on this host: it names a semaphore after it."""
    mark = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    return folder.absolute() / "etc" / f"slapd-{mark}"


def trust_file(folder: Path) -> Path:
    """PEM of the CAs that the server trusts, its own among them; there when it has TLS."""
    return folder.absolute() / "etc/root.pem"
