"""`vouchd domain register`, `unregister`, `others`: a security domain that a Certificate System's CA hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password, spread
from vouchd.client.certsystem_domain import CertificateSystemDomain
from vouchd.cloning.certsystem_entry import enter_domain
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

AtOption = Annotated[str, typer.Option("--at", metavar="URL", help="The CA that hosts it: https://HOST:8443.")]
TrustOption = Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="The CA of that port, PEM.")]
FingerprintOption = Annotated[
    str, typer.Option("--fingerprint", metavar="HEX", help="SHA-256 of the certificate of that port, instead of a CA.")
]
UserOption = Annotated[str, typer.Option("--user", metavar="NAME", help="Of Enterprise OCSP Administrators there.")]
PasswordOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="The password of that user (0600).")
]
HostOption = Annotated[str, typer.Option("--host", metavar="NAME", help="This host, as the CA resolves it.")]
PublishOption = Annotated[
    bool, typer.Option("--publish", help="Have the CA publish here, and fetch what a publication missed.")
]


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """How the CA that hosts the domain is known, and the user there."""

    password_file: PasswordOption = None
    trust: TrustOption = None
    fingerprint: FingerprintOption = ""

    def domain(self, at: str, user: str) -> CertificateSystemDomain:
        """The domain, called as that user. Raises: ConfigError."""
        password = read_password(self.password_file, Path(user))
        return CertificateSystemDomain(at, user, password, self.trust, self.fingerprint)


def others(
    at: AtOption, trust: TrustOption = None, fingerprint: FingerprintOption = "", json_output: JsonOption = False
) -> None:
    """List who is in the security domain of a Certificate System.

    Example: vouchd domain others --at https://ca.example.com:8443 --trust ca.pem
    """
    name, hosts = CertificateSystemDomain(at, trust_file=trust, fingerprint=fingerprint).hosts()
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


@spread
def enter(
    at: AtOption,
    user: UserOption,
    host: HostOption,
    instance: InstanceOption = DEFAULT_INSTANCE,
    *,
    access: AccessOptions,
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
    domain = access.domain(at, user)
    with wiring.services(layout) as services:
        entry = enter_domain(services, domain, host, publish=publish)
    output.record({"domain": entry.domain, "host": entry.place}, json_output=json_output)
    if publish:
        output.hint("restart the CA, which takes up its publisher then; and this instance: vouchd restart")


@spread
def withdraw(
    at: AtOption,
    user: UserOption,
    host: HostOption,
    instance: InstanceOption = DEFAULT_INSTANCE,
    *,
    access: AccessOptions,
    json_output: JsonOption = False,
) -> None:
    """Take this instance out of the security domain of a Certificate System.

    No call there takes a publisher away: the lines to take out of the CA's CS.cfg are shown.

    Example: vouchd domain unregister --at https://ca.example.com:8443 --user caadmin --host ocsp.example.com
    """
    layout = Layout(instance.absolute())
    domain = access.domain(at, user)
    with wiring.services(layout) as services:
        port = services.settings.agent.port
    domain.remove(host, host, port)
    output.record({"domain": domain.hosts()[0], "left": f"{host}:{port}"}, json_output=json_output)
    place = f"{host}-{port}".replace(".", "-")
    output.hint(f"if the CA publishes here, take OCSPPublisher-{place} and ocsprule-{place} out of its CS.cfg")


def register(app: typer.Typer) -> None:
    """Mount these verbs."""
    app.command("others")(others)
    app.command("register")(enter)
    app.command("unregister")(withdraw)
