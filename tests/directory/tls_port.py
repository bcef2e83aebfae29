"""A port that completes TLS handshakes with a certificate that is to be refused; nothing else is said there."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vouchd.directory.nss import TLSIdentity


@contextmanager
def tls_port(folder: Path, identity: TLSIdentity, address: str) -> Iterator[int]:
    """Its number."""
    path = folder / "tls-port.pem"
    path.write_bytes(identity.key_pem + identity.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with socket.create_server((address, 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):  # that the listener was shut down
        while True:
            taken, _ = listener.accept()
            with taken, suppress(OSError), context.wrap_socket(taken, server_side=True) as connection:
                connection.recv(1)
