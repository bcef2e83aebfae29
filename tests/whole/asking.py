"""A client that asks an instance all the time, verifies each answer, and keeps who signed it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.processes.running import DEADLINE_SECONDS, eventually

from vouchd.client.inquiry import new_nonce, question
from vouchd.client.parsing import parse_response
from vouchd.client.response_acceptance import verify_response
from vouchd.client.transport import Connection
from vouchd.clock import SystemClock
from vouchd.errors import ClientError, VerificationError
from vouchd.pkix.certs import serial_octets

# Between two questions: those who change what is answered, here and at the members, need the processor more.
_PAUSE_SECONDS = 0.03


class Asking(threading.Thread):
    """A connection a question, about `certificate` of the CA `issuer`, files below `folder`; now with a nonce, now without.

    Anything but an answer that it accepts ends it, and is its `failure`; while `patient` is set no answer at all is
    waited for.
    """

    def __init__(
        self, url: str, folder: Path, issuer: str = "lab/ca.crt", certificate: str = "www.crt", *, name: str = "client"
    ) -> None:
        super().__init__(name=name)
        self.url = url
        self.issuer, self.certificate = (
            x509.load_pem_x509_certificate((folder / file).read_bytes()) for file in (issuer, certificate)
        )
        self.signers: list[int] = []
        self.failure: Exception | None = None
        self.patient = threading.Event()
        self.over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(DEADLINE_SECONDS)
        assert not self.is_alive(), f"{self.name} waits for an answer"

    def run(self) -> None:
        with_nonce = False
        try:
            while not self.over.wait(_PAUSE_SECONDS):
                with_nonce = not with_nonce
                try:
                    self.signers.append(self.ask(with_nonce=with_nonce))
                except ClientError as error:
                    if isinstance(error, VerificationError) or not self.patient.is_set():
                        raise
        except Exception as error:  # noqa: BLE001  shown by the test
            self.failure = error

    def ask(self, *, with_nonce: bool = False) -> int:
        """The serial number of the certificate that signed an answer which a client accepts.

        Raises: ClientError where there is no answer, or one without a status; VerificationError.
        """
        der, nonce = self.issuer.public_bytes(Encoding.DER), new_nonce() if with_nonce else None
        inquiry = question(der, [serial_octets(self.certificate)], digest="SHA-256", nonce=nonce)
        with Connection(self.url) as connection:
            body = connection.exchange(inquiry.request_der).body
        verified = verify_response(
            parse_response(body), self.issuer, inquiry.cert_ids, nonce=nonce, at=SystemClock().now()
        )
        return verified.signer.serial_number

    def changes(self) -> list[int]:
        """Who signed, one after the other, repetitions left out."""
        return [one for number, one in enumerate(self.signers) if number == 0 or one != self.signers[number - 1]]

    def until_more(self) -> None:
        """Wait for an answer to a question that is put from now on."""
        before = len(self.signers) + 1  # one may be on its way
        eventually(lambda: self.failure or len(self.signers) > before, f"{self.name} has an answer")
        assert self.failure is None
