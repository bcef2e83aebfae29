"""The lab in use: certificates and CRLs of its CA, and Dogtag's own tools against any responder."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.dogtag.lab import plan, running
from tests.dogtag.lab.enclosure import Enclosure
from tests.dogtag.lab.installation import alone, install, remove
from tests.pki import Issued, name, shared_key
from tests.processes.running import eventually

from vouchd.pkix.certs import issuer_hashes

_HOME = "VOUCHD_DOGTAG_LAB"
_SECONDS = 120


@dataclass
class Lab:
    """A CA, an OCSP manager and its clone, below a folder that is kept from one run to the next."""

    enclosure: Enclosure

    @classmethod
    def at_home(cls) -> Lab:
        """The one of this host: below VOUCHD_DOGTAG_LAB, else /var/tmp."""
        folder = Path(os.environ.get(_HOME, "/var/tmp/vouchd-dogtag")).absolute()
        return cls(Enclosure(folder / "root"))

    def start(self) -> bool:
        """Have all of it running, made first where it is not there yet; whether any of it was not.

        Raises:
            LabUnavailable: with what is missing here.
        """
        with alone(self.enclosure.root.parent):
            install(self.enclosure)
            stopped = [instance for instance in plan.INSTANCES if not running.running(instance)]
            running.start(self.enclosure, *stopped)
        return bool(stopped)

    def stop(self) -> None:
        """End all of it in good order; its files stay."""
        with alone(self.enclosure.root.parent):
            self.enclosure.close()

    def remove(self) -> None:
        """End it and take its files away."""
        with alone(self.enclosure.root.parent):
            remove(self.enclosure)

    # its files

    def file(self, name: str) -> Path:
        """A file of the folder through which things are handed in and out; inside it is `plan.TRANSFER`."""
        return self.enclosure.root / plan.TRANSFER[1:] / name

    @property
    def ca_file(self) -> Path:
        return self.file("ca_signing.crt")

    @cached_property
    def ca(self) -> x509.Certificate:
        """The certificate of its CA."""
        return x509.load_pem_x509_certificate(self.ca_file.read_bytes())

    @cached_property
    def publisher(self) -> x509.Certificate:
        """The certificate that its CA publishes with."""
        file = f"{plan.TRANSFER}/subsystem.crt"
        export = ["--cert-file", file]
        self.enclosure.run("pki-server", "cert-export", "subsystem", "-i", plan.CA.tomcat, *export)
        return x509.load_pem_x509_certificate(self.file("subsystem.crt").read_bytes())

    # the CA

    def issue(self, common_name: str, *, profile: str = "caAgentServerCert") -> Issued:
        """A certificate of a server from the CA."""
        key = shared_key("RSA", 7)
        request = x509.CertificateSigningRequestBuilder().subject_name(name(common_name)).sign(key, hashes.SHA256())
        return Issued(self.certify(request.public_bytes(Encoding.PEM), profile=profile), key)

    def certify(self, request_pem: bytes, *, profile: str = "caAgentServerCert") -> x509.Certificate:
        """What the CA issues for a request, at its agent's word."""
        form = {
            "profileId": profile,
            "cert_request_type": "pkcs10",
            "cert_request": request_pem.decode(),
            "xml": "true",
        }
        said = self._ca("POST", "/ca/eeca/ca/profileSubmitSSLClient", form)
        issued = re.search(r"<b64>(.*?)</b64>", said, re.DOTALL)
        assert issued, said
        return x509.load_der_x509_certificate(base64.b64decode(issued[1]))

    def revoke(self, serial: int, reason: str = "Key_Compromise") -> None:
        """Have the CA revoke; the next CRL tells of it. Certificate_Hold can be released."""
        self._change(serial, "revoke", {"Reason": reason})

    def release(self, serial: int) -> None:
        """Take a hold back."""
        self._change(serial, "unrevoke", {})

    def publish(self) -> str:
        """Have a CRL made and published now; what the CA says when that is over.

        Not in the second of the last one: its OCSP manager takes that for no newer CRL, and the CA never sends it again.
        """
        made_at = int(x509.load_der_x509_crl(self.crl()).last_update_utc.timestamp())
        eventually(lambda: int(time.time()) > made_at, "the second of the last CRL is over")
        form = {"crlIssuingPoint": "MasterCRL", "waitForUpdate": "true", "xml": "true"}
        return self._ca("POST", "/ca/agent/ca/updateCRL", form)

    def crl(self, point: str = "MasterCRL") -> bytes:
        """DER of the CRL that the CA made last."""
        query = urlencode({"op": "getCRL", "crlIssuingPoint": point})
        connection = self.connect(plan.CA)
        with closing(connection):
            connection.request("GET", f"/ca/ee/ca/getCRL?{query}")
            return connection.getresponse().read()

    def configure(self, instance: plan.Instance, settings: Mapping[str, str | None]) -> None:
        """Have it begin anew with these settings in its CS.cfg; None takes a key away."""
        running.configure(self.enclosure, instance, settings)

    def decide(self, number: str, verdict: str) -> None:
        """What an agent of the CA does with a request: approve, reject, cancel."""
        with closing(self.connect(plan.CA)) as connection:
            accepted = self._login(connection)
            where = f"/ca/rest/agent/certrequests/{number}"
            connection.request("GET", where, headers=accepted)
            shown = connection.getresponse().read()
            connection.request("POST", f"{where}/{verdict}", shown, accepted | {"Content-Type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 204, reply.read()

    # its tools

    def ocsp_client(self, url: str, serial: int, *more: object) -> str:
        """What Dogtag's own OCSPClient prints of an answer, or of its failure."""
        parts = urlsplit(url)
        where = ["-h", parts.hostname, "-p", parts.port, "-t", parts.path or "/"]
        words = ["OCSPClient", "-d", plan.DATABASE, *where, "-c", "ca_signing", "--serial", serial, *more]
        return self.enclosure.run(*words, check=False)

    def pki(self, url: str, *words: object, nickname: str = "caadmin") -> str:
        """What Dogtag's `pki` prints, asked for at the server of that URL with a client certificate."""
        database = ["-d", plan.DATABASE, "-C", f"{plan.TRANSFER}/password", "-n", nickname]
        return self.enclosure.run("pki", *database, "--ignore-cert-status", "UNTRUSTED_ISSUER", "-U", url, *words)

    def curl(self, *words: object) -> str:
        """What curl prints with the certificate of the administrator, who is an agent too."""
        identity = ["--cert", self.file("admin.pem"), "--key", self.file("admin.key"), "--cacert", self.ca_file]
        command = ["curl", "--silent", "--show-error", "--max-time", _SECONDS, *identity, *words]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout

    # its OCSP managers

    def list_cas(self, instance: plan.Instance) -> dict[str, dict[str, str]]:
        """What listCAs of an OCSP manager tells, by the CA's name."""
        said = self._say(instance, "GET", "/ocsp/agent/ocsp/listCAs?xml=true")
        records = re.findall(r"<record>(.*?)</record>", said, re.DOTALL)
        fields = [dict(re.findall(r"<(\w+)>(.*?)</\1>", record)) for record in records]
        return {one["Id"]: one for one in fields}

    def answer(self, instance: plan.Instance, serial: int) -> ocsp.OCSPResponse:
        """What an OCSP manager answers of a serial."""
        name_hash, key_hash = issuer_hashes(self.ca, "SHA-1")
        request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name_hash, key_hash, serial, hashes.SHA1()).build()
        connection = http.client.HTTPConnection(plan.HOST, instance.http_port, timeout=_SECONDS)
        with closing(connection):
            connection.request("POST", "/ocsp/ee/ocsp", request.public_bytes(Encoding.DER))
            return ocsp.load_der_ocsp_response(connection.getresponse().read())

    def add_ca(self, instance: plan.Instance, certificate: x509.Certificate) -> None:
        """Have an OCSP manager answer for a CA."""
        text = certificate.public_bytes(Encoding.PEM).decode()
        said = self._say(instance, "POST", "/ocsp/agent/ocsp/addCA", {"cert": text, "xml": "true"})
        assert "<fixed/>" in said, said

    def add_crl(self, instance: plan.Instance, crl_der: bytes) -> None:
        """Bring a CRL to an OCSP manager, as a CA does."""
        text = x509.load_der_x509_crl(crl_der).public_bytes(Encoding.PEM).decode()
        text = text.replace("X509 CRL", "CERTIFICATE REVOCATION LIST")
        said = self._say(instance, "POST", "/ocsp/agent/ocsp/addCRL", {"crl": text, "noui": "true"})
        assert "status=0" in said, said

    def remove_ca(self, instance: plan.Instance, name: str) -> None:
        """Have an OCSP manager answer for a CA no longer."""
        self._say(instance, "POST", "/ocsp/agent/ocsp/removeCA", {"caID": name, "xml": "true"})

    def connect(self, instance: plan.Instance) -> http.client.HTTPSConnection:
        """A connection that comes with the administrator's certificate."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.check_hostname = False
        context.load_cert_chain(self.file("admin.pem"), self.file("admin.key"))
        return http.client.HTTPSConnection(plan.HOST, instance.https_port, context=context, timeout=_SECONDS)

    def _change(self, serial: int, verb: str, facts: dict[str, str]) -> None:
        with closing(self.connect(plan.CA)) as connection:
            accepted = self._login(connection)
            where = f"/ca/rest/agent/certs/0x{serial:x}"
            connection.request("GET", where, headers=accepted)
            facts |= {"Nonce": str(json.loads(connection.getresponse().read())["Nonce"])}
            headers = accepted | {"Content-Type": "application/json"}
            connection.request("POST", f"{where}/{verb}", json.dumps(facts), headers)
            said = json.loads(connection.getresponse().read())
        assert said.get("operationResult") == "success", said

    def _login(self, connection: http.client.HTTPSConnection) -> dict[str, str]:
        """The headers of an agent's session."""
        accepted = {"Accept": "application/json"}
        connection.request("GET", "/ca/rest/account/login", headers=accepted)
        reply = connection.getresponse()
        reply.read()
        return accepted | {"Cookie": (reply.headers["Set-Cookie"] or "").split(";")[0]}

    def _ca(self, method: str, path: str, form: dict[str, str]) -> str:
        return self._say(plan.CA, method, path, form)

    def _say(self, instance: plan.Instance, method: str, path: str, form: dict[str, str] | None = None) -> str:
        connection = self.connect(instance)
        with closing(connection):
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
            connection.request(method, path, urlencode(form) if form else None, headers)
            return connection.getresponse().read().decode()
