"""From the moment that a set switches to another signer until its last member gives the first answer of that one.

Two members with a directory server each, asked every few milliseconds about one certificate; the master names a moment
some seconds ahead, in whole seconds, and all clocks are this host's.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import load_der_ocsp_response

from bench.cloning import HOSTS, Clones, clones
from bench.figures import Figure
from vouchd.client import inquiry
from vouchd.core.signer_facts import Keyring
from vouchd.pkix.certs import serial_octets
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

TARGET_SECONDS = 1.0
LONGEST_SECONDS = 600  # longer: it is not coming
SWITCHES = 4
_SETTLED_SECONDS = 10  # until the clone has changed, too
_PAUSE_SECONDS = 0.002  # between two questions: the set needs the processor, too
SIGNER = "ocspSigningCert"


def figures() -> list[Figure]:
    """Median and longest of some switches forth and back."""
    with clones() as made:
        made.run("ca", "issue", "--subject", "CN=one", "--name", "DNS:one.example", "--out", "one.crt")
        made.run("signer", "renew", SIGNER, "--instance", "m", "--ca", "ca")
        _wait(lambda: (SIGNER, 2) in _ring(made).current and _ring(made).switch_at + _SETTLED_SECONDS < time.time())
        switches = [_switched(made, number) for number in (1, 2) * (SWITCHES // 2)]
    late = sorted(max(moments) - at for at, moments in switches)
    detail = f"{len(late)} switches of two members; the quickest {late[0]:.3f} s"
    named = {"median": late[len(late) // 2], "longest": late[-1]}
    return [
        Figure(f"switch of signers, its moment to the last member's answer, {name}", value, TARGET_SECONDS, "s", detail)
        for name, value in named.items()
    ]


def _switched(made: Clones, number: int) -> tuple[int, list[float]]:
    """The moment of a switch to that key, and when each member was first seen to sign with it; POSIX seconds."""
    with ThreadPoolExecutor(len(HOSTS)) as threads:
        firsts = [threads.submit(_first_new, made, name) for name in HOSTS]
        _wait(lambda: _is_asked_for(made, number))
        moments = [first.result() for first in firsts]
    return _ring(made).switch_at, moments


def _is_asked_for(made: Clones, number: int) -> bool:
    """Whether the command that asks for the switch was taken; while the facts of the last one arrive it is refused."""
    try:
        made.run("signer", "switch", SIGNER, str(number), "--instance", "m")
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return False
    return True


def _first_new(made: Clones, name: str) -> float:
    """When a member first answers by another key than now."""
    issuer, leaf = (
        x509.load_pem_x509_certificate((made.folder / path).read_bytes()) for path in ("ca/ca.crt", "one.crt")
    )
    request = inquiry.question(issuer.public_bytes(Encoding.DER), [serial_octets(leaf)]).request_der
    connection = http.client.HTTPConnection(HOSTS[name][1], made.port(name, 0), timeout=LONGEST_SECONDS)

    def signer() -> tuple[bytes | None, float]:
        connection.request("POST", "/", request, {"Content-Type": "application/ocsp-request"})
        data = connection.getresponse().read()
        came = time.time()
        return load_der_ocsp_response(data).responder_key_hash, came

    before, _ = signer()
    seen = _wait(lambda: next((came for key, came in (signer(),) if key != before), 0.0))
    connection.close()
    return seen


def _ring(made: Clones) -> Keyring:
    with wiring.services(Layout((made.folder / "m").absolute())) as services:
        return services.store.keyring()


def _wait(sought: Callable[[], float]) -> float:
    """The first that is true of what `sought` returns."""
    end = time.monotonic() + LONGEST_SECONDS
    while not (result := sought()):
        time.sleep(_PAUSE_SECONDS)
        if time.monotonic() > end:
            raise AssertionError(f"the set has not switched after {LONGEST_SECONDS} seconds")
    return result
