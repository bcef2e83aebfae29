"""CFSSL's `ocspserve`: a server of answers that somebody else has signed beforehand, as RFC 5019 would have it."""

from __future__ import annotations

import base64
import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp
from tests.ports import free_port

from bench.peers.building import built_by_go, version_in_go
from bench.peers.peer import Serving, Site
from bench.peers.running import running

MODULE = "github.com/cloudflare/cfssl"


class CFSSL:
    """Signs nothing when it is asked, so no answer of it is cold, and none has a nonce."""

    name = "cfssl ocspserve"
    keys = ("EC",)

    @contextmanager
    def serving(self, site: Site) -> Iterator[Serving]:
        """It, with an answer for each certificate of the CA."""
        program = built_by_go(f"{MODULE}/cmd/cfssl")
        port, begin = free_port(), time.monotonic()
        file = responses(site)
        command = [str(program), "ocspserve", "-address", "127.0.0.1", "-port", str(port), "-responses", str(file)]
        with running([*command, "-loglevel", "5"], site.folder) as pid:
            serving = Serving(version_in_go(MODULE), port, lambda: [pid], note="signed beforehand")
            seconds = serving.seconds_until_revoked(site, begin)
            yield serving.listed(seconds, "all answers signed by the library in a loop, then its start")


def signer_key(site: Site) -> CertificateIssuerPrivateKeyTypes:
    """The key of the delegated signer."""
    return load_pem_private_key((site.folder / "signer.key").read_bytes(), None)


def responses(site: Site) -> Path:
    """Its file: a line of base64 for each answer, SHA-1 CertIDs as the questions have."""
    key = signer_key(site)
    name = hashes.Hash(hashes.SHA1())  # noqa: S303
    name.update(site.ca.subject.public_bytes())
    issuer = name.finalize(), x509.SubjectKeyIdentifier.from_public_key(site.ca.public_key()).digest
    good, revoked, ends = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, site.crl.next_update_utc
    answers = [(serial, good, None) for serial in site.issued]
    answers += [(entry.serial_number, revoked, entry.revocation_date_utc) for entry in site.revoked]
    now, file = dt.datetime.now(dt.UTC), site.folder / "responses"
    with file.open("wb") as lines:
        for serial, status, at in answers:
            builder = ocsp.OCSPResponseBuilder().certificates([site.signer])
            builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, site.signer)
            builder = builder.add_response_by_hash(*issuer, serial, hashes.SHA1(), status, now, ends, at, None)  # noqa: S303
            lines.write(base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)) + b"\n")
    return file
