"""Who certifies a key of this instance without an administrator: a CA of ours or of others, a command of the site."""

from __future__ import annotations

import hashlib
import os
import selectors
import shlex
import ssl
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.client.certsystem_requests import CertificateSystemRequests
from vouchd.client.est import ESTClient
from vouchd.errors import ClientError, ConfigError
from vouchd.instance.certificates.certsystem_enrolment import CertificateSystemEnrolment
from vouchd.instance.certificates.issuing import certify
from vouchd.pkix.certs import not_after, not_before
from vouchd.pkix.pem import MAX_BUNDLE_BYTES
from vouchd.pkix.purposes import Purpose
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.signing_keys import EnrolmentWay, RenewalSettings
from vouchd.settings.tcp_ports import KeyFiles

_WORDS = 300  # of what a command says when it fails
_PIECE_BYTES = 1 << 16


def enrol(renewal: RenewalSettings, purpose: Purpose, csr_pem: bytes, settings: Settings, *, again: bool) -> bytes:
    """The certificate for the request, with what came along; `again`: it follows one of the same subject.

    Raises: ClientError, RefusedForNow, ConfigError, IssuanceError, SigningError.
    """
    layout = Layout(settings.root)
    match renewal.way:
        case EnrolmentWay.CA if renewal.ca is not None:
            return certify(renewal.ca, purpose, csr_pem)
        case EnrolmentWay.EXEC:
            return run(renewal.command, csr_pem, renewal.timeout_seconds, layout.root)
        case EnrolmentWay.EST:
            csr_der = x509.load_pem_x509_csr(csr_pem).public_bytes(Encoding.DER)
            return _est_client(renewal, settings, layout).enrol(csr_der, again=again)
        case EnrolmentWay.CERTSYSTEM:
            return _at_certificate_system(renewal, settings, layout).enrol(csr_pem, purpose, renewal.profile)
    raise ConfigError(f"nobody renews {renewal.nickname}", hint=f"set vouchd.renewal.{renewal.nickname}.by")


# When: a share of the life after its beginning, and a part of a twentieth of it later, by a hash of host and name.

SPREAD = 20
_DENOMINATOR = 1 << 32


def due_at(certificate: x509.Certificate, renewal: RenewalSettings, host: str) -> int:
    """When it is to be followed by the next one, POSIX seconds: the same, whoever works it out for that host."""
    begin, end = not_before(certificate), not_after(certificate)
    share = int.from_bytes(hashlib.sha256(f"{host}\0{renewal.nickname}".encode()).digest()[:4])
    life = end - begin
    return begin + life * renewal.after_percent // 100 + life * share // (SPREAD * _DENOMINATOR)


def _est_client(renewal: RenewalSettings, settings: Settings, layout: Layout) -> ESTClient:
    context, passwords = _context(renewal), read_passwords(layout.password_conf)
    basic = _basic(renewal, layout, passwords)
    if basic is None:
        _show_certificate(context, settings.subsystem, passwords.get(INTERNAL, ""))
    return ESTClient(renewal.url, context, renewal.timeout_seconds, basic)


def _at_certificate_system(renewal: RenewalSettings, settings: Settings, layout: Layout) -> CertificateSystemEnrolment:
    context, passwords = _context(renewal), read_passwords(layout.password_conf)
    basic = _basic(renewal, layout, passwords)
    if renewal.approves and basic is None:
        _show_certificate(context, settings.subsystem, passwords.get(INTERNAL, ""))
    requests = CertificateSystemRequests(renewal.url, context, renewal.timeout_seconds, basic)
    return CertificateSystemEnrolment(requests, layout.submitted_requests, renewal.approves)


def _context(renewal: RenewalSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=renewal.trust_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _basic(renewal: RenewalSettings, layout: Layout, passwords: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password, None where there is no user. Raises: ConfigError."""
    if not renewal.user:
        return None
    password = passwords.get(f"renewal.{renewal.nickname}")
    if password is None:
        raise ConfigError(
            f"{layout.password_conf}: no password of {renewal.user}",
            hint=f"add a line renewal.{renewal.nickname}=PASSWORD",
        )
    return renewal.user, password


def _show_certificate(context: ssl.SSLContext, files: KeyFiles, password: str) -> None:
    try:
        context.load_cert_chain(files.certificate_file, files.key_file, password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{files.certificate_file}: no client certificate with its key", hint="see `vouchd certs list`"
        ) from error


def run(command: str, data: bytes, seconds: float, folder: Path) -> bytes:
    """What the program prints that gets `data` on its input: without a shell, bounded in time and in bytes.

    It has no variable of ours in its environment but PATH, HOME and LANG. Raises: ConfigError, ClientError.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(
            f"not a command: {error}", hint="a program with its arguments, quoted as for a shell"
        ) from error
    if not words:
        raise ConfigError("no command", hint="a program with its arguments")
    environment = {name: value for name in ("PATH", "HOME", "LANG") if (value := os.environ.get(name))}
    try:
        child = subprocess.Popen(  # noqa: S603  the administrator's own command, and no shell
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise ClientError(
            f"{words[0]}: {error.strerror}", hint="is the command right, and may this user run it?"
        ) from error
    try:
        printed, complaint = _talk(child, data, time.monotonic() + seconds)
        code = child.wait(timeout=seconds)
    except (subprocess.TimeoutExpired, TimeoutError) as error:
        raise ClientError(f"{words[0]}: did not end within {seconds:g} s") from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, 9)  # what it has started, too
        child.wait()
    if code != 0:
        said = complaint.decode("utf-8", "replace").strip()[:_WORDS]
        raise ClientError(f"{words[0]} ended with {code}: {said or 'it said nothing'}")
    return printed


def _talk(child: subprocess.Popen[bytes], data: bytes, until: float) -> tuple[bytes, bytes]:
    """Give the program its input and take what it prints, each up to its bound. Raises: TimeoutError, ClientError."""
    into, out, err = _pipes(child)
    descriptors = out.fileno(), err.fileno()
    printed = {one: bytearray() for one in descriptors}
    left = memoryview(data)
    with selectors.DefaultSelector() as selector, into, out, err:
        for pipe, event in ((into, selectors.EVENT_WRITE), (out, selectors.EVENT_READ), (err, selectors.EVENT_READ)):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, event)
        while selector.get_map():
            ready = selector.select(until - time.monotonic()) if until > time.monotonic() else []
            if not ready:
                raise TimeoutError
            for one, _ in ready:
                if one.fileobj is into:
                    left = _written(into, left)
                    if not left:
                        selector.unregister(into)
                        into.close()
                    continue
                piece = os.read(one.fd, _PIECE_BYTES)
                if not piece:
                    selector.unregister(one.fileobj)
                printed[one.fd] += piece
                if len(printed[one.fd]) > MAX_BUNDLE_BYTES:
                    raise ClientError(f"the command printed more than {MAX_BUNDLE_BYTES} bytes")
    return bytes(printed[descriptors[0]]), bytes(printed[descriptors[1]])


def _written(pipe: IO[bytes], left: memoryview) -> memoryview:
    """What is left to write; nothing where the program does not read on."""
    try:
        return left[os.write(pipe.fileno(), left[:_PIECE_BYTES]) :]
    except BrokenPipeError:
        return left[:0]


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None or child.stderr is None:  # pragma: no cover  it was asked for all
        raise AssertionError("no pipes")
    return child.stdin, child.stdout, child.stderr
