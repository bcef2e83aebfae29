"""`vouchd ca`: the certificate manager's verbs that make things: create, issue."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from vouchd.ca.authority import CertificateManager
from vouchd.ca.ca_keys import DEFAULT_KEY_TYPE, KEY_TYPES, clear_key_pem, generate_key
from vouchd.ca.creating import AuthorityPlan, create_authority
from vouchd.ca.facts import DAY, HOUR, AuthoritySettings
from vouchd.ca.profiles import PROFILES, ProfileName
from vouchd.ca.requests import CertificateRequest, parse_name, parse_subject, request_from_csr
from vouchd.cli import output
from vouchd.cli.ca import crl, status
from vouchd.cli.ca.status import certificate_fields
from vouchd.cli.options import DEFAULT_CA, CADirOption, JsonOption
from vouchd.clock import SystemClock
from vouchd.errors import ConfigError
from vouchd.files import read_file, write_new
from vouchd.pkix.certs import not_after

app = typer.Typer(
    name="ca",
    no_args_is_help=True,
    help="A small certificate manager of our own; for the CAs that are answered for: vouchd authority.",
)

_KEY_HELP = f"Kind of key: {', '.join(KEY_TYPES)}."
_PROFILE_HELP = "; ".join(f"{profile.name}: {profile.summary}" for profile in PROFILES.values()) + "."


@app.command()
def create(
    subject: Annotated[str, typer.Option("--subject", "-s", metavar="NAME", help="Name of the CA, as in RFC 4514.")],
    ca: CADirOption = DEFAULT_CA,
    key: Annotated[str, typer.Option("--key", metavar="KIND", help=_KEY_HELP)] = DEFAULT_KEY_TYPE,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Validity; 3650 for a root, else 1825.")] = None,
    issuer: Annotated[
        Path | None, typer.Option("--issuer", metavar="DIR", help="Folder of the CA above; without it: self-signed.")
    ] = None,
    path_length: Annotated[int | None, typer.Option(min=0, max=100, help="How many CAs may stand below.")] = None,
    ocsp_url: Annotated[str, typer.Option(metavar="URL", help="The responder's address, put into certificates.")] = "",
    crl_url: Annotated[str, typer.Option(metavar="URL", help="Where the CRL is found, put into certificates.")] = "",
    delta_url: Annotated[str, typer.Option(metavar="URL", help="Where delta CRLs are found (FreshestCRL).")] = "",
    issuer_url: Annotated[str, typer.Option(metavar="URL", help="Where the CA certificate is found.")] = "",
    crl_hours: Annotated[float, typer.Option(min=0.01, max=8784, help="thisUpdate to nextUpdate of a CRL.")] = 24,
    delta_hours: Annotated[float, typer.Option(min=0.01, max=8784, help="The same of a delta CRL.")] = 1,
    include_expired: Annotated[
        bool, typer.Option("--include-expired", help="Keep expired certificates on the CRLs for ever.")
    ] = False,
    signature: Annotated[
        str, typer.Option(metavar="NAME", help="Signature algorithm, such as SHA256withRSA/PSS; default: by the key.")
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Make a new CA in a folder: key, certificate, database.

    Example: vouchd ca create --ca ./ca --subject 'CN=Lab CA,O=Example' --ocsp-url http://127.0.0.1:8080/
    """
    settings = AuthoritySettings(
        ocsp_url=ocsp_url,
        crl_url=crl_url,
        delta_url=delta_url,
        issuer_url=issuer_url,
        crl_seconds=int(crl_hours * HOUR),
        delta_seconds=int(delta_hours * HOUR),
        include_expired=include_expired,
        signature_algorithm=signature,
    )
    with ExitStack() as opened:
        parent = opened.enter_context(CertificateManager(issuer)) if issuer else None
        plan = AuthorityPlan(subject, key, _seconds(days), path_length, parent, settings)
        manager = opened.enter_context(create_authority(ca, plan, SystemClock().now()))
        output.record(
            {
                "subject": manager.certificate.subject.rfc4514_string(),
                "issuer": manager.certificate.issuer.rfc4514_string(),
                "not_after": output.when(not_after(manager.certificate)),
                "folder": str(ca),
                "certificate": str(manager.folder.certificate),
            },
            json_output=json_output,
        )


@app.command()
def issue(
    ca: CADirOption = DEFAULT_CA,
    profile: Annotated[ProfileName, typer.Option("--profile", "-p", help=_PROFILE_HELP)] = ProfileName.SERVER,
    subject: Annotated[
        str, typer.Option("--subject", "-s", metavar="NAME", help="As in RFC 4514; default: the request's.")
    ] = "",
    csr: Annotated[
        Path | None, typer.Option("--csr", metavar="FILE", help="PKCS #10 request; without it a new key is made.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="DNS:, IP:, email: or URI: name; repeatable.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Validity; default: the profile's.")] = None,
    key: Annotated[str, typer.Option("--key", metavar="KIND", help=_KEY_HELP)] = DEFAULT_KEY_TYPE,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The certificate; default: by its name.")
    ] = None,
    key_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The new key (0600, not encrypted); default: FILE.key.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Issue a certificate, from a request (--csr) or with a new key.

    Example: vouchd ca issue --profile server --subject CN=www.example.org --name DNS:www.example.org --out www.crt
    """
    names = tuple(parse_name(text) for text in name or [])
    wanted = parse_subject(subject) if subject else None
    new_key = None
    if csr is not None:
        request = request_from_csr(
            _read_request(csr), profile, subject=wanted, names=names, validity_seconds=_seconds(days)
        )
    else:
        if wanted is None:
            raise ConfigError("neither a request nor a subject", hint="give --csr FILE or --subject NAME")
        new_key = generate_key(key)
        request = CertificateRequest(wanted, new_key.public_key(), profile, names, _seconds(days))
    if profile is ProfileName.SERVER and not request.names:
        output.warn("a server certificate without names: TLS clients refuse it", "give --name DNS:host")
    certificate_file = out or Path(_file_name(request.subject) + ".crt")
    key_file = (key_out or certificate_file.with_suffix(".key")) if new_key else None
    with CertificateManager(ca) as manager:
        if new_key and key_file:
            # Kept before the certificate exists: a certificate without its key would be of no use.
            write_new(key_file, clear_key_pem(new_key), 0o600)
        try:
            record = manager.issue(request, SystemClock().now())
        except BaseException:
            if key_file:
                key_file.unlink(missing_ok=True)
            raise
        write_new(certificate_file, _pem(record.der) + manager.chain_pem(), 0o644)
    files = {"certificate": str(certificate_file)} | ({"key": str(key_file)} if key_file else {})
    output.record(certificate_fields(record, SystemClock().now()) | files, json_output=json_output)


def _read_request(path: Path) -> bytes:
    try:
        return read_file(path, error=ConfigError)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _file_name(subject: x509.Name) -> str:
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common[0].value) if common else ""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")[:60] or "certificate"


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _seconds(days: int | None) -> int | None:
    return None if days is None else days * DAY


status.register(app)
crl.register(app)
