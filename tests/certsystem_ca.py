"""A Certificate System's CA for tests, in this process: it hosts a security domain and certifies, over TLS."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.client.answers import HTTPRequest, loopback
from tests.est_server import certify
from tests.pki import CA, DAY, Issued

ADMINISTRATOR, PASSWORD = "caadmin", "the administrator's word"
DOMAIN = "EXAMPLE Security Domain"
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class CertificateSystemCA:
    """What it was asked for; hosts whose name does not end as `resolves` says are unknown to it."""

    ca: CA
    now: int
    resolves: str = ".test"
    url: str = ""
    fingerprint: str = ""
    trust: Path = Path()
    agent: Issued | None = None  # whose certificate is let in, too
    waiting: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # number -> profile, request
    issued: dict[str, Issued] = field(default_factory=dict)
    profiles: list[str] = field(default_factory=list)
    hosts: list[dict[str, str]] = field(default_factory=list)
    publishers: list[dict[str, str]] = field(default_factory=list)
    requests: list[HTTPRequest] = field(default_factory=list)

    def approve(self, number: str) -> None:
        """As an agent does there."""
        _, csr = self.waiting.pop(number)
        self.issued[number] = certify(self.ca, csr, self.now)

    def respond(self, request: HTTPRequest) -> Answer:
        """The answer to a request."""
        path = urlsplit(request.path).path
        if status := self._refused(request, path):
            return _json({}, status)
        if path.startswith(("/ca/rest/certrequests", "/ca/rest/agent/certrequests", "/ca/rest/certs/")):
            return self._certifying(request, path.split("/"))
        if path.startswith("/ca/rest/securityDomain/"):
            return self._domain(request, path)
        if request.method == "POST":
            return self._changed(request, path)
        if path == "/ca/admin/ca/getSubsystemCert":
            der = self.ca.issue("CA subsystem").der
            return 200, {}, b"<XMLResponse><Cert>" + base64.b64encode(der) + b"</Cert></XMLResponse>"
        return _json({}, 200 if path in {"/ca/rest/account/login", "/ca/rest/info"} else 404)

    def _refused(self, request: HTTPRequest, path: str) -> int:
        """401 for a log-in of somebody unknown, 403 for who has not logged in; 0 for nobody to refuse."""
        if path == "/ca/rest/account/login" and not self._knows(request):
            return 401
        return 403 if "/agent/" in path and "session" not in request.headers.get("Cookie", "") else 0

    def _changed(self, request: HTTPRequest, path: str) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("sessionID") != "token-of-this-test":
            return 200, {}, b"<XMLResponse><Status>1</Status><Error>no token</Error></XMLResponse>"
        (self.hosts if path == "/ca/admin/ca/updateDomainXML" else self.publishers).append(form)
        return 200, {}, b"<XMLResponse><Status>0</Status></XMLResponse>"

    def _knows(self, request: HTTPRequest) -> bool:
        basic = base64.b64encode(f"{ADMINISTRATOR}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") == f"Basic {basic}":
            return True
        return self.agent is not None and request.certificate == self.agent.der

    def _domain(self, request: HTTPRequest, path: str) -> Answer:
        if path.endswith("/domainInfo"):
            listed = [
                {"Hostname": one["host"], "SecurePort": one["sport"], "Clone": one["clone"], "SubsystemName": "x"}
                for one in self.hosts
            ]
            return _json({"id": DOMAIN, "Subsystem": [{"id": "OCSP", "Host": listed}]})
        host = parse_qs(urlsplit(request.path).query)["hostname"][0]
        if not self._knows(request) or not host.endswith(self.resolves):
            return _json({"Message": "error result"}, 500)
        return _json({"token": "token-of-this-test"})

    def _certifying(self, request: HTTPRequest, parts: list[str]) -> Answer:
        if request.method == "POST" and parts[-1] == "certrequests":
            body = json.loads(request.body)
            wanted = {one["name"]: one["Value"] for one in body["Input"][0]["Attribute"]}
            number = str(1 + len(self.waiting) + len(self.issued))
            self.profiles.append(body["ProfileID"])
            self.waiting[number] = body["ProfileID"], wanted["cert_request"].encode()
            entry = {"requestURL": f"{self.url}/ca/rest/certrequests/{number}", "operationResult": "success"}
            return _json({"entries": [entry]})
        if parts[-1] == "approve":
            self.approve(parts[-2])
            return 204, {}, b""
        number = parts[-1]
        if parts[-2] == "certs":
            issued = self.issued[number.removeprefix("0x")]
            return _json({"Encoded": (issued.pem + self.ca.pem).decode()})
        if number in self.issued:
            return _json({"requestStatus": "complete", "certId": f"0x{number}"})
        return _json({"requestStatus": "pending"})


def _json(value: object, status: int = 200) -> Answer:
    headers = {"Content-Type": "application/json", "Set-Cookie": "JSESSIONID=session; Path=/ca; Secure"}
    return status, headers, json.dumps(value).encode()


@contextmanager
def certificate_system(folder: Path, ca: CA, now: int) -> Iterator[CertificateSystemCA]:
    """The CA, open on loopback; `certificate-system.pem` in the folder is the root of its port."""
    system = CertificateSystemCA(ca, now)
    name = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = ca.issue("127.0.0.1", extensions=((name, False),), not_before=now - DAY, not_after=now + DAY)
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "certificate-system-server.pem").write_bytes(key + server.pem)
    system.trust = folder / "certificate-system.pem"
    system.trust.write_bytes(ca.pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "certificate-system-server.pem")
    tls.load_verify_locations(system.trust)
    tls.verify_mode = ssl.CERT_OPTIONAL
    with loopback(system.respond, tls) as opened:
        system.url = opened.url.removesuffix("/ocsp")
        system.requests = opened.requests
        system.fingerprint = hashlib.sha256(server.der).hexdigest()
        yield system
