"""What a responder is given, what is known of one that answers, and how one that cannot be had says so."""

from __future__ import annotations

import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import ocsp

from bench import signing

ENTRIES = 10_000
ISSUED = 10_000  # certificates that a responder knows of which has to be told of each
PATIENCE_SECONDS = 60


class Unavailable(Exception):
    """A responder cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Site:
    """A CA that has issued and revoked, with a delegated signer.

    `folder` holds ca.pem, signer.pem and signer.key, and a responder's own files.
    """

    folder: Path
    ca: x509.Certificate
    ca_key: rsa.RSAPrivateKey
    crl_file: Path

    @cached_property
    def crl(self) -> x509.CertificateRevocationList:
        """What every responder answers from."""
        return x509.load_der_x509_crl(self.crl_file.read_bytes())

    @cached_property
    def revoked(self) -> list[x509.RevokedCertificate]:
        """Its entries."""
        return list(self.crl)

    @cached_property
    def signer(self) -> x509.Certificate:
        """The certificate of the delegated signer."""
        return x509.load_pem_x509_certificate((self.folder / "signer.pem").read_bytes())

    @property
    def issued(self) -> Iterable[int]:
        """Serials that are good: those that `signing.Load` asks for where it has ISSUED of them, and its fixed one."""
        return map(int.from_bytes, (signing.SERIAL, *(b"A%015d" % number for number in range(ISSUED))))


@dataclass(frozen=True, slots=True)
class Serving:
    """A responder that answers: where, by which processes, and what to know of its figures."""

    version: str
    port: int
    pids: Callable[[], list[int]]
    path: str = "/"
    address: str = "127.0.0.1"
    serials: int = ISSUED  # how many different questions it can answer
    list_seconds: float = math.nan  # from being given the list until it answers by it
    listing: str = ""  # how it was given it
    note: str = ""
    inside: tuple[str, ...] = ()  # the command that goes where it can be reached
    warm_up_seconds: int = 1
    refresh: Callable[[], object] = lambda: None  # before each load

    def listed(self, seconds: float, how: str) -> Serving:
        """The same, once it has the list."""
        return replace(self, list_seconds=seconds, listing=how)

    def ask(self, request_der: bytes) -> ocsp.OCSPResponse:
        """What it answers to a POST.

        Raises:
            Unavailable: no answer, or one that is none of OCSP.
        """
        with tempfile.NamedTemporaryFile() as body:
            body.write(request_der)
            body.flush()
            url = f"http://{self.address}:{self.port}{self.path}"
            words = ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "*", url]
            words += ["--header", "Content-Type: application/ocsp-request", "--data-binary", f"@{body.name}"]
            done = subprocess.run([*self.inside, *words], capture_output=True, check=False)
        if done.returncode:
            raise Unavailable(f"it does not answer: {done.stderr.decode().strip()}")
        try:
            return ocsp.load_der_ocsp_response(done.stdout)
        except ValueError as error:
            raise Unavailable(f"its answer cannot be read: {error}") from error

    def seconds_until_revoked(self, site: Site, begin: float) -> float:
        """How long after `begin`, of `time.monotonic`, it answers by the list.

        Raises:
            Unavailable: it never does.
        """
        request_der = signing.request(site.ca, site.revoked[-1].serial_number)
        why, end = "it does not answer by the list", time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                answer = self.ask(request_der)
            except Unavailable as error:
                why = str(error)
            else:
                if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                    why = f"its answer has status {answer.response_status.name}"
                elif answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
                    return time.monotonic() - begin
            time.sleep(0.02)
        raise Unavailable(why)


class Peer(Protocol):
    """Somebody's responder."""

    name: str
    keys: tuple[str, ...]  # the kinds of signers' keys that it is measured with: EC, or RSA where it can no other

    def serving(self, site: Site) -> AbstractContextManager[Serving]:
        """Have it answer for a site until the end of the block.

        Raises:
            Unavailable: it cannot be had here.
        """
