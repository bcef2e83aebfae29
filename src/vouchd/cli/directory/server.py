"""`vouchd directory`: a 389 Directory Server of our own on this host; setting one up, and how replication does."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vouchd.ca.authority import CertificateManager
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest
from vouchd.cli import output
from vouchd.cli.options import JsonOption, read_input, read_password, spread
from vouchd.clock import SystemClock
from vouchd.core.hostnames import qualified
from vouchd.directory import server
from vouchd.directory.account import new_password
from vouchd.directory.hosts import addresses, is_loopback_only
from vouchd.directory.nss import TLSIdentity
from vouchd.directory.plan import ServerPlan, read_plan, trust_file
from vouchd.directory.process import ServerProcess
from vouchd.errors import ConfigError, VouchdError
from vouchd.files import read_secret, write_new
from vouchd.sockets import probe

DEFAULT_DIRECTORY = Path("./directory")
MANAGER_PASSWORD = "manager.password"  # noqa: S105  the name of a file in the server's folder
_MAX_PEM = 1 << 20

app = typer.Typer(name="directory", no_args_is_help=True, help="The directory server that an instance keeps facts in.")

DirOption = Annotated[
    Path,
    typer.Option(
        "--dir",
        "-d",
        envvar="VOUCHD_DIRECTORY",
        metavar="DIR",
        help="The directory server's folder.",
        show_default=True,
    ),
]


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """What the server shows for TLS: a certificate that there is, or one of our own CA."""

    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="DIR", help="Have our own CA in DIR certify a new key.")
    ] = None
    cert: Annotated[
        Path | None, typer.Option("--cert", metavar="FILE", help="TLS certificate and those above it, PEM.")
    ] = None
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key, PEM (0600).")] = None
    trust: Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="CAs of the set's servers, PEM.")] = None

    def identity(self, host: str) -> TLSIdentity:
        """The same as it is given to the server. Raises: ConfigError."""
        if self.ca is not None and self.cert is None and self.key is None:
            return _certified(host, self.ca)
        if self.ca is not None or self.cert is None or self.key is None or self.trust is None:
            raise ConfigError(
                "TLS needs a certificate, its key and the CA",
                hint="--cert, --key and --trust; or --ca; or --secure-port 0",
            )
        return TLSIdentity(
            read_input(str(self.cert), _MAX_PEM), read_secret(self.key), read_input(str(self.trust), _MAX_PEM)
        )


@app.command()
@spread
def create(
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="Its name, fully qualified, for other hosts.")],
    suffix: Annotated[str, typer.Option("--suffix", metavar="DN", help="The same for all of a set: o=ocsp.example.")],
    directory: DirOption = DEFAULT_DIRECTORY,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="LDAP and StartTLS; 0: none.")] = 389,
    secure_port: Annotated[int, typer.Option("--secure-port", min=0, max=65535, help="LDAPS; 0: no TLS.")] = 636,
    listen: Annotated[str, typer.Option("--listen", metavar="ADDRESS", help="Listen there only.")] = "",
    *,
    tls: TLSOptions,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="The Directory Manager's; else a new one.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="Run as this account; root's default: dirsrv.")
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="Take less memory, for a lab.")] = False,
    require_tls: Annotated[
        bool, typer.Option("--require-tls/--allow-plain", help="Take no password without TLS, where there is TLS.")
    ] = True,
    start_it: Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")] = True,
    json_output: JsonOption = False,
) -> None:
    """Make a 389 Directory Server in a folder of its own and start it; needs no systemd.

    With TLS: --cert, --key and --trust, or --ca. Without: --secure-port 0.

    Example: vouchd directory create --host ds1.example.com --suffix o=ocsp.example --ca ca
    """
    addresses(qualified(host))  # before a CA issues a certificate in vain
    identity = tls.identity(host) if secure_port else None
    plan = ServerPlan(
        host=host,
        suffix=suffix,
        port=port,
        secure_port=secure_port or None,
        listen=listen,
        user=user,
        small=small,
        require_tls=require_tls and identity is not None,
    )
    own_password = None if password_file is None else read_password(password_file, directory)
    password = own_password or new_password()
    for number in filter(None, (port, secure_port) if start_it else ()):
        probe((listen, number))  # before anything is made in vain
    _make(directory, plan, identity, password, keep=own_password is None, start_it=start_it)
    if is_loopback_only(host):
        output.warn(f"{host} is a loopback address here: other hosts cannot reach it", "mend /etc/hosts or the DNS")
    _show(directory, json_output=json_output)
    words = f"--password-file {password_file or directory / MANAGER_PASSWORD}"
    output.hint(f"prepare it for an instance: vouchd directory setup --dir {directory} {words} --out FILE")


def _make(
    directory: Path, plan: ServerPlan, identity: TLSIdentity | None, password: str, *, keep: bool, start_it: bool
) -> None:
    """Make the server, with the password in its folder where that is to be kept, or leave nothing of it."""
    process = server.create(directory.absolute(), plan, password, identity)
    try:
        if keep:
            write_new(directory / MANAGER_PASSWORD, f"{password}\n".encode(), 0o600)
        if start_it:
            process.start()
    except BaseException:
        with suppress(VouchdError):
            process.stop()
        server.remove(directory.absolute())
        raise


@app.command()
def start(directory: DirOption = DEFAULT_DIRECTORY, json_output: JsonOption = False) -> None:
    """Start a directory server that was made here, and wait until it answers.

    Example: vouchd directory start --dir /var/lib/vouchd/ds
    """
    read_plan(directory)
    ServerProcess(directory).start()
    _show(directory, json_output=json_output)


@app.command()
def run(directory: DirOption = DEFAULT_DIRECTORY) -> None:
    """Run a directory server that was made here in the foreground, as a container or a service manager wants it.

    Example: vouchd directory run --dir /var/lib/vouchd/ds
    """
    read_plan(directory)
    ServerProcess(directory).become()


@app.command()
def stop(directory: DirOption = DEFAULT_DIRECTORY, json_output: JsonOption = False) -> None:
    """Stop a directory server that was made here; instances go on answering.

    Example: vouchd directory stop --dir /var/lib/vouchd/ds
    """
    read_plan(directory)
    if not ServerProcess(directory).stop():
        output.note("it did not run")
    _show(directory, json_output=json_output)


@app.command()
def remove(
    directory: DirOption = DEFAULT_DIRECTORY,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a stopped directory server that was made here, with all of its data.

    Example: vouchd directory remove --dir /var/lib/vouchd/ds --yes
    """
    plan = read_plan(directory)
    if not yes and not typer.confirm(f"remove {directory} with all data of {plan.suffix}?", err=True):
        raise typer.Exit(1)
    server.remove(directory.absolute())
    output.note(f"{directory} is removed")


def shown(directory: Path) -> dict[str, object]:
    """What is shown of a directory server on this host. Raises: NotFound."""
    plan, process = read_plan(directory), ServerProcess(directory)
    pid = process.pid()
    trust = trust_file(directory)
    return {
        "folder": str(directory.absolute()),
        "host": plan.host,
        "suffix": plan.suffix,
        "port": plan.port or None,
        "secure_port": plan.secure_port,
        "process": pid,
        "answers": process.answers() if pid else False,
        "trust": str(trust) if trust.exists() else None,
    }


def _show(directory: Path, *, json_output: bool) -> None:
    output.record(shown(directory), json_output=json_output)


def _certified(host: str, ca: Path) -> TLSIdentity:
    """A new key with a certificate of our CA in `ca`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    with CertificateManager(ca) as manager:
        request = CertificateRequest(name, key.public_key(), ProfileName.SERVER, names=(x509.DNSName(host),))
        record = manager.issue(request, SystemClock().now())
        certificate = x509.load_der_x509_certificate(record.der).public_bytes(Encoding.PEM)
        chain = manager.chain_pem()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return TLSIdentity(certificate + chain, secret, chain)
