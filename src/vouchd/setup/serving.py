"""The port of the wizard: TLS with a certificate of its own; connections and bounds are those of the agent port."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import signal
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from vouchd.agent.admission import Admission
from vouchd.agent.server import AgentServer
from vouchd.audit.traffic import SessionRecords
from vouchd.clock import SystemClock
from vouchd.core.facts import Caller
from vouchd.errors import ConfigError
from vouchd.files import PRIVATE, PUBLIC, read_file, replace_file
from vouchd.instance.certificates.issuing import general_name
from vouchd.instance.certificates.tls import AgentTLS
from vouchd.instance.unconfigured import keep_pin
from vouchd.service.permission import Permission
from vouchd.settings.layout import Layout
from vouchd.settings.tcp_ports import AgentPort, KeyFiles
from vouchd.setup.carrying_out import Tools
from vouchd.setup.door import Door, new_pin
from vouchd.setup.pages import LOGIN, WizardPages
from vouchd.setup.wizard import Wizard
from vouchd.sockets import bind, bound_address

DEFAULT_PORT = 11445  # the administration port of an OCSP manager in the documented system
_LIFE_DAYS = 30
_GRACE_SECONDS = 5.0
_CLOSING_SECONDS = 1.0
_READING_SECONDS = 900.0
_log = logging.getLogger(__name__)


class Place(Struct, frozen=True):
    """Where the wizard listens, and the names in its certificate, the first of which its URL has."""

    host: str
    port: int
    names: tuple[str, ...]


class OpenWizard(Struct, frozen=True):
    """A wizard that is open: its process, the URL with the PIN, SHA-256 of its certificate."""

    process: int
    url: str
    fingerprint: str


def keep_place(layout: Layout, place: Place) -> None:
    """Have the wizard listen there from its next start on; its certificate is made anew."""
    replace_file(layout.setup / "place.json", msgspec.json.encode(place), PRIVATE)
    for suffix in ("key", "pem"):
        (layout.setup / f"wizard.{suffix}").unlink(missing_ok=True)


def kept_place(layout: Layout) -> Place:
    """Where the wizard listens. Raises: ConfigError."""
    path = layout.setup / "place.json"
    try:
        return msgspec.json.decode(read_file(path), type=Place)
    except (FileNotFoundError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"{path}: where the wizard listens is not known", hint="vouchd create --unconfigured there says it"
        ) from error


def open_wizard(layout: Layout) -> OpenWizard | None:
    """What an open wizard has said of itself."""
    try:
        return msgspec.json.decode(read_file(layout.setup / "wizard.json"), type=OpenWizard)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


class _Log:
    """An AuditSink for while there is no audit log: acts of the set-up are recorded by the operations that do them."""

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        """See AuditSink."""
        _log.info("%s %s by %s: %s", event, outcome, caller.origin, detail)


class ServiceManager(Protocol):
    """Whoever runs this process and wants to be told: see processes.supervisor."""

    watchdog_seconds: float

    def ready(self, status: str) -> None:
        """The wizard is open."""

    def alive(self) -> None:
        """The event loop turns."""


def serve(layout: Layout, tools: Tools, manager: ServiceManager) -> bool:
    """Serve the wizard until it is left, closed or told to stop; whether the instance is set up.

    When it is, what came of it can be read for a while; then it ends by itself.
    Raises: LifecycleError when it cannot listen; ConfigError.
    """
    return asyncio.run(_serve(layout, tools, manager))


async def _serve(layout: Layout, tools: Tools, manager: ServiceManager) -> bool:
    place, over = kept_place(layout), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    wizard = Wizard(layout, tools, ended=lambda: _later(loop, _READING_SECONDS, over))
    pin = new_pin()
    # Who brought the last wrong PIN is told so before.
    door = Door(pin, lambda: _later(loop, _CLOSING_SECONDS, over))
    pages = WizardPages(wizard, door, over.set)
    listener = bind((place.host, place.port))
    try:
        server = wizard_server(layout, place, listener, pages, door)
        await server.start(listener)
        _announce(layout, place, listener, pin)
        manager.ready("not set up yet: the set-up wizard is open")
        while not over.is_set():
            if manager.watchdog_seconds:
                manager.alive()
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), manager.watchdog_seconds or None)
        await server.stop(_GRACE_SECONDS)
    finally:
        listener.close()
        if layout.setup.is_dir():
            (layout.setup / "wizard.json").unlink(missing_ok=True)
            keep_pin(layout, "")
    return wizard.progress.outcome is not None


def _later(loop: asyncio.AbstractEventLoop, seconds: float, over: asyncio.Event) -> None:
    loop.call_later(seconds, over.set)


def wizard_server(layout: Layout, place: Place, listener: socket.socket, pages: WizardPages, door: Door) -> AgentServer:
    """The port, to be started on `listener`; its certificate is made when there is none. Raises: SigningError."""
    files = KeyFiles(layout.setup / "wizard.key", layout.setup / "wizard.pem")
    if not files.certificate_file.exists():
        _certify(files, place.names)
    host, port = bound_address(listener)
    agent = AgentPort(tls=files, host=host, port=port)
    tls = AgentTLS(agent, None, ())
    tls.context.verify_mode = ssl.CERT_NONE  # nobody has a certificate yet, so no browser is to ask for one
    admission = Admission(door, Permission(_Log()), agent.body_seconds, agent.header_seconds)
    return AgentServer(agent, tls, tuple, admission, pages.routes(), SessionRecords(SystemClock(), lambda one: one))


def _announce(layout: Layout, place: Place, listener: socket.socket, pin: str) -> None:
    """Say where the wizard is, to whoever waits for it, and in CS.cfg its PIN."""
    keep_pin(layout, pin)
    name, port = place.names[0], bound_address(listener)[1]
    certificate = x509.load_pem_x509_certificate(read_file(layout.setup / "wizard.pem"))
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    shown = f"[{name}]" if ":" in name else name
    about = OpenWizard(os.getpid(), f"https://{shown}:{port}{LOGIN}?pin={pin}", fingerprint)
    replace_file(layout.setup / "wizard.json", msgspec.json.encode(about), PRIVATE)


def _certify(files: KeyFiles, names: Sequence[str]) -> None:
    """A new key, and its certificate by itself, known by its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = dt.datetime.fromtimestamp(SystemClock().now(), dt.UTC)
    first, last = now - dt.timedelta(hours=1), now + dt.timedelta(days=_LIFE_DAYS)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), first, last)
        .add_extension(x509.SubjectAlternativeName([general_name(one) for one in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    replace_file(files.key_file, secret, PRIVATE)
    replace_file(files.certificate_file, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), PUBLIC)
