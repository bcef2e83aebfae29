"""A running instance in which all is wrong at once that can be without others: one CA for each cause, one that is sound."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.x509 import ocsp
from tests.agent.pages.conftest import HOST, AgentSite
from tests.commands import start_vouchd
from tests.pki import CA, DAY, HOUR, shared_key
from tests.processes.running import eventually
from tests.service.world import partition
from tests.serving import request_for

from vouchd.api.services import Services
from vouchd.errors import CRLQuarantined, CRLRejected
from vouchd.instance.hindrances import Cause
from vouchd.instance.report import read_report
from vouchd.service.authorities import Authorities
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.keys import write_key
from vouchd.wiring import services as wiring

LISTED, UNLISTED = 5, 6


def crl(
    ca: CA, *, number: int, revoked: tuple[int, ...] = (LISTED,), age: int = HOUR, life: int = DAY, **more
) -> bytes:
    """DER of a CRL made `age` seconds ago for `life` seconds."""
    then = int(time.time()) - age
    times = {"this_update": then, "next_update": then + life, "revoked_at": then - DAY}
    return ca.crl(dict.fromkeys(revoked), number=number, **times, **more)


@dataclass
class Broken:
    """The instance, and its CAs by name."""

    site: AgentSite
    services: Services | None = None
    cas: dict[str, CA] = field(default_factory=dict)

    def add(self, name: str, **policy: object) -> CA:
        """A CA with a signer of its own, called as it is, and a CRL."""
        ca, key = CA.create(name, key=shared_key("EC", 60)), shared_key("EC", 1)
        services, now = self.services, int(time.time())
        alias = self.site.layout.alias
        write_key(alias / f"{name}.key", key, read_passwords(self.site.layout.password_conf)[INTERNAL])
        (alias / f"{name}.pem").write_bytes(ca.issue_signer(key=key, not_before=now - DAY, not_after=now + DAY).pem)
        prefix = f"vouchd.signer.{name}"
        self.set(f"{prefix}.key=alias/{name}.key", f"{prefix}.certificate=alias/{name}.pem")
        authorities = Authorities(services.store, services.permission, services.audit)  # it is told of the signer later
        authority = authorities.add(ca.der, services.caller, label=name, signer=name).subject
        if policy:
            authorities.set_policy(authority.id, replace(authority.policy, **policy), services.caller)
        self.cas[name] = ca
        self.take(crl(ca, number=1), now)
        return ca

    def set(self, *lines: str) -> None:
        """Add lines to CS.cfg."""
        with self.site.layout.cs_cfg.open("a") as file:
            file.write("".join(f"\n{line}\n" for line in lines))

    def take(self, data: bytes, at: int) -> None:
        self.services.ingesting.accept_crl(data, "test", self.services.caller, at)

    def answer(self, name: str, serial: int) -> str:
        """What a client is told: the certificate's status, or that of the answer."""
        report = read_report(self.site.layout.serving)
        request = urllib.request.Request(report.ee_url, request_for(self.cas[name], serial))  # noqa: S310  ours
        request.add_header("Content-Type", "application/ocsp-request")
        with urllib.request.urlopen(request) as response:  # noqa: S310
            decoded = ocsp.load_der_ocsp_response(response.read())
        sound = decoded.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        return (decoded.certificate_status if sound else decoded.response_status).name

    def health(self, path: str) -> str:
        host, port = read_report(self.site.layout.serving).health
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}") as response:
                return response.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()


# Each cause: what brings it about before the start, with the name and a word that are shown, and the answers meanwhile.


def held_back(broken: Broken, name: str) -> None:
    ca = broken.add(name, quarantine_percent=1.0)
    with suppress(CRLQuarantined):
        broken.take(crl(ca, number=2, revoked=(), age=60), int(time.time()))


def refused(broken: Broken, name: str) -> None:
    broken.add(name)
    forged = CA.create(name, key=shared_key("EC", 61))
    with suppress(CRLRejected):
        broken.take(crl(forged, number=2, revoked=(), age=60), int(time.time()))


def planted(broken: Broken, name: str) -> None:
    """The store has facts of a CRL that the CRL does not say, and nothing was served before."""
    broken.add(name)
    store = broken.services.store
    (authority,) = (one for one in store.authorities() if one.label == name)
    (epoch,) = store.epochs_of(authority.id)
    served = replace(epoch, sequence=epoch.sequence + 1, base=replace(epoch.base, crl_number=77))
    store.commit_epoch(served, {epoch.base.sha256: store.document(epoch.base.sha256)})


def past(broken: Broken, name: str) -> None:
    ca = broken.add(name)
    now = int(time.time())
    broken.take(crl(ca, number=2, age=HOUR // 2, life=HOUR // 4), now - HOUR // 3)


def named_point(broken: Broken, name: str) -> None:
    broken.add(name)
    services = broken.services
    (authority,) = (one for one in services.store.authorities() if one.label == name)
    broken.take(crl(broken.cas[name], number=2, age=60, idp=partition("http://ca.test/all.crl")), int(time.time()))
    services.ingesting.retire(authority, "complete", services.caller)


def dead_source(broken: Broken, name: str) -> None:
    broken.add(name)
    broken.set(f"vouchd.source.{name}.url=http://127.0.0.1:1/none.crl")


def no_certificate(broken: Broken, name: str) -> None:
    broken.add(name)
    (broken.site.layout.alias / f"{name}.pem").unlink()


def ended(broken: Broken, name: str) -> None:
    ca = broken.add(name)
    (present, *_) = x509.load_pem_x509_certificates((broken.site.layout.alias / "subsystem.pem").read_bytes())
    now = int(time.time())
    old = ca.issue("old", key=_Public(present.public_key()), not_before=now - DAY, not_after=now - HOUR)
    (broken.site.layout.alias / "subsystem.pem").write_bytes(old.pem)


class _Public:
    def __init__(self, key) -> None:
        self._key = key

    def public_key(self):
        return self._key


@dataclass(frozen=True)
class Fault:
    """How it comes about, what it is called, a word of what is shown, what is answered, how it ends.

    Answered are a serial that the CRL lists and one that it does not, and that in words.
    """

    bring_about: Callable[[Broken, str], None]
    what: str
    word: str
    answers: tuple[str, str]
    words: str
    mends: str
    shown_as: str = ""


BEFORE, ALL = ("REVOKED", "GOOD"), "from the CRL that is there"
FAULTS = {
    Cause.QUARANTINE: Fault(
        held_back,
        "its newest CRL is held back",
        "is held back",
        BEFORE,
        ALL,
        "release or drop it: `vouchd crl quarantine`",
    ),
    Cause.REFUSED: Fault(
        refused, "its newest CRL was refused", "was refused", BEFORE, ALL, "by itself with the next CRL that is taken"
    ),
    Cause.UNVERIFIED: Fault(
        planted,
        "the store has a CRL of it that this member does not believe, and none was served before",
        "not served as the store has it",
        ("TRY_LATER", "TRY_LATER"),
        "tryLater",
        "by itself with the next genuine CRL",
    ),
    Cause.CRL: Fault(
        past,
        "its CRL is past nextUpdate",
        "past nextUpdate",
        ("REVOKED", "TRY_LATER"),
        "revoked for what it lists, tryLater for all else",
        "by itself with the next CRL",
    ),
    Cause.COVER: Fault(
        named_point,
        "its only CRL names its distribution point, as one of several would",
        "names its distribution point",
        ("REVOKED", "UNKNOWN"),
        "revoked for what it lists, unknown for all else",
        "by the line that is said: `vouchd authority set CA --named-point-covers-all`",
    ),
    Cause.SOURCE: Fault(
        dead_source,
        "the source of its CRLs does not answer",
        "efused",
        BEFORE,
        ALL,
        "by itself when the source is back",
    ),
    Cause.PART: Fault(
        no_certificate,
        "its signer has no certificate yet, and it runs beside all of the others here",
        "no certificate yet",
        ("TRY_LATER", "TRY_LATER"),
        "tryLater",
        "`vouchd certs install`, then `vouchd restart`",
        "CA part",
    ),
    Cause.CERTIFICATE: Fault(
        ended,
        "the certificate that shows a member of the set has ended",
        "vouchd certs renew",
        BEFORE,
        ALL,
        "`vouchd certs renew`",
        "subsystem",
    ),
}


def made(folder: Path) -> Broken:
    """The instance, not running, with a CA for each cause, called as the cause is."""
    site = AgentSite(folder)
    site.vouchd("ca", "create", "--subject", "CN=Staff CA")
    site.vouchd("create", "--ca", "ca", "--listen", HOST, "--port", "0", "--health-port", "0", "--agent-port", "0")
    site.vouchd("user", "groups", "admin", "--add", "auditors", "--add", "agents", "--instance", "vouchd")
    broken = Broken(site)
    with wiring.services(site.layout) as services:
        broken.services = services
        broken.add("sound")
        for cause, fault in FAULTS.items():
            fault.bring_about(broken, cause.value)
    return broken


def running(broken: Broken):
    """A process that runs it, once it answers."""
    site = broken.site
    process = start_vouchd("run", "--instance", "vouchd", cwd=site.folder, stderr=site.file("log").open("wb"))

    def ready():
        report = read_report(site.layout.serving)
        return report.agent[1] if report and report.agent and report.acknowledged else 0

    site.port = eventually(ready, "an instance that answers")
    return process
