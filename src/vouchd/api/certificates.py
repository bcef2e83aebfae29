"""The instance's own certificates: list, request, install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta, Struct, field

from vouchd.api import shapes
from vouchd.api.instance import Renewal, renewal_shape
from vouchd.api.model import Words, about
from vouchd.api.operation import Call, Operation
from vouchd.api.services import Services
from vouchd.ca.requests import parse_name, parse_subject
from vouchd.cloning.own_certificates import own_host
from vouchd.core.facts import Caller
from vouchd.errors import LifecycleError, NotFound, SigningError, StoreUnavailable
from vouchd.files import read_file
from vouchd.instance.certificates import service
from vouchd.instance.certificates.enrolment import due_at
from vouchd.instance.certificates.in_use import RENEWED
from vouchd.instance.certificates.places import SystemCertificate as Placed
from vouchd.instance.certificates.tokens import token_label
from vouchd.instance.report import RenewalReport
from vouchd.pkix.purposes import Purpose, expiry_warning
from vouchd.service.permission import Action
from vouchd.settings.reading import read_settings
from vouchd.settings.signing_keys import EnrolmentWay
from vouchd.signing.token.reference import HARDWARE

_REQUEST = "-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"
Name = Annotated[str, Meta(examples=["sslserver"])]


class CertificateRequest(Struct, frozen=True):
    """A certificate request (PKCS #10) that waits for its certificate."""

    name: Annotated[str, about("The name of its file.", "sslserver.csr")]
    file: Annotated[str, about("Where it lies on the instance's host.", "/srv/vouchd/certs/sslserver.csr")]
    pem: Annotated[str, about("The request itself, PEM.", _REQUEST)]


class SystemCertificate(Struct, frozen=True):
    """One of the instance's own certificates."""

    name: Annotated[Name, about("Its name.")]
    purpose: Annotated[str, about("What it is for.", Purpose.TLS_SERVER.value)]
    installed: Annotated[bool, about("Whether it is there.")]
    state: Annotated[str, about("In a word: valid, when it ends, what is wrong with it, or not come yet.", "valid")]
    due: Annotated[bool, about("Whether it is missing or ends soon.")]
    file: Annotated[
        str, about("Where it lies, or will lie, on the instance's host.", "/srv/vouchd/certs/sslserver.pem")
    ]
    key: Annotated[str, about("Where its key is: `file`, or `hardware-LABEL`, the token of that label.", "file")]
    problem: Annotated[Words, about("Why it cannot be used; empty: it can.")]
    certificate: Annotated[shapes.Certificate | None, about("The certificate; null: it has not come yet.")]
    chain: Annotated[list[shapes.Certificate], about("The CAs above it that go along with it.")]
    requests: Annotated[list[CertificateRequest], about("The requests that wait for a certificate.")]
    renewal: Annotated[Renewal | None, about("How it renews itself; null: it does not.")]


class NewRequest(shapes.NewKey, frozen=True, forbid_unknown_fields=True):
    """What to request."""

    names: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=300)]],
        Meta(max_length=20),
        about("Further names: DNS:, IP:, email: or URI:.", ["DNS:ocsp.example.org"]),
    ] = field(default_factory=list)


class Installation(shapes.CertifiedKey, frozen=True, forbid_unknown_fields=True):
    """A certificate to take in."""

    trial: Annotated[bool, about("Try it out and change nothing.")] = False


class Installed(Struct, frozen=True):
    """What an installation did."""

    certificate: Annotated[SystemCertificate, about("The certificate as it is there now.")]
    warnings: Annotated[list[str], about("What is doubtful about it.", [])]
    switched: Annotated[bool, about("Whether the instance goes by it from its next restart on.")]
    browser: Annotated[
        str | None,
        about("The administrator's: a file for its browser, on the instance's host.", "/srv/vouchd/admin.p12"),
    ]
    password: Annotated[
        str | None, about("The administrator's: the file with the password of that one.", "/srv/vouchd/admin.password")
    ]


def _all(call: Call) -> list[SystemCertificate]:
    places = shapes.refused_as_input(lambda: call.services.certificates.certificates(call.caller))
    return [_shape(call.services, call.caller, one) for one in places]


def _one(call: Call) -> SystemCertificate:
    for one in call.services.certificates.certificates(call.caller):
        if one.name == call.path["name"]:
            return _shape(call.services, call.caller, one)
    raise NotFound("no such system certificate", hint="GET /api/v1/certificates lists those there are")


def _request(call: Call) -> CertificateRequest:
    wanted: NewRequest = call.body
    path = shapes.refused_as_input(
        lambda: call.services.certificates.request(
            call.path["name"],
            call.caller,
            subject=parse_subject(wanted.subject) if wanted.subject else None,
            names=[parse_name(name) for name in wanted.names],
            algorithm=wanted.algorithm or "",
            same_key=wanted.same_key,
        )
    )
    return _request_shape(path)


def _install(call: Call) -> Installed:
    new: Installation = call.body
    done = shapes.refused_as_input(
        lambda: call.services.certificates.install(
            call.path["name"],
            new.certificate.encode(),
            call.caller,
            chain=(new.chain or "").encode(),
            trial=new.trial,
        )
    )
    return installed(call.services, call.caller, done)


def installed(services: Services, caller: Caller, done: service.Installed) -> Installed:
    """What an installation did."""
    is_administrator = done.certificate.purpose is Purpose.ADMINISTRATOR
    return Installed(
        certificate=_shape(services, caller, done.certificate),
        warnings=list(done.warnings),
        switched=done.switched,
        browser=str(services.layout.admin_pkcs12) if is_administrator else None,
        password=str(services.layout.admin_password) if is_administrator else None,
    )


def _shape(services: Services, caller: Caller, one: Placed) -> SystemCertificate:
    warning = expiry_warning(one.certificate, services.clock.now()) if one.certificate else ""
    der = one.der
    own = shapes.certificate(der, _sha256(one.certificate)) if der and one.certificate else None
    return SystemCertificate(
        name=one.name,
        purpose=one.purpose.value,
        installed=one.files.installed,
        state=warning or "valid" if one.certificate else one.problem or "not come yet",
        due=one.certificate is None or bool(warning),
        file=str(one.files.certificate_file),
        key=_whereabouts(one.files.key_file),
        problem=one.problem,
        certificate=own,
        chain=[shapes.certificate(above.public_bytes(Encoding.DER), _sha256(above)) for above in one.chain],
        requests=[_request_shape(path) for path in services.certificates.pending(one.name, caller)],
        renewal=renewal_shape(renewal) if (renewal := _renewal_of(services, one)) else None,
    )


def _renewal_of(services: Services, one: Placed) -> RenewalReport | None:
    """How it renews itself, as the running instance says, or else the settings; None: it does not."""
    settings = read_settings(services.layout)
    wanted = next((it for it in settings.renewals if it.nickname == one.name), None)
    if wanted is None or wanted.way is EnrolmentWay.NOBODY:
        return None
    try:
        reported = services.running.report().renewal(one.name)
    except LifecycleError:
        reported = None
    if reported is not None:
        return reported
    certificate = one.certificate if one.name in RENEWED else None
    due = due_at(certificate, wanted, own_host(settings)) if certificate else None
    return RenewalReport(one.name, wanted.way.value, due)


def _whereabouts(key_file: Path) -> str:
    try:
        label = token_label(key_file)
    except SigningError:  # the self tests tell why
        label = ""
    return HARDWARE + label if label else "file"


def _sha256(certificate: x509.Certificate) -> str:
    """SHA-256 (hex) of its DER."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _request_shape(path: Path) -> CertificateRequest:
    try:
        return CertificateRequest(name=path.name, file=str(path), pem=read_file(path).decode("ascii"))
    except (FileNotFoundError, StoreUnavailable, ValueError) as error:
        raise NotFound(f"the request {path.name} cannot be read") from error


OPERATIONS = (
    Operation(
        "GET",
        "/certificates",
        "certificates.list",
        "The instance's own certificates, with requests under way",
        Action.LIST_CERTIFICATES,
        _all,
        list[SystemCertificate],
    ),
    Operation(
        "GET",
        "/certificates/{name}",
        "certificates.get",
        "One of them",
        Action.LIST_CERTIFICATES,
        _one,
        SystemCertificate,
    ),
    Operation(
        "POST",
        "/certificates/{name}/requests",
        "certificates.request",
        "Make a key and a request that any CA can certify; nothing changes until it is installed",
        Action.CHANGE_CERTIFICATES,
        _request,
        CertificateRequest,
        status=201,
        body=NewRequest,
        refusals={422: "A name in the request is none."},
    ),
    Operation(
        "POST",
        "/certificates/{name}/install",
        "certificates.install",
        "Take in a certificate that a CA issued: tried out, then switched to at the next restart",
        Action.CHANGE_CERTIFICATES,
        _install,
        Installed,
        body=Installation,
    ),
)
