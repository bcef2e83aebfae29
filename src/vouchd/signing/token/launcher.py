"""The program that starts sessions of one token, each in a process of its own, for the process that signs.

Why processes. A PKCS #11 module is foreign machine code: it may hang, crash, or see the slots as they were when it was
initialised. In a process of its own a call that hangs ends with the process, a crash costs one signature, and whoever
speaks with strangers has neither the module nor the PIN in its memory. The library initialises modules for one thread,
so a session is a process.

How it works. A process that will sign starts this program while it still may start programs (a worker confines itself
afterwards), and tells it once which token it is for. From then on it sends the two descriptors of a session: a socket
for questions and answers, and the reading end of a pipe, its lifeline. The launcher, which never loads a module, forks;
the child loads and initialises the module after the fork, logs in, and serves the socket. When the writing end of the
lifeline is closed, by will or because its owner is gone, the kernel itself ends the child (SIGIO), wherever it hangs.

A PIN that was refused is not tried again before its source has another one, or somebody says that it is to be: wrong
PINs lock tokens. The children tell the launcher by a pipe, with a digest under a key of this process, before they tell
who waits.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import secrets
import signal
import socket
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vouchd.errors import NotFound, SigningError, VouchdError
from vouchd.hardening import harden
from vouchd.signing.token.messages import Kind, failure, joined, pack, parted, unpack
from vouchd.signing.token.pins import read_pin
from vouchd.signing.token.reference import TokenPlace

if TYPE_CHECKING:
    from vouchd.signing.token.device import Device

MAX_MESSAGE = 128 << 10
# A session signs so long of a lot, then answers with what it has: what is left is asked for again, within a time of its
# own. So a token that has become slow signs one at a time, and no signature waits for many.
LOT_SECONDS = 0.02
_DIGEST_BYTES = 32


def main() -> None:
    """Serve the control socket, which is standard input, until its other end is closed."""
    harden()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's; who signs decides
    control = socket.socket(fileno=os.dup(0))
    first = control.recv(MAX_MESSAGE)
    if first:
        _Launcher(control, json.loads(first)).serve()


class _Launcher:
    def __init__(self, control: socket.socket, place: dict[str, str]) -> None:
        self._control = control
        self._place = TokenPlace(
            Path(place["module"]),
            place["label"],
            Path(place["passwords"]),
            place["pin_command"],
            Path(place["pin_file"]) if place["pin_file"] else None,
        )
        self._key = secrets.token_bytes(_DIGEST_BYTES)
        self._refused: set[bytes] = set()
        self._missing = _missing_library()
        self._refusals, self._refuse = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 2)
            if not message:
                return
            try:
                self._open(json.loads(message), *descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _open(self, wish: dict[str, bool], session: int, lifeline: int) -> None:
        _reap()
        self._note_refusals()
        try:
            pin = read_pin(self._place)
            if wish["last_try"]:
                self._refused.discard(self._digest(pin))
            if self._digest(pin) in self._refused:
                raise SigningError(
                    f"token {self._place.label}: the PIN was wrong, and is not tried again until another one is there",
                    hint=f"put the right one into password.conf; where it is the right one now: vouchd token test "
                    f"{self._place.label} --last-try, or vouchd restart",
                )
        except VouchdError as error:
            _reply(session, failure(error))
            return
        if os.fork() == 0:
            self._control.close()
            self._be_session(wish, pin, session, lifeline)

    def _be_session(self, wish: dict[str, bool], pin: str, descriptor: int, lifeline: int) -> NoReturn:
        """Be the child."""
        code = 1
        try:
            _end_with(lifeline)
            self._serve(wish, pin, descriptor)
            code = 0
        except Exception:  # noqa: BLE001  the outermost handler; a traceback shows no values, so no PIN
            traceback.print_exc()
        finally:
            os._exit(code)  # no finalisation of a module that may hang in it

    def _serve(self, wish: dict[str, bool], pin: str, descriptor: int) -> None:
        if self._missing is not None:
            _reply(descriptor, failure(self._missing))
            return
        from vouchd.signing.token.device import Device, PINRefused  # noqa: PLC0415  see _missing_library

        try:
            device = Device(
                self._place.module, self._place.label, pin, last_try=wish["last_try"], writable=wish["writable"]
            )
        except PINRefused as error:
            os.write(self._refuse, self._digest(pin))
            _reply(descriptor, failure(error))
            return
        except SigningError as error:
            _reply(descriptor, failure(error))
            return
        _reply(descriptor, pack(Kind.DONE, device.description()))
        with socket.socket(fileno=os.dup(descriptor)) as channel:
            while request := channel.recv(MAX_MESSAGE):
                channel.send(_answer(device, request))

    def _note_refusals(self) -> None:
        try:
            while digest := os.read(self._refusals, _DIGEST_BYTES):
                self._refused.add(digest)
        except BlockingIOError:
            return

    def _digest(self, pin: str) -> bytes:
        return hmac.digest(self._key, pin.encode("utf-8", "surrogateescape"), "sha256")


def _answer(device: Device, request: bytes) -> bytes:
    kind, fields, data = unpack(request)
    try:
        if kind is Kind.SIGN:
            return _signatures(device, fields["key"], fields["algorithm"], parted(data))
        if kind is Kind.FIND:
            return pack(Kind.DONE, {"key": device.find(data)})
        if kind is Kind.LIST:
            return pack(Kind.DONE, {"keys": device.keys()})
        if kind is Kind.GENERATE:
            made = device.generate(
                fields["algorithm"], fields["label"], fields["rsa_bits"], extractable=fields["extractable"]
            )
            return pack(Kind.DONE, {}, made)
        device.remove(data)
        return pack(Kind.DONE)
    except (NotFound, SigningError) as error:
        return failure(error)


def _signatures(device: Device, key: int, algorithm: str, lot: list[bytes]) -> bytes:
    """The message with the signatures over the first of a lot, and how many seconds the quickest took."""
    signatures, pace = device.sign(key, algorithm, lot, LOT_SECONDS)
    return pack(Kind.DONE, {"pace": pace}, joined(signatures))


def _missing_library() -> SigningError | None:
    """Load the library for all sessions, not yet any module; an error when it is not installed."""
    try:
        import vouchd.signing.token.device  # noqa: F401, PLC0415  an extra of the installation
    except ModuleNotFoundError:
        return SigningError("python-pkcs11 is not installed", hint="pip install 'vouchd[hsm]'")
    return None


def _reap() -> None:
    """Let go of the children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue
    except ChildProcessError:
        return


def _end_with(lifeline: int) -> None:
    """Have the kernel end this process when the other end of the pipe is closed."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    os.set_blocking(lifeline, False)
    try:
        closed = os.read(lifeline, 1) == b""
    except BlockingIOError:
        closed = False
    if closed:  # before it was listened to
        os._exit(1)


def _reply(descriptor: int, message: bytes) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as channel:
        channel.send(message)


if __name__ == "__main__":
    main()
