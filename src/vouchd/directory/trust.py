"""Why TLS with a directory server fails: to libldap a certificate that is not trusted is a server that is away."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from vouchd.core.facts import DirectoryServer

_SECONDS = 3.0


def distrust(server: DirectoryServer, trust_file: Path | None) -> str:
    """What is wrong with its certificate, by a handshake on its TLS port; empty: nothing, or nobody answers there.

    `trust_file`: PEM of the CAs of the certificate; without it those of the system.
    """
    try:
        context = ssl.create_default_context(cafile=trust_file)
        with (
            socket.create_connection((server.host, server.port), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=server.host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:  # ssl.SSLError is one: what answers there may not speak TLS at all
        return ""
