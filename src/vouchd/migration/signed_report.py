"""The report of a comparison, signed with the key of the audit log, so that it can be shown to somebody later."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from vouchd.core.ports import Signer
from vouchd.errors import VerificationError
from vouchd.pkix.signatures import ALGORITHMS, verify

_TITLE = b"vouchd comparison\n"


def signed(report: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """The report with a signature over its canonical JSON. Raises: SigningError."""
    algorithm = signer.algorithms[0]
    return {
        "report": dict(report),
        "signature": {
            "algorithm": algorithm,
            "certificate": base64.b64encode(signer.certificate_der).decode(),
            "value": base64.b64encode(signer.sign(_octets(report), algorithm)).decode(),
        },
    }


def verified(text: bytes) -> tuple[Mapping[str, Any], x509.Certificate]:
    """The report in a file and the certificate of who signed it. Raises: VerificationError."""
    try:
        document = json.loads(text)
        report, signature = document["report"], document["signature"]
        certificate = x509.load_der_x509_certificate(base64.b64decode(signature["certificate"], validate=True))
        identifier = ALGORITHMS[signature["algorithm"]].identifier_der
        value = base64.b64decode(signature["value"], validate=True)
        verify(certificate.public_key(), identifier, value, _octets(report))
    except InvalidSignature as error:
        raise VerificationError("the signature of the report is not over what it says") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError("this is no signed report of a comparison", hint="vouchd compare --report") from error
    return report, certificate


def _octets(report: Mapping[str, Any]) -> bytes:
    return _TITLE + json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
