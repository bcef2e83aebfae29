"""A name in front of two responders, and clients that ask there without a pause: what a change of the one behind it costs."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cryptography.x509 import ocsp

_SECONDS = 120


@dataclass
class Front:
    """Passes connections on to where `behind` points, as a proxy does; those that are open go on where they are."""

    behind: tuple[str, int]
    port: int = 0
    passed: Counter[tuple[str, int]] = field(default_factory=Counter)

    def serve(self, listener: socket.socket) -> None:
        """Pass on what comes until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client, self.behind), daemon=True).start()

    def _pass(self, client: socket.socket, behind: tuple[str, int]) -> None:
        with client, socket.create_connection(behind, timeout=_SECONDS) as server:
            self.passed[behind] += 1
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def front(behind: tuple[str, int]) -> Iterator[Front]:
    """One that listens on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = Front(behind, listener.getsockname()[1])
        thread = threading.Thread(target=one.serve, args=(listener,), daemon=True)
        thread.start()
        yield one
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@dataclass
class Client(threading.Thread):
    """Asks the same questions over and over, each over a connection of its own; keeps what came, and what did not."""

    port: int
    questions: Sequence[bytes]
    statuses: list[tuple[int, str]] = field(default_factory=list)  # serial, and what was said of it
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._enough = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Ask until it is ended."""
        while not self._enough.is_set():
            for question in self.questions:
                try:
                    self.statuses.append(self._ask(question))
                except (OSError, http.client.HTTPException, ValueError) as error:
                    self.lost.append(repr(error))

    def _ask(self, question: bytes) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            connection.request("POST", "/ocsp/ee/ocsp", question, {"Content-Type": "application/ocsp-request"})
            response = ocsp.load_der_ocsp_response(connection.getresponse().read())
            return response.serial_number, response.certificate_status.name
        finally:
            connection.close()

    def says(self, serial: int, status: str) -> bool:
        """Whether that was the last that it was told of a serial."""
        return next((answer for one, answer in reversed(list(self.statuses)) if one == serial), "") == status

    def end(self) -> None:
        """Have it end after this round."""
        self._enough.set()
        self.join()
