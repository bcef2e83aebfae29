"""Those that alerts are carried to, as real servers on loopback: mail, HTTP, UDP, TCP, a socket of syslog's."""

from __future__ import annotations

import asyncio
import queue
import socket
import socketserver
import ssl
import threading
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pki import CA

DEADLINE_SECONDS = 60
HOST = "localhost"


def tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server of that name on loopback speaks TLS with, and the file of who certified it."""
    ca = CA.create("Mail CA")
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = ca.issue(HOST, extensions=((names, False),))
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(key + leaf.pem)
    (folder / "roots.pem").write_bytes(ca.pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return context, folder / "roots.pem"


class Mailbox:
    """A mail server; `letters` are what came, and whether it came within TLS."""

    def __init__(self) -> None:
        self.letters: queue.SimpleQueue = queue.SimpleQueue()
        self.refused: set[str] = set()
        self.broken = False
        self.port = 0

    async def handle_RCPT(self, _server, _session, envelope, address, _options) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, _session, envelope) -> str:
        if self.broken:
            return "451 try again later"
        letter = message_from_bytes(envelope.content, policy=policy.default)
        self.letters.put((letter, server.transport.get_extra_info("ssl_object") is not None))
        return "250 OK"


@contextmanager
def mail_server(context: ssl.SSLContext | None, *, at_once: bool = False, login: bool = False):
    """A mail server, with StartTLS or TLS at once; yields its port and its mailbox."""
    box = Mailbox()

    def authenticate(server, session, envelope, mechanism, data) -> AuthResult:
        known = (data.login, data.password) == (b"pki", b"correct horse")
        return AuthResult(success=known, handled=False, auth_data=data.login.decode())

    options = {"authenticator": authenticate, "auth_required": login, "auth_require_tls": login and not at_once}
    if context and not at_once:
        options |= {"tls_context": context, "require_starttls": True}
    loop, listening = asyncio.new_event_loop(), threading.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        made = loop.create_server(
            lambda: SMTP(box, hostname="mx.example", loop=loop, **options),
            "127.0.0.1",
            0,
            ssl=context if at_once else None,
        )
        box.port = loop.run_until_complete(made).sockets[0].getsockname()[1]
        listening.set()
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert listening.wait(DEADLINE_SECONDS)
    try:
        yield box.port, box
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_SECONDS)


@contextmanager
def web_server(context: ssl.SSLContext | None = None, status: int = 204):
    """A receiver of webhooks; yields its port and a queue of (path, headers, body). `status` is its answer."""
    requests: queue.SimpleQueue = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.put((self.path, dict(self.headers), body))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with _served(server):
        yield server.server_address[1], requests


@contextmanager
def stream_server(context: ssl.SSLContext | None = None):
    """A TCP server; yields its port and a queue of all that each connection brought."""
    messages: queue.SimpleQueue = queue.SimpleQueue()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            messages.put(self.rfile.read())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with _served(server):
        yield server.server_address[1], messages


@contextmanager
def _served(server: socketserver.BaseServer):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE_SECONDS)


@contextmanager
def datagrams(address: tuple[str, int] | str = ("127.0.0.1", 0)):
    """A socket that datagrams come to; yields where, and what takes the next one."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(DEADLINE_SECONDS)
        yield channel.getsockname(), lambda: channel.recv(65536)


def nobody() -> int:
    """A port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
