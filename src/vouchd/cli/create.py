"""`vouchd create`: a new instance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.wiring import instance as wiring
from vouchd.cli import createoptions as given
from vouchd.cli import directoryoptions, output
from vouchd.cloning.directory_move import NewDirectory
from vouchd.cli.directory.setup import DomainOption, ManagerOption
from vouchd.cli.inputs import read_password
from vouchd.instance.certificates.issuing import equip, host_names
from vouchd.instance.new_signer import SignerSource
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.directory.dse import ROOT_DN
from vouchd.directory.urls import server_of
from vouchd.errors import ConfigError, VouchdError
from vouchd.instance.creation import DEFAULT_NICKNAME, NewSigner, create_instance, csr_path, require_free
from vouchd.settings.layout import Layout
from vouchd.settings.declared import DirectorySettings
from vouchd.instance.certificates.places import FIXED, pending_requests
from vouchd.signing.files import read_certificates

DEFAULT_SUBJECT = "CN=OCSP Signing Certificate"


def create(
    instance: InstanceOption = DEFAULT_INSTANCE,
    ca: given.CAOption = None,
    signer_key: given.SignerKeyOption = None,
    signer_cert: given.SignerCertOption = None,
    chain: given.ChainOption = None,
    pkcs12: given.PKCS12Option = None,
    password_file: given.PasswordFileOption = None,
    ca_cert: given.CACertOption = None,
    algorithm: given.AlgorithmOption = "",
    subject: given.SubjectOption = DEFAULT_SUBJECT,
    nickname: given.NicknameOption = DEFAULT_NICKNAME,
    host: given.HostOption = None,
    port: given.PortOption = None,
    health_port: given.HealthPortOption = None,
    agent_port: given.AgentPortOption = None,
    hostname: given.HostnameOption = None,
    workers: given.WorkersOption = None,
    directory: directoryoptions.DirectoryOption = "",
    starttls: directoryoptions.StartTLSOption = False,
    directory_trust: directoryoptions.TrustOption = None,
    manager: ManagerOption = ROOT_DN,
    directory_password_file: directoryoptions.ManagerPasswordOption = None,
    domain: DomainOption = "vouchd",
    json_output: JsonOption = False,
) -> None:
    """Make a new instance: its folder with settings, keys, an empty store.

    With an existing signer: --signer-key and --signer-cert, or --pkcs12. With a new key: --ca, or nothing, which leaves
    a certificate request (CSR) for your CA. With --directory the facts are kept in that directory server.

    Example: vouchd create --signer-key ocsp.key --signer-cert ocsp.pem --ca-cert ca.pem
    """
    source = SignerSource(ca, signer_key, signer_cert, chain, pkcs12, password_file, algorithm, subject, nickname)
    source.require_one()
    require_free(instance)  # before a CA issues a certificate in vain
    place = _directory(directory, starttls, directory_trust, manager, directory_password_file, domain)
    authorities = [certificate for path in ca_cert or () for certificate in read_certificates(path)]
    signer = source.signer(authorities)
    values = {
        "vouchd.ee.host": host,
        "vouchd.ee.port": port,
        "vouchd.health.port": health_port,
        "vouchd.ee.workers": workers,
        "vouchd.agent.host": host,
        "vouchd.agent.port": agent_port,
    }
    names = host_names(hostname or (), host)
    layout = create_instance(
        instance,
        signer,
        {key: str(value) for key, value in values.items() if value is not None},
        lambda draft: _finish(draft, authorities, names, ca, place),
    )
    _show(layout, signer, authorities, ca, json_output)


def _directory(
    url: str, starttls: bool, trust: Path | None, manager: str, password_file: Path | None, domain: str
) -> NewDirectory | None:
    """The directory server that the options name, reached and found unused; None without one."""
    if not url:
        if starttls or trust or password_file:
            raise ConfigError("which directory server is not said", hint="name it: --directory ldap://HOST:389/SUFFIX")
        return None
    server = server_of(url, start_tls=starttls, replica_id=1)
    password = read_password(password_file, Path(manager))
    found = NewDirectory(DirectorySettings(server, "", trust), manager, password, domain)
    found.require_unused()
    return found


def _finish(
    draft: Layout,
    authorities: list[x509.Certificate],
    names: Sequence[str],
    ca: Path | None,
    directory: NewDirectory | None,
) -> None:
    """Add the CAs to the draft's store, check that the signer may answer for them, make the other system keys.

    Facts go to a directory server last, when nothing else can fail.
    """
    with wiring.services(draft) as services:
        for certificate in authorities:
            services.authorities.add(certificate.public_bytes(Encoding.DER), services.caller)
        equip(services, names, ca)
    if authorities:
        wiring.check_instance(draft, warn=output.warn)
    if directory is not None:
        _keep_in(directory, draft)


def _keep_in(directory: NewDirectory, draft: Layout) -> None:
    with wiring.services(draft) as services:
        try:
            directory.take(services)
        except VouchdError:
            directory.clear()
            raise
        embedded = services.settings.store
    embedded.unlink()


def _show(
    layout: Layout, signer: NewSigner, authorities: list[x509.Certificate], ca: Path | None, json_output: bool
) -> None:
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
    if ca is not None:
        output.hint(f"bring its CRL: vouchd ca publish --ca {ca} --to instance:{layout.root}, then `vouchd start`")
    elif request is None and authorities:
        output.hint("add its CRL with `vouchd crl add FILE`, then `vouchd start`")
    if left:
        names = ", ".join(path.name for path in left)
        output.hint(f"the agent port is off until a CA has certified {names} in {layout.alias}: vouchd certs install")
    else:
        output.hint(
            f"import {layout.admin_pkcs12} into a browser for the agent pages; its password: {layout.admin_password}"
        )
