"""The instance's own certificates: list, request, install."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.api import shapes
from vouchd.api.operation import Call, Operation
from vouchd.api.schema import BOOLEAN, MAYBE_TEXT, TEXT, Schema, array, described, record, reference, text
from vouchd.api.services import Services
from vouchd.ca.requests import parse_name, parse_subject
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, NotFound, SigningError
from vouchd.instance.certificates.places import SystemCertificate
from vouchd.instance.certificates.service import Installed
from vouchd.pkix.purposes import Purpose, expiry_warning
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
            "state": described(TEXT, "In a word: valid, when it ends, what is wrong with it, or not come yet."),
            "due": described(BOOLEAN, "Whether it is missing or ends soon."),
            "file": described(TEXT, "Where it lies, or will lie, on the instance's host."),
            "problem": TEXT,
            "certificate": {"anyOf": [reference("Certificate"), _NULL]},
            "chain": array(reference("Certificate")),
            "requests": array(reference("CertificateRequest")),
        }
    ),
    "CertificateRequest": record(
        {"name": TEXT, "file": described(TEXT, "Where it lies on the instance's host."), "pem": TEXT}
    ),
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
    "Installed": record(
        {
            "certificate": reference("SystemCertificate"),
            "warnings": array(TEXT),
            "switched": BOOLEAN,
            "browser": described(MAYBE_TEXT, "The administrator's: a file for its browser, on the instance's host."),
            "password": described(MAYBE_TEXT, "The administrator's: the file with the password of that one."),
        }
    ),
}


def _all(call: Call) -> list[dict[str, Any]]:
    places = _refused_as_input(lambda: call.services.certificates.certificates(call.caller))
    return [_shape(call.services, call.caller, one) for one in places]


def _one(call: Call) -> dict[str, Any]:
    for one in call.services.certificates.certificates(call.caller):
        if one.name == call.path["name"]:
            return _shape(call.services, call.caller, one)
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
    return _request_shape(path)


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
    return installed(call.services, call.caller, done)


def installed(services: Services, caller: Caller, done: Installed) -> dict[str, Any]:
    """The shape of what an installation did."""
    is_administrator = done.certificate.purpose is Purpose.ADMINISTRATOR
    return {
        "certificate": _shape(services, caller, done.certificate),
        "warnings": list(done.warnings),
        "switched": done.switched,
        "browser": str(services.layout.admin_pkcs12) if is_administrator else None,
        "password": str(services.layout.admin_password) if is_administrator else None,
    }


def _refused_as_input(act: Callable[[], T]) -> T:
    """What `act` returns; a certificate or request that does not serve is the caller's fault, not this host's."""
    try:
        return act()
    except SigningError as error:
        raise BadInput(str(error), hint=error.hint) from error


def _shape(services: Services, caller: Caller, one: SystemCertificate) -> dict[str, Any]:
    der = one.der
    warning = expiry_warning(one.certificate, services.clock.now()) if one.certificate else ""
    return {
        "name": one.name,
        "purpose": one.purpose.value,
        "installed": one.files.installed,
        "state": warning or "valid" if one.certificate else one.problem or "not come yet",
        "due": one.certificate is None or bool(warning),
        "file": str(one.files.certificate_file),
        "problem": one.problem,
        "certificate": shapes.certificate(der, one.certificate.fingerprint(hashes.SHA256()).hex())
        if der and one.certificate
        else None,
        "chain": [
            shapes.certificate(above.public_bytes(Encoding.DER), above.fingerprint(hashes.SHA256()).hex())
            for above in one.chain
        ],
        "requests": [_request_shape(path) for path in services.certificates.pending(one.name, caller)],
    }


def _request_shape(path: Path) -> dict[str, Any]:
    try:
        return {"name": path.name, "file": str(path), "pem": path.read_text(encoding="ascii")}
    except (OSError, ValueError) as error:
        raise NotFound(f"the request {path.name} cannot be read") from error


_SHOWN = reference("SystemCertificate")
OPERATIONS = (
    Operation(
        "GET",
        "/certificates",
        "certificates.list",
        "The instance's own certificates, with requests under way",
        Action.LIST_CERTIFICATES,
        _all,
        array(_SHOWN),
    ),
    Operation("GET", "/certificates/{name}", "certificates.get", "One of them", Action.LIST_CERTIFICATES, _one, _SHOWN),
    Operation(
        "POST",
        "/certificates/{name}/requests",
        "certificates.request",
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
        "certificates.install",
        "Take in a certificate that a CA issued: tried out, then switched to at the next restart",
        Action.CHANGE_CERTIFICATES,
        _install,
        reference("Installed"),
        body=reference("Installation"),
    ),
)
