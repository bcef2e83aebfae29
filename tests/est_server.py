"""A small EST server (RFC 7030) for tests: simple enrolment and re-enrolment over TLS, by certificate or HTTP basic.

No EST server can be had from the package registries, so this one is the tests' own; it takes the wire format apart and
puts it together with the library's PKCS #7 and `openssl req`, not with anything of ours.
"""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from tests.pki import CA, DAY, Issued


class _Public:
    """What `CA.issue` wants of a key, when only the public one is known."""

    def __init__(self, key) -> None:
        self._key = key

    def public_key(self):
        return self._key


def certify(ca: CA, csr_pem: bytes, now: int, days: int = 60) -> Issued:
    """The certificate for a request, with the extensions that it wants."""
    subprocess.run(["openssl", "req", "-verify", "-noout"], input=csr_pem, check=True, capture_output=True)
    csr = x509.load_pem_x509_csr(csr_pem)
    return ca.issue(
        csr.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)[0].value,
        key=_Public(csr.public_key()),
        not_before=now - DAY,
        not_after=now + days * DAY,
        extensions=tuple((one.value, one.critical) for one in csr.extensions),
    )


@dataclass
class ESTServer:
    """Certifies what it is asked for by `ca`, from `now` on; `delays` of 202 come before the first certificate."""

    folder: Path
    ca: CA
    now: int
    basic: str = ""  # user:password; empty: a client certificate of `clients` is wanted
    clients: Path | None = None
    delays: int = 0
    days: int = 60
    operations: list[str] = field(default_factory=list)
    is_open: threading.Event = field(default_factory=threading.Event)  # while it is not, answers wait

    def __enter__(self) -> Self:
        server = self
        self.is_open.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = self._own()
        context.load_cert_chain(certificate, key)
        if self.clients:
            context.load_verify_locations(self.clients)
            context.verify_mode = ssl.CERT_OPTIONAL
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._http.server_port}/.well-known/est"

    @property
    def trust(self) -> Path:
        return self.folder / "est.pem"

    def _own(self) -> tuple[Path, Path]:
        key = self.folder / "est.key"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", self.trust]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
        subprocess.run([*command, *names], check=True, capture_output=True)
        return self.trust, key

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.is_open.wait(30)
        body = request.rfile.read(int(request.headers["Content-Length"]))
        operation = request.path.rpartition("/")[2]
        self.operations.append(operation)
        wellformed = request.headers["Content-Type"] == "application/pkcs10" and operation in {
            "simpleenroll",
            "simplereenroll",
        }
        if not wellformed or not request.path.startswith("/.well-known/est/"):
            return self._reply(request, 400, b"not EST")
        if not self._knows(request):
            return self._reply(request, 401, b"who are you?")
        if self.delays:
            self.delays -= 1
            request.send_response(202)
            request.send_header("Retry-After", "1")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return None
        pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + body.strip() + b"\n-----END CERTIFICATE REQUEST-----\n"
        issued = certify(self.ca, pem, self.now, self.days)
        der = serialize_certificates([issued.certificate], Encoding.DER)
        return self._reply(request, 200, base64.encodebytes(der), "application/pkcs7-mime; smime-type=certs-only")

    def _knows(self, request: BaseHTTPRequestHandler) -> bool:
        if self.basic:
            return request.headers.get("Authorization") == "Basic " + base64.b64encode(self.basic.encode()).decode()
        return bool(request.connection.getpeercert())

    def _reply(self, request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "text/plain") -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Transfer-Encoding", "base64")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
