"""Signers are renewed by themselves: when, by whom, and what becomes of it when that fails."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509
from tests.cloning.test_registry import HandClock
from tests.est_server import ESTServer
from tests.pki import DAY
from tests.sites import Site

from vouchd.cli.main import main
from vouchd.cloning.enrolling import Enrolling, SignerRenewal
from vouchd.core.signer_facts import SignerVersion
from vouchd.errors import ClientError
from vouchd.files import replace_file
from vouchd.instance.certificates.enrolment import SPREAD, due_at
from vouchd.instance.configuration import write_values
from vouchd.pkix.certs import load_certificate
from vouchd.service.permission import local_caller
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.settings.signing_keys import RenewalSettings
from vouchd.wiring import services as wiring

SIGNER = "ocspSigningCert"


@dataclass
class Renewing:
    """An instance that does not run, and the renewal of its signer at moments that the test chooses."""

    site: Site
    clock: HandClock = field(default_factory=lambda: HandClock(int(time.time()) + 25 * DAY))
    conducts: bool = True

    def __post_init__(self) -> None:
        self.services = None

    @property
    def layout(self) -> Layout:
        return Layout(self.site.instance)

    def enrolling(self) -> Enrolling:
        signers = SignerRenewal(self.services.signers, lambda: self.conducts, lambda: None, local_caller("test"))
        return Enrolling([signers], lambda: read_settings(self.layout), self.clock)

    def versions(self) -> tuple[SignerVersion, ...]:
        return self.services.store.keyring().versions_of(SIGNER)

    def set(self, **values: str) -> None:
        write_values(self.layout, {f"vouchd.renewal.{SIGNER}.{name}": value for name, value in values.items()})


@pytest.fixture
def renewing(tmp_path):
    """A signer of 31 days, 25 days on, whose CA our own is."""
    site = Site.make(tmp_path)
    assert site.create("--instance", str(site.instance), "--listen", "127.0.0.1", "--port", "0") == 0
    made = Renewing(site)
    with wiring.services(made.layout) as services:
        made.services = services
        yield made


def certifying(site: Site, code: int = 0) -> str:
    """A command that certifies what comes in by the site's CA, or fails; each time it leaves a line in `asked`."""
    certificate = site.folder / "next.pem"
    script = site.folder / "certify.py"
    script.write_text(
        f"import sys; open({str(site.folder / 'requests')!r}, 'a').write(sys.stdin.read())\n"
        f"print(open({str(certificate)!r}).read()) if {code} == 0 else sys.exit({code})\n"
    )
    return f"{sys.executable} {script}"


def requests(site: Site) -> list[x509.CertificateSigningRequest]:
    """What the command was asked for."""
    end = "-----END CERTIFICATE REQUEST-----\n"
    text = (site.folder / "requests").read_text()
    return [x509.load_pem_x509_csr((one + end).encode()) for one in text.split(end) if one.strip()]


def issue(site: Site, csr: x509.CertificateSigningRequest, name: str = "next.pem") -> None:
    """The site's CA certifies the request; the command prints that from now on."""
    from tests.est_server import _Public

    now = int(time.time())
    issued = site.ca.issue_signer(key=_Public(csr.public_key()), not_before=now - DAY, not_after=now + 60 * DAY)
    (site.folder / name).write_bytes(issued.pem)


def test_signer_is_renewed_when_its_share_of_life_has_passed(renewing):
    """Not a day before; then a key is made, certified by the site's command, and the set is to switch to it."""
    renewing.set(by="exec", command=certifying(renewing.site, code=9))
    early = replace(renewing, clock=HandClock(int(time.time())))
    early.services = renewing.services
    assert early.enrolling().look() is False
    assert renewing.versions() == ()
    with pytest.raises(ClientError, match=r"cannot be renewed: .*ended with 9"):
        renewing.enrolling().look()
    (csr,) = requests(renewing.site)
    assert csr.public_key() != renewing.site.signer.certificate.public_key()
    issue(renewing.site, csr)
    renewing.set(command=certifying(renewing.site))
    assert renewing.enrolling().look() is True
    assert renewing.services.store.keyring().target == ((SIGNER, 2),)
    assert renewing.enrolling().look() is False, "the next one has its life before it"


def test_failed_attempt_goes_on_with_the_same_request_after_a_pause(renewing):
    """No key is made for each attempt, the reason stays told, and the CA is not asked all the time."""
    renewing.set(by="exec", command=certifying(renewing.site, code=9))
    enrolling = renewing.enrolling()
    for seconds in (0, 1, 58, 1):
        renewing.clock.at += seconds
        with pytest.raises(ClientError, match="ended with 9"):
            enrolling.look()
    first, second = requests(renewing.site)
    assert first.public_key() == second.public_key()
    assert [one.number for one in renewing.versions()] == [1, 2]


def test_same_key_is_certified_again_where_the_policy_says_so(renewing):
    """With newKey=false the next certificate is for the key that signs."""
    renewing.set(by="exec", command=certifying(renewing.site, code=9), newKey="false")
    with pytest.raises(ClientError):
        renewing.enrolling().look()
    (csr,) = requests(renewing.site)
    assert csr.public_key() == renewing.site.signer.certificate.public_key()


def test_member_that_does_not_conduct_renews_nothing(renewing):
    """One member asks, not each."""
    renewing.set(by="exec", command=certifying(renewing.site))
    renewing.conducts = False
    assert renewing.enrolling().look() is False
    assert renewing.versions() == ()


def test_certificate_that_clients_would_refuse_is_not_taken(renewing):
    """A CA that gives the wrong thing is told of, and the signer from before goes on."""
    renewing.set(by="exec", command=certifying(renewing.site))
    (renewing.site.folder / "next.pem").write_bytes(renewing.site.signer.pem)
    with pytest.raises(ClientError, match="none of the certificates is for a key"):
        renewing.enrolling().look()
    assert renewing.services.store.keyring().target == ((SIGNER, 1),)


def test_renewal_by_our_own_ca(tmp_path, monkeypatch):
    """`by=ca`: the CA in the folder certifies, and what it gives is installed."""
    monkeypatch.chdir(tmp_path)
    site = Site.make(tmp_path)
    assert main(["ca", "create", "--ca", "lab", "--subject", "CN=Lab CA"]) == 0
    assert (
        main(["create", "--instance", str(site.instance), "--ca", "lab", "--listen", "127.0.0.1", "--port", "0"]) == 0
    )
    made = Renewing(site, HandClock(int(time.time()) + 3650 * DAY))
    with wiring.services(made.layout) as services:
        made.services = services
        made.set(by="ca", ca=str(tmp_path / "lab"))
        assert made.enrolling().look() is True
        assert services.store.keyring().target == ((SIGNER, 2),)


def test_renewal_by_est_with_a_password(renewing):
    """`by=est` with a user: the server holds the request for a while, then certifies it."""
    site = renewing.site
    with ESTServer(site.folder, site.ca, int(time.time()), basic="ocsp:pass:word", delays=1) as server:
        renewing.set(by="est", url=server.url, trust=str(server.trust), user="ocsp")
        password(renewing.layout, "pass:word")
        enrolling = renewing.enrolling()
        assert enrolling.look() is False
        renewing.clock.at += 60
        assert enrolling.look() is True
        assert server.operations == ["simplereenroll", "simplereenroll"]
    newest = renewing.versions()[-1]
    assert load_certificate(newest.certificate_der).issuer == site.ca.certificate.subject


def test_renewal_by_est_with_the_subsystem_certificate(tmp_path, monkeypatch):
    """`by=est` without a user: the client is known by the certificate that it has for TLS."""
    monkeypatch.chdir(tmp_path)
    site = Site.make(tmp_path)
    assert main(["ca", "create", "--ca", "lab", "--subject", "CN=Lab CA"]) == 0
    files = ["--signer-key", "signer.key", "--signer-cert", "signer.pem", "--ca-cert", "ca.pem"]
    assert main(["create", "--instance", str(site.instance), *files, "--listen", "127.0.0.1", "--port", "0"]) == 0
    assert main(["certs", "renew", "subsystem", "--ca", "lab", "--instance", str(site.instance)]) == 0
    made = Renewing(site)
    clients = tmp_path / "lab/ca.crt"
    with (
        ESTServer(tmp_path, site.ca, int(time.time()), clients=clients) as server,
        wiring.services(made.layout) as services,
    ):
        made.services = services
        made.set(by="est", url=server.url, trust=str(server.trust))
        assert made.enrolling().look() is True


@pytest.mark.parametrize(
    ("user", "trusted", "why"), [("stranger", True, "401"), ("ocsp", False, "certificate verify failed")]
)
def test_est_server_that_refuses_or_is_not_known_is_told_of(renewing, user, trusted, why):
    """Neither a wrong password nor a server that nobody vouches for leads to a certificate."""
    site = renewing.site
    with ESTServer(site.folder, site.ca, int(time.time()), basic="ocsp:word") as server:
        trust = server.trust if trusted else Path(site.file("ca.pem"))
        renewing.set(by="est", url=server.url, trust=str(trust), user=user)
        password(renewing.layout, "word")
        with pytest.raises(ClientError, match=why):
            renewing.enrolling().look()
    assert renewing.services.store.keyring().target == ((SIGNER, 1),)


def password(layout: Layout, word: str) -> None:
    text = layout.password_conf.read_text() + f"renewal.{SIGNER}={word}\n"
    replace_file(layout.password_conf, text.encode(), 0o600)


def test_hosts_do_not_all_ask_at_once_and_each_always_at_its_own_time(renewing):
    """The moment lies in a twentieth of the life after the share, by a hash of host and nickname."""
    site, renewal = renewing.site, RenewalSettings(SIGNER)
    certificate = site.signer.certificate
    begin, end = (int(one.timestamp()) for one in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
    moments = {due_at(certificate, renewal, f"ocsp{number}.example") for number in range(50)}
    assert len(moments) > 40
    share = begin + (end - begin) * renewal.after_percent // 100
    assert share <= min(moments) <= max(moments) <= share + (end - begin) // SPREAD
    assert due_at(certificate, renewal, "ocsp1.example") == due_at(certificate, renewal, "ocsp1.example")
