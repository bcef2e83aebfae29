"""OCSP answers that are valid by default, made with another library than ours, and a loopback server that sends them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.pki import CA, DAY, HOUR, NOW, Issued, moment, serial_octets, signing_hash

from vouchd.client.inquiry import Question, question
from vouchd.pkix import der
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS

SERIAL = 0x1234
NONCE_OCTETS = bytes(range(32))


def ask_for(ca: CA, *serials: int, digest: str = "SHA-256", nonce: bytes | None = None) -> Question:
    """The question for these serials of the CA."""
    octets = [serial_octets(serial) for serial in serials or (SERIAL,)]
    return question(ca.der, octets, digest=digest, nonce=nonce)


def answer(
    ca: CA,
    signer: Issued,
    *,
    query: Question | None = None,
    revoked: bool = False,
    unknown: bool = False,
    reason: x509.ReasonFlags | None = None,
    this_update: int = NOW - HOUR,
    next_update: int | None = NOW + DAY,
    nonce: bytes | None = None,
    by_name: bool = False,
    certs: tuple[Issued, ...] | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> bytes:
    """DER of a response to `query`, by `signer` for `ca`; its certificate is sent along unless it is the CA's own."""
    query = query or ask_for(ca)
    status = ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD
    builder = ocsp.OCSPResponseBuilder()
    (cert_id,) = query.cert_ids
    builder = builder.add_response_by_hash(
        cert_id.issuer_name_hash,
        cert_id.issuer_key_hash,
        int.from_bytes(cert_id.serial, "big", signed=True),
        DIGESTS[cert_id.digest],
        ocsp.OCSPCertStatus.UNKNOWN if unknown else status,
        moment(this_update),
        None if next_update is None else moment(next_update),
        moment(NOW - 2 * DAY) if revoked else None,
        reason if revoked else None,
    )
    encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
    builder = builder.responder_id(encoding, signer.certificate)
    sent = certs if certs is not None else (() if signer is ca else (signer,))
    if sent:
        builder = builder.certificates([one.certificate for one in sent])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer.key, signing_hash(signer.key)).public_bytes(Encoding.DER)


def joined(signer: Issued, *response_ders: bytes) -> bytes:
    """One response by an EC signer with the SingleResponses of all: the other library's builder takes only one."""
    parts = [list(der.children(tbs, der.whole(tbs, der.SEQUENCE))) for tbs in map(_tbs, response_ders)]
    singles = [der.content(_tbs(one), elements[2]) for one, elements in zip(response_ders, parts, strict=True)]
    first = _tbs(response_ders[0])
    head = [der.element(first, element) for element in parts[0][:2]]
    tbs = der.tlv(der.SEQUENCE, *head, der.tlv(der.SEQUENCE, *singles))
    signature = signer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return wrap(tbs, ALGORITHMS["SHA256withEC"].identifier_der, signature, (signer,))


def _tbs(response_der: bytes) -> bytes:
    return ocsp.load_der_ocsp_response(response_der).tbs_response_bytes


def resigned(
    response_der: bytes, identifier_der: bytes, sign: Callable[[bytes], bytes], certs: tuple[Issued, ...]
) -> bytes:
    """The same ResponseData under another signature: for algorithms that the other library's builder lacks."""
    tbs = _tbs(response_der)
    return wrap(tbs, identifier_der, sign(tbs), certs)


def wrap(tbs: bytes, identifier_der: bytes, signature: bytes, certs: tuple[Issued, ...]) -> bytes:
    """OCSPResponse around a ResponseData, an algorithm and a signature."""
    chain = der.tlv(0xA0, der.tlv(der.SEQUENCE, *(one.der for one in certs))) if certs else b""
    basic = der.tlv(der.SEQUENCE, tbs, identifier_der, der.tlv(der.BIT_STRING, b"\x00", signature), chain)
    body = der.tlv(der.SEQUENCE, der.oid_tlv("1.3.6.1.5.5.7.48.1.1"), der.tlv(der.OCTET_STRING, basic))
    return der.tlv(der.SEQUENCE, der.tlv(der.ENUMERATED, b"\x00"), der.tlv(0xA0, body))


def error_answer(status: ocsp.OCSPResponseStatus) -> bytes:
    """DER of a response with an error status."""
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


@dataclass
class HTTPRequest:
    """One HTTP request as the loopback server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    certificate: bytes | None = None  # DER of the client's, over TLS


@dataclass
class Loopback:
    """A responder on loopback that answers with what `respond` makes of a request: (HTTP status, headers, body)."""

    url: str
    requests: list[HTTPRequest] = field(default_factory=list)


Respond = Callable[[HTTPRequest], tuple[int, dict[str, str], bytes]]


def always(body: bytes, status: int = 200, content_type: str = "application/ocsp-response") -> Respond:
    """The same answer to every request."""
    return lambda _: (status, {"Content-Type": content_type}, body)


@contextmanager
def loopback(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """The server, stopped on leaving; with `tls` it speaks https."""
    seen: list[HTTPRequest] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a body is not to wait until its headers are acknowledged, 40 ms later

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            shown = self.connection.getpeercert(binary_form=True) if tls else None
            request = HTTPRequest(self.command, self.path, dict(self.headers), self.rfile.read(length), shown)
            seen.append(request)
            status, headers, body = respond(request)
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815  the names that the server looks for

        def log_message(self, *args) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Loopback(f"{scheme}://127.0.0.1:{server.server_port}/ocsp", seen)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
