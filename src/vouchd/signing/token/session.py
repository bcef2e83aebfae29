"""The other end of a session: a process that has a token sign, and never waits longer than it said.

Several threads may ask one session: it answers in the order in which it was asked, so each of them waits until those
before it have their answers. While the first one looks at what it got, the token signs for the next one already.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from vouchd.errors import TokenUnavailable
from vouchd.hardening import PROGRAM
from vouchd.signing.token.launcher import MAX_MESSAGE
from vouchd.signing.token.messages import Kind, error_of, joined, pack, parted, unpack
from vouchd.signing.token.reference import TokenPlace

_PROGRAM = (*PROGRAM, "vouchd.signing.token.launcher")


class Launcher:
    """Starts sessions of the token at `place`; started by `start`, or when it is first wanted, it ends with this."""

    def __init__(self, place: TokenPlace) -> None:
        self.place = place
        self.is_lost = False  # it is gone, and this process may start no program any more
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def start(self) -> socket.socket:
        """Start it, while this process still may. Raises: TokenUnavailable."""
        with self._starting:
            if self._control is None:
                self._control = self._started()
            return self._control

    def _started(self) -> socket.socket:
        place = self.place
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(_PROGRAM, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603  our own program
            except OSError as error:
                ours.close()
                self.is_lost = self._process is not None and isinstance(error, PermissionError)
                raise TokenUnavailable(f"token {place.label}: no process can be started: {error.strerror}") from error
        fields = {
            "module": str(place.module),
            "label": place.label,
            "passwords": str(place.passwords),
            "pin_command": place.pin_command,
            "pin_file": str(place.pin_file or ""),
        }
        ours.send(json.dumps(fields).encode())
        return ours

    def open(self, within_seconds: float, *, last_try: bool = False, writable: bool = False) -> Session:
        """A session that is logged in. Raises: TokenUnavailable."""
        control = self.start()
        wish = json.dumps({"last_try": last_try, "writable": writable}).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        session = Session(self.place.label, ours, writing)
        try:
            with theirs:
                socket.send_fds(control, [wish], [theirs.fileno(), reading])
            session.greet(within_seconds)
        except OSError as error:
            session.close()
            self._forget(control)  # the next attempt starts another one, where this process still may
            raise TokenUnavailable(f"token {self.place.label}: the process that starts its sessions is gone") from error
        except BaseException:
            session.close()
            raise
        finally:
            os.close(reading)
        return session

    def _forget(self, control: socket.socket) -> None:
        with self._starting:
            if self._control is control:
                control.close()
                self._control = None

    def close(self) -> None:
        """End the program; sessions go on until they are closed."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.wait()

    @property
    def pid(self) -> int | None:
        """Its process, once it is started."""
        return self._process.pid if self._process is not None else None

    def __del__(self) -> None:
        if self._control is not None:
            self._control.close()


class Session:
    """One session, for any threads. After an error it is good for nothing but `close`, unless NotFound.

    `pace` is how many seconds the token took for the quickest signature of the last lot; 0: it has not signed yet.
    """

    def __init__(self, label: str, channel: socket.socket, lifeline: int) -> None:
        self._label = label
        self._channel = channel
        self._lifeline = lifeline
        self._numbers: dict[bytes, int] = {}
        self._asking = threading.Lock()  # for who sends, and who ends it
        self._last: threading.Lock | None = None  # held by the last one who asked, until the answer is there
        self._is_out_of_order = False  # somebody did not wait for an answer
        self.pace = 0.0
        self.description: Mapping[str, Any] = {}

    def greet(self, within_seconds: float) -> None:
        """Wait until it is logged in. Raises: TokenUnavailable."""
        self.description, _ = self._answer(time.monotonic() + within_seconds)

    def find(self, public_der: bytes, until: float) -> int:
        """The number of the key of that public key, proved. Raises: NotFound; TokenUnavailable."""
        if public_der not in self._numbers:
            fields, _ = self._ask(pack(Kind.FIND, data=public_der), until)
            self._numbers[public_der] = fields["key"]
        return self._numbers[public_der]

    def sign(self, public_der: bytes, algorithm: str, data: bytes, until: float) -> bytes:
        """The signature by the key of that public key, before the monotonic time `until`.

        Raises: NotFound; TokenUnavailable.
        """
        return self.sign_lot(public_der, algorithm, [data], until)[0]

    def sign_lot(self, public_der: bytes, algorithm: str, lot: Sequence[bytes], until: float) -> list[bytes]:
        """The signatures over the first of a lot, one at least: as many as the token made in a short while.

        Raises: as `sign`.
        """
        number = self.find(public_der, until)
        message = pack(Kind.SIGN, {"key": number, "algorithm": algorithm}, joined(lot))
        fields, data = self._ask(message, until)
        self.pace = fields["pace"]
        return parted(data)

    def keys(self, until: float) -> list[dict[str, Any]]:
        """The private keys that are there, described. Raises: TokenUnavailable."""
        fields, _ = self._ask(pack(Kind.LIST), until)
        keys: list[dict[str, Any]] = fields["keys"]
        return keys

    def generate(self, algorithm: str, label: str, rsa_bits: int, until: float, *, extractable: bool = False) -> bytes:
        """Make a key; DER of its public key. Raises: TokenUnavailable."""
        wish = {"algorithm": algorithm, "label": label, "rsa_bits": rsa_bits, "extractable": extractable}
        _, public_der = self._ask(pack(Kind.GENERATE, wish), until)
        return public_der

    def remove(self, public_der: bytes, until: float) -> None:
        """Remove a key. Raises: NotFound; TokenUnavailable."""
        self._numbers.pop(public_der, None)
        self._ask(pack(Kind.REMOVE, data=public_der), until)

    def _ask(self, message: bytes, until: float) -> tuple[dict[str, Any], bytes]:
        turn = threading.Lock()
        turn.acquire()  # until the answer is there
        with self._asking:
            before, self._last = self._last, turn
            try:
                self._channel.send(message)
            except OSError as error:
                self._is_out_of_order = True
                turn.release()
                raise self._ended() from error
        try:
            if before is not None and not before.acquire(timeout=max(0.001, until - time.monotonic())):
                self._is_out_of_order = True
            return self._answer(until)
        finally:
            turn.release()

    def _ended(self) -> TokenUnavailable:
        return TokenUnavailable(f"token {self._label}: its session has ended")

    def _answer(self, until: float) -> tuple[dict[str, Any], bytes]:
        if self._is_out_of_order:
            raise self._ended() if time.monotonic() < until else self._late()
        try:
            self._channel.settimeout(max(0.001, until - time.monotonic()))
            message = self._channel.recv(MAX_MESSAGE)
        except TimeoutError as error:
            self._is_out_of_order = True
            raise self._late() from error
        except OSError as error:
            raise self._ended() from error
        if not message:
            raise self._ended()
        kind, fields, data = unpack(message)
        if kind is Kind.FAILED:
            raise error_of(fields)
        return fields, data

    def _late(self) -> TokenUnavailable:
        return TokenUnavailable(f"token {self._label}: no answer in time")

    def close(self) -> None:
        """End the session's process, wherever it hangs; who waits for its answer learns it."""
        with self._asking:
            lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        self.close()
        self._channel.close()  # nobody waits at it any more
