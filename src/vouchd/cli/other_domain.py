"""`vouchd domain register`, `unregister`, `others`: a security domain that a Certificate System's CA hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.api.services import Services
from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password
from vouchd.client.certsystem_domain import CertificateSystemDomain
from vouchd.core.facts import Group
from vouchd.errors import ConfigError
from vouchd.instance.certificates.places import SUBSYSTEM, find
from vouchd.instance.configuration import write_values
from vouchd.pkix.certs import load_certificate
from vouchd.settings.layout import Layout
from vouchd.wiring import instance as wiring

AtOption = Annotated[str, typer.Option("--at", metavar="URL", help="The CA that hosts it: https://HOST:8443.")]
TrustOption = Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="The CA of that port, PEM.")]
UserOption = Annotated[str, typer.Option("--user", metavar="NAME", help="Of Enterprise OCSP Administrators there.")]
PasswordOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="The password of that user (0600).")
]
HostOption = Annotated[str, typer.Option("--host", metavar="NAME", help="This host, as the CA resolves it.")]
PublishOption = Annotated[
    bool, typer.Option("--publish", help="Have the CA publish here, and fetch what a publication missed.")
]
_SOURCE = "certificate-system-ca"
_INTERVAL_SECONDS = 300


def others(at: AtOption, trust: TrustOption = None, json_output: JsonOption = False) -> None:
    """List who is in the security domain of a Certificate System.

    Example: vouchd domain others --at https://ca.example.com:8443 --trust ca.pem
    """
    name, hosts = CertificateSystemDomain(at, trust_file=trust).hosts()
    rows = [
        {
            "domain": name,
            "kind": one.kind,
            "host": f"{one.host}:{one.secure_port}",
            "clone": one.clone,
            "name": one.name,
        }
        for one in hosts
    ]
    output.records(rows, json_output=json_output, empty=f"{name} is empty")


def enter(
    at: AtOption,
    user: UserOption,
    host: HostOption,
    instance: InstanceOption = DEFAULT_INSTANCE,
    password_file: PasswordOption = None,
    trust: TrustOption = None,
    publish: PublishOption = False,
    json_output: JsonOption = False,
) -> None:
    """Enter this instance in the security domain of a Certificate System, as its own subsystems are.

    With --publish the CA gets the publisher and the rule for this instance, takes them up when it is started anew, and
    may bring CRLs here; and a source fetches what it published while the instance was down, for it says Success then
    and never sends that CRL again.

    Example: vouchd domain register --at https://ca.example.com:8443 --user caadmin --host ocsp.example.com --publish
    """
    layout = Layout(instance.absolute())
    domain = _domain(at, user, password_file, trust)
    with wiring.services(layout) as services:
        settings = services.settings
        domain.register(host, host, settings.ee.port, settings.agent.port, clone=_is_clone(services))
        if publish:
            _publish(services, domain, host, trust)
    output.record({"domain": domain.hosts()[0], "host": f"{host}:{settings.agent.port}"}, json_output=json_output)
    if publish:
        output.hint("restart the CA, which takes up its publisher then; and this instance: vouchd restart")


def _is_clone(services: Services) -> bool:
    """Whether it is one, of an instance of ours or of a Certificate System's OCSP manager."""
    me = services.membership.me()
    return bool(services.settings.certsystem.url) or (me is not None and me.clone)


def _publish(services: Services, domain: CertificateSystemDomain, host: str, trust: Path | None) -> None:
    subsystem = find(services.settings, SUBSYSTEM).certificate
    if subsystem is None:
        raise ConfigError("this instance has no subsystem certificate yet", hint="vouchd certs list")
    publisher = domain.publishing_certificate()
    subject = load_certificate(publisher).subject.rfc4514_string()
    name = "CA-" + domain.url.removeprefix("https://").rstrip("/").replace(":", "-")
    known = {der for one in services.store.users() for der in one.certificates}
    if publisher not in known:
        services.users.add(
            name, services.caller, full_name=subject[:200], groups=[Group.TRUSTED_MANAGERS], certificates=[publisher]
        )
    domain.add_publisher(host, services.settings.agent.port, subsystem.public_bytes(Encoding.DER))
    source = f"vouchd.source.{_SOURCE}"
    values = {
        f"{source}.url": f"{domain.url.rstrip('/')}/ca/ee/ca/getCRL?op=getCRL&crlIssuingPoint=MasterCRL",
        f"{source}.intervalInSec": str(_INTERVAL_SECONDS),
        f"{source}.localRedirects": "false",
    }
    write_values(services.layout, values | ({f"{source}.trust": str(trust.absolute())} if trust else {}))


def withdraw(
    at: AtOption,
    user: UserOption,
    host: HostOption,
    instance: InstanceOption = DEFAULT_INSTANCE,
    password_file: PasswordOption = None,
    trust: TrustOption = None,
    json_output: JsonOption = False,
) -> None:
    """Take this instance out of the security domain of a Certificate System.

    No call there takes a publisher away: the lines to take out of the CA's CS.cfg are shown.

    Example: vouchd domain unregister --at https://ca.example.com:8443 --user caadmin --host ocsp.example.com
    """
    layout = Layout(instance.absolute())
    domain = _domain(at, user, password_file, trust)
    with wiring.services(layout) as services:
        port = services.settings.agent.port
    domain.remove(host, host, port)
    output.record({"domain": domain.hosts()[0], "left": f"{host}:{port}"}, json_output=json_output)
    place = f"{host}-{port}".replace(".", "-")
    output.hint(f"if the CA publishes here, take OCSPPublisher-{place} and ocsprule-{place} out of its CS.cfg")


def _domain(at: str, user: str, password_file: Path | None, trust: Path | None) -> CertificateSystemDomain:
    return CertificateSystemDomain(at, user, read_password(password_file, Path(user)), trust)


def register(app: typer.Typer) -> None:
    """Mount these verbs."""
    app.command("others")(others)
    app.command("register")(enter)
    app.command("unregister")(withdraw)
