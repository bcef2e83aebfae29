"""`vouchd create`: a new instance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd import wiring
from vouchd.ca.authority import CertificateManager
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest, parse_subject
from vouchd.cli import output
from vouchd.cli.inputs import read_password
from vouchd.cli.issuing import equip, host_names
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.core.certs import is_issued_by
from vouchd.core.signatures import algorithms_for
from vouchd.errors import ConfigError
from vouchd.instance.creation import DEFAULT_NICKNAME, NewSigner, create_instance, csr_path, require_free
from vouchd.instance.layout import Layout
from vouchd.instance.systemcerts import FIXED, pending_requests
from vouchd.ops.clock import SystemClock
from vouchd.signing.files import read_certificates, read_secret
from vouchd.signing.keys import generate_key, read_key
from vouchd.signing.pkcs12 import read_pkcs12

DEFAULT_ALGORITHM = "SHA256withEC"
DEFAULT_SUBJECT = "CN=OCSP Signing Certificate"

PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="TCP port of OCSP; default 8080.")]
HealthPortOption = Annotated[
    int | None, typer.Option("--health-port", min=0, max=65535, help="TCP port of health and metrics; default 8081.")
]
AgentPortOption = Annotated[
    int | None, typer.Option("--agent-port", min=0, max=65535, help="TCP port of agents (TLS); default 8443.")
]


def create(
    instance: InstanceOption = DEFAULT_INSTANCE,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="DIR", help="Have our own CA in DIR certify a new key.")
    ] = None,
    signer_key: Annotated[
        Path | None, typer.Option("--signer-key", metavar="FILE", help="An existing key, PEM or DER.")
    ] = None,
    signer_cert: Annotated[
        Path | None, typer.Option("--signer-cert", metavar="FILE", help="Its certificate, PEM or DER.")
    ] = None,
    chain: Annotated[
        Path | None, typer.Option("--chain", metavar="FILE", help="Certificates between it and the CA, PEM.")
    ] = None,
    pkcs12: Annotated[
        Path | None, typer.Option("--pkcs12", metavar="FILE", help="Key and certificates in one PKCS #12 file.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Password of --signer-key or --pkcs12.")
    ] = None,
    ca_cert: Annotated[
        list[Path] | None, typer.Option("--ca-cert", metavar="FILE", help="A CA to answer for; repeatable.")
    ] = None,
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="NAME", help="Signature algorithm, such as SHA256withRSA, Ed25519.")
    ] = "",
    subject: Annotated[
        str, typer.Option("--subject", metavar="NAME", help="Of a new signing certificate.")
    ] = DEFAULT_SUBJECT,
    nickname: Annotated[
        str, typer.Option("--nickname", metavar="NAME", help="The signer's name in CS.cfg.")
    ] = DEFAULT_NICKNAME,
    host: Annotated[
        str | None, typer.Option("--host", help="Address of the OCSP and agent ports; default 0.0.0.0.")
    ] = None,
    port: PortOption = None,
    health_port: HealthPortOption = None,
    agent_port: AgentPortOption = None,
    hostname: Annotated[
        list[str] | None,
        typer.Option("--hostname", metavar="NAME", help="Of the agent port's certificate; repeatable."),
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=0, max=256, help="Default: one per core.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Make a new instance: its folder with settings, keys, an empty store.

    With an existing signer: --signer-key and --signer-cert, or --pkcs12. With a new key: --ca, or nothing, which leaves
    a certificate request (CSR) for your CA.

    Example: vouchd create --signer-key ocsp.key --signer-cert ocsp.pem --ca-cert ca.pem
    """
    if sum(source is not None for source in (ca, signer_key, pkcs12)) > 1:
        raise ConfigError("--ca, --signer-key and --pkcs12 exclude each other", hint="give one of them")
    if (signer_key is None) != (signer_cert is None):
        raise ConfigError("--signer-key and --signer-cert belong together", hint="give both")
    require_free(instance)  # before a CA issues a certificate in vain
    authorities = [certificate for path in ca_cert or () for certificate in read_certificates(path)]
    if ca is not None:
        signer, issuer = _certified_by(ca, algorithm, subject, nickname)
        authorities.append(issuer)
    elif signer_key is not None and signer_cert is not None:
        signer = _from_files(signer_key, signer_cert, chain, password_file, algorithm, nickname)
    elif pkcs12 is not None:
        signer = _from_pkcs12(pkcs12, password_file, algorithm, nickname, authorities)
    else:
        key = generate_key(algorithm or DEFAULT_ALGORITHM)
        name = parse_subject(subject)
        signer = NewSigner(key, algorithm or DEFAULT_ALGORITHM, nickname=nickname, subject=name)
    given = {
        "vouchd.ee.host": host,
        "vouchd.ee.port": port,
        "vouchd.health.port": health_port,
        "vouchd.ee.workers": workers,
        "vouchd.agent.host": host,
        "vouchd.agent.port": agent_port,
    }
    values = {key: str(value) for key, value in given.items() if value is not None}
    names = host_names(hostname or (), host)
    layout = create_instance(instance, signer, values, lambda draft: _finish(draft, authorities, names, ca))
    _show(layout, signer, authorities, json_output)
    if ca is not None:
        output.hint(f"bring its CRL: vouchd ca publish --ca {ca} --to instance:{layout.root}, then `vouchd start`")
    elif signer.certificate and authorities:
        output.hint("add its CRL with `vouchd crl add FILE`, then `vouchd start`")


def _certified_by(folder: Path, algorithm: str, subject: str, nickname: str) -> tuple[NewSigner, x509.Certificate]:
    """A new key with a certificate of our CA in `folder`, and the CA's certificate."""
    key = generate_key(algorithm or DEFAULT_ALGORITHM)
    with CertificateManager(folder) as manager:
        request = CertificateRequest(parse_subject(subject), key.public_key(), ProfileName.OCSP_SIGNING)
        certificate = x509.load_der_x509_certificate(manager.issue(request, SystemClock().now()).der)
        signer = NewSigner(key, algorithm or DEFAULT_ALGORITHM, certificate, nickname=nickname)
        return signer, manager.certificate


def _from_files(
    key_file: Path,
    certificate_file: Path,
    chain_file: Path | None,
    password_file: Path | None,
    algorithm: str,
    nickname: str,
) -> NewSigner:
    encrypted = b"ENCRYPTED" in read_secret(key_file)
    key = read_key(key_file, read_password(password_file, key_file) if encrypted or password_file else None)
    leaf, *between = [*read_certificates(certificate_file), *(read_certificates(chain_file) if chain_file else ())]
    return NewSigner(key, algorithm or algorithms_for(key.public_key())[0], leaf, tuple(between), nickname)


def _from_pkcs12(
    path: Path, password_file: Path | None, algorithm: str, nickname: str, authorities: list[x509.Certificate]
) -> NewSigner:
    """The signer in the file; the CA that issued it is added to `authorities` when it is in there too."""
    bag = read_pkcs12(path, read_password(password_file, path), nickname)
    if not authorities:
        authorities += [other for other in bag.others if is_issued_by(bag.certificate, other)][:1]
    return NewSigner(bag.key, algorithm or algorithms_for(bag.key.public_key())[0], bag.certificate, nickname=nickname)


def _finish(draft: Layout, authorities: list[x509.Certificate], names: Sequence[str], ca: Path | None) -> None:
    """Add the CAs to the draft's store, check that the signer may answer for them, make the other system keys."""
    with wiring.services(draft) as services:
        for certificate in authorities:
            services.authorities.add(certificate.public_bytes(Encoding.DER), services.caller)
        equip(services, names, ca)
    if authorities:
        wiring.check_instance(draft, warn=output.warn)


def _show(layout: Layout, signer: NewSigner, authorities: list[x509.Certificate], json_output: bool) -> None:
    request = None if signer.certificate else csr_path(layout, signer.nickname)
    left = [path for name in FIXED for path in pending_requests(layout.alias, name)]
    output.record(
        {
            "instance": str(layout.root),
            "settings": str(layout.cs_cfg),
            "signer": signer.nickname,
            "algorithm": signer.algorithm,
            "certificate": signer.certificate.subject.rfc4514_string() if signer.certificate else None,
            "request": str(request) if request else None,
            "CAs": ", ".join(authority.subject.rfc4514_string() for authority in authorities) or None,
            "administrator": None if left else str(layout.admin_pkcs12),
        },
        json_output=json_output,
    )
    if request is not None:
        if not json_output:
            output.say(request.read_text(encoding="ascii").rstrip("\n"))
        output.hint(f"have the CA certify {request}, then: vouchd certs install {signer.nickname} FILE")
    if not authorities:
        output.hint("name the CA that it answers for: vouchd ca add CA.pem")
    if request is None and authorities:
        output.hint("add its CRL with `vouchd crl add FILE`, then `vouchd start`")
    if left:
        names = ", ".join(path.name for path in left)
        output.hint(f"the agent port is off until a CA has certified {names} in {layout.alias}: vouchd certs install")
    else:
        output.hint(
            f"import {layout.admin_pkcs12} into a browser for the agent pages; its password: {layout.admin_password}"
        )
