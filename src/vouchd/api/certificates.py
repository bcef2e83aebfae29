"""The instance's own certificates: list, request, install."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.api import told
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import BOOLEAN, TEXT, Schema, array, record, reference, text
from vouchd.ca.requests import parse_name, parse_subject
from vouchd.errors import BadInput, NotFound, SigningError
from vouchd.instance.certificates.places import SystemCertificate
from vouchd.pkix.signatures import ALGORITHMS
from vouchd.service.permission import Action

T = TypeVar("T")

_NULL: Schema = {"type": "null"}
_BUNDLE = text("Certificates as PEM, or base64 of DER or of PKCS #7", low=1, high=1 << 19)
SCHEMAS: dict[str, Schema] = {
    "SystemCertificate": record(
        {
            "name": TEXT,
            "purpose": TEXT,
            "installed": BOOLEAN,
            "problem": TEXT,
            "certificate": {"anyOf": [reference("Certificate"), _NULL]},
            "chain": array(reference("Certificate")),
            "requests": array(reference("CertificateRequest")),
        }
    ),
    "CertificateRequest": record({"name": TEXT, "pem": TEXT}),
    "NewRequest": record(
        {},
        {
            "subject": text("RFC 4514; default: as now", low=1, high=400),
            "names": array(text("DNS:, IP:, email: or URI: name", low=1, high=300), high=20),
            "algorithm": {"type": "string", "enum": list(ALGORITHMS)},
            "same_key": BOOLEAN,
        },
    ),
    "Installation": record({"certificate": _BUNDLE}, {"chain": _BUNDLE, "trial": BOOLEAN}),
    "Installed": record({"certificate": reference("SystemCertificate"), "warnings": array(TEXT), "switched": BOOLEAN}),
}


def _all(call: Call) -> list[dict[str, Any]]:
    found = _refused_as_input(lambda: call.services.certificates.certificates(call.caller))
    return [_told(call, one) for one in found]


def _one(call: Call) -> dict[str, Any]:
    for one in call.services.certificates.certificates(call.caller):
        if one.name == call.path["name"]:
            return _told(call, one)
    raise NotFound("no such system certificate", hint="GET /api/v1/certificates lists those there are")


def _request(call: Call) -> dict[str, Any]:
    body = call.body
    path = _refused_as_input(
        lambda: call.services.certificates.request(
            call.path["name"],
            call.caller,
            subject=parse_subject(body["subject"]) if "subject" in body else None,
            names=[parse_name(name) for name in body.get("names", ())],
            algorithm=body.get("algorithm", ""),
            same_key=body.get("same_key", False),
        )
    )
    return _told_request(path)


def _install(call: Call) -> dict[str, Any]:
    body = call.body
    done = _refused_as_input(
        lambda: call.services.certificates.install(
            call.path["name"],
            body["certificate"].encode(),
            call.caller,
            chain=body.get("chain", "").encode(),
            trial=body.get("trial", False),
        )
    )
    return {
        "certificate": _told(call, done.certificate),
        "warnings": list(done.warnings),
        "switched": done.switched,
    }


def _refused_as_input(act: Callable[[], T]) -> T:
    """What `act` returns; a certificate or request that does not serve is the caller's fault, not this host's."""
    try:
        return act()
    except SigningError as error:
        raise BadInput(str(error), hint=error.hint) from error


def _told(call: Call, one: SystemCertificate) -> dict[str, Any]:
    der = one.der
    return {
        "name": one.name,
        "purpose": one.purpose.value,
        "installed": one.files.installed,
        "problem": one.problem,
        "certificate": told.certificate(der, one.certificate.fingerprint(hashes.SHA256()).hex())
        if der and one.certificate
        else None,
        "chain": [
            told.certificate(above.public_bytes(Encoding.DER), above.fingerprint(hashes.SHA256()).hex())
            for above in one.chain
        ],
        "requests": [_told_request(path) for path in call.services.certificates.pending(one.name, call.caller)],
    }


def _told_request(path: Path) -> dict[str, Any]:
    try:
        return {"name": path.name, "pem": path.read_text(encoding="ascii")}
    except (OSError, ValueError) as error:
        raise NotFound(f"the request {path.name} cannot be read") from error


_SHOWN = reference("SystemCertificate")
OPERATIONS = (
    Operation(
        "GET",
        "/certificates",
        "listCertificates",
        "The instance's own certificates, with requests under way",
        Action.LIST_CERTIFICATES,
        _all,
        array(_SHOWN),
    ),
    Operation("GET", "/certificates/{name}", "getCertificate", "One of them", Action.LIST_CERTIFICATES, _one, _SHOWN),
    Operation(
        "POST",
        "/certificates/{name}/requests",
        "requestCertificate",
        "Make a key and a request that any CA can certify; nothing changes until it is installed",
        Action.CHANGE_CERTIFICATES,
        _request,
        reference("CertificateRequest"),
        status=201,
        body=reference("NewRequest"),
        refusals={422: "A name in the request is none."},
    ),
    Operation(
        "POST",
        "/certificates/{name}/install",
        "installCertificate",
        "Take in a certificate that a CA issued: tried out, then switched to at the next restart",
        Action.CHANGE_CERTIFICATES,
        _install,
        reference("Installed"),
        body=reference("Installation"),
    ),
)
