"""From the push of a CRL to the master until the clone gives the new answer, over two real directory servers.

StartTLS everywhere, as in production; all on this host, so what is measured is the programs and not a network.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus, load_der_ocsp_response

from bench.figures import Figure
from vouchd.ca.authority import CertificateManager
from vouchd.client import inquiry
from vouchd.cloning.client import PeerClient, connector
from vouchd.core.facts import Member
from vouchd.pkix.certs import serial_octets
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

TARGET_SECONDS = 1.0
LONGEST_SECONDS = 60  # longer: it is not coming
PUBLICATIONS = 50
SUFFIX = "o=ocsp.example"
_START_SECONDS = 300  # on a machine that does much else
HOSTS = {"m": ("ds1.vouchd.test", "127.0.0.2", 1), "c": ("ds2.vouchd.test", "127.0.0.3", 2)}
_PASSWORD = "the password of the keys\n"  # noqa: S105  of keys that are thrown away


@dataclass(frozen=True)
class Clones:
    """A master `m` and its clone `c` in `folder`."""

    folder: Path

    def run(self, *words: str) -> str:
        """What a command prints; where it fails the error has what it said."""
        command = [sys.executable, "-m", "vouchd.cli.main", *words]
        try:
            return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise

    def port(self, name: str, kind: int) -> int:
        """A port of a member: 0 OCSP, 1 agents, 2 health, 3 LDAP, 4 LDAPS."""
        return 20000 + 1000 * HOSTS[name][2] + kind

    def ports(self, name: str) -> list[str]:
        """The options for the ports of an instance."""
        kinds = ("--port", "--agent-port", "--health-port")
        return [word for number, kind in enumerate(kinds) for word in (kind, str(self.port(name, number)))]


@contextmanager
def clones() -> Iterator[Clones]:
    """Both running, each with its own directory server; all gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="vb") as name, ExitStack() as stack:
        made = Clones(Path(name))
        made.run("ca", "create", "--subject", "CN=Bench CA")
        for member, (host, address, _) in HOSTS.items():
            ports = ("--port", str(made.port(member, 3)), "--secure-port", str(made.port(member, 4)))
            where = ("--host", host, "--listen", address, "--suffix", SUFFIX, *ports)
            made.run("directory", "create", "--dir", f"ds-{member}", *where, "--ca", "ca", "--small", "--user", "root")
            stack.callback(made.run, "directory", "stop", "--dir", f"ds-{member}")
        host, address, _ = HOSTS["m"]
        made.run("create", "--instance", "m", "--ca", "ca", "--listen", address, "--hostname", host, *made.ports("m"))
        made.run("ca", "publish", "--to", "instance:m")
        stack.callback(made.run, "stop", "--instance", "m")  # one that is late may run all the same
        made.run("start", "--instance", "m", "--timeout", f"{_START_SECONDS}")
        made.run("directory", "use", "--instance", "m", "--dir", "ds-m", "--password-file", "ds-m/manager.password")
        _clone(made)
        stack.callback(made.run, "stop", "--instance", "c")
        yield made


def _clone(made: Clones) -> None:
    (made.folder / "password").touch(0o600)
    (made.folder / "password").write_text(_PASSWORD)
    files = ("--password-file", "password")
    prepare = ("--host", HOSTS["m"][0], "--out", "keys.p12", *files, "--token-out", "token", "--json")
    prepared = json.loads(made.run("clone", "prepare", "--instance", "m", *prepare))
    host, address, _ = HOSTS["c"]
    made.run(
        *(
            "clone",
            "create",
            "--instance",
            "c",
            "--master",
            prepared["master"],
            "--fingerprint",
            prepared["fingerprint"],
        ),
        *("--token-file", "token", "--pkcs12", "keys.p12", *files, "--host", host, "--listen", address, "--ca", "ca"),
        *("--directory", f"ldap://{host}:{made.port('c', 3)}/{SUFFIX}", "--starttls"),
        *("--directory-trust", "ds-c/etc/root.pem", "--directory-password-file", "ds-c/manager.password"),
        *made.ports("c"),
    )


def figures(publications: int = PUBLICATIONS) -> list[Figure]:
    """Median and 99th percentile of the seconds from push to new answer."""
    with clones() as made:
        serial = _issued(made)
        crls = _crls(made, serial, publications)
        with wiring.services(Layout((made.folder / "c").absolute())) as services:
            members = {member.host: member for member in services.store.members()}
            client = connector(services.layout, services.settings)
            seconds = sorted(_seconds(made, client(members[HOSTS["m"][0]]), crl, members, serial) for crl in crls)
    detail = f"{publications} CRLs; best {seconds[0]:.3f} s, worst {seconds[-1]:.3f} s"
    last = len(seconds) - 1
    named = {"median": seconds[last // 2], "99th percentile": seconds[ceil(len(seconds) * 0.99) - 1]}
    return [
        Figure(f"publish to the clone's new answer, {name}", value, TARGET_SECONDS, "s", detail)
        for name, value in named.items()
    ]


def _issued(made: Clones) -> bytes:
    """Serial number of a certificate of the CA."""
    made.run("ca", "issue", "--subject", "CN=one", "--name", "DNS:one.example", "--out", "one.crt")
    return serial_octets(x509.load_pem_x509_certificate((made.folder / "one.crt").read_bytes()))


def _crls(made: Clones, serial: bytes, count: int) -> list[bytes]:
    """So many CRLs of the CA; the certificate is on hold in every other one, so an answer tells them apart.

    Their times do not: a second is long here, and two answers of the same status in it are the same bytes.
    """
    now, crls = int(time.time()), []
    with CertificateManager(made.folder / "ca") as manager:
        for number in range(count):
            change = manager.release if number % 2 else manager.hold
            change(serial, now)
            crls.append(manager.make_crl(now).der)
    return crls


def _seconds(made: Clones, master: PeerClient, crl: bytes, members: dict[str, Member], serial: bytes) -> float:
    """Push one CRL and ask the clone until it says of the certificate what the CRL says."""
    issuer = x509.load_pem_x509_certificate((made.folder / "ca" / "ca.crt").read_bytes()).public_bytes(Encoding.DER)
    request = inquiry.question(issuer, [serial]).request_der
    clone = members[HOSTS["c"][0]]
    connection = http.client.HTTPConnection(clone.host, clone.ee_port, timeout=LONGEST_SECONDS)

    def is_revoked() -> bool:
        connection.request("POST", "/", request, {"Content-Type": "application/ocsp-request"})
        answer = load_der_ocsp_response(connection.getresponse().read())
        return answer.certificate_status is OCSPCertStatus.REVOKED

    def wait(wanted: bool) -> float:  # noqa: FBT001  what `is_revoked` shall say
        begun = time.perf_counter()
        while is_revoked() is not wanted:
            if time.perf_counter() - begun > LONGEST_SECONDS:
                raise AssertionError(f"the clone has not heard of a CRL after {LONGEST_SECONDS} seconds")
        return time.perf_counter()

    wanted = bool(list(x509.load_der_x509_crl(crl)))
    wait(not wanted)  # another worker of the clone may have been quicker with the CRL before
    begun = time.perf_counter()
    master.add_crl(crl)
    return wait(wanted) - begun
