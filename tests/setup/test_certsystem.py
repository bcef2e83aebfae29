"""Set-up in the domain of a Certificate System, and with keys that its CA certifies: panels, answers file, steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.certsystem_ca import ADMINISTRATOR, DOMAIN, PASSWORD, CertificateSystemCA, certificate_system
from tests.ds389 import PASSWORD as DIRECTORY_PASSWORD
from tests.ds389 import directories, root
from tests.pki import CA, DAY
from tests.setup.test_checks import Site, answers_of
from tests.setup.test_wizard import here
from tests.setup.wizards import open_wizard

from vouchd.errors import ConfigError, LifecycleError
from vouchd.instance.certificates.places import system_certificates
from vouchd.settings.declared import CLIENT_AUTH
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import read_passwords, replace_passwords
from vouchd.settings.reading import read_settings
from vouchd.setup.answers_file import ini_text, read_ini
from vouchd.setup.carrying_out import CarryingOut, waiting_requests
from vouchd.setup.checks import Checks
from vouchd.setup.panels import panel_of
from vouchd.setup.questionnaire import Answers
from vouchd.signing.pkcs12 import KeyBag, key_file
from vouchd.wiring.setup import tools

HOST = "ds2.vouchd.test"


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CertificateSystemCA]:
    now = int(time.time())
    root = CA.create("Certificate System CA", not_before=now - DAY, not_after=now + 3650 * DAY)
    with certificate_system(tmp_path, root, now) as system:
        yield system


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def domain(ca: CertificateSystemCA, **values: object) -> dict[str, object]:
    """Good answers at Security Domain."""
    known = {"url": ca.url, "fingerprint": ca.fingerprint, "user": ADMINISTRATOR, "password": PASSWORD}
    return {"kind": "certsystem", **known, **values}


def requests(ca: CertificateSystemCA, **values: object) -> dict[str, object]:
    """Good answers at Requests and Certificates."""
    return {"kind": "certsystem", "url": ca.url, "trust": str(ca.trust), "authorities": str(ca.trust), **values}


def agent_file(ca: CertificateSystemCA, folder: Path) -> str:
    """An agent's key and certificate, which the CA lets in, in PKCS #12."""
    ca.agent = ca.ca.issue("CA agent", not_before=ca.now - DAY, not_after=ca.now + DAY)
    path = folder / "agent.p12"
    path.write_bytes(key_file([KeyBag(ca.agent.key, ca.agent.certificate, (), "agent")], PASSWORD))
    path.chmod(0o600)
    return str(path)


# Security Domain.


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"url": "ca.example.test"}, "not the URL"),
        ({"fingerprint": ""}, "which certificate the CA has"),
        ({"fingerprint": "a" * 64}, "another one than was said"),
        ({"user": ""}, "an administrator of that domain is missing"),
        ({"password": ""}, "an administrator of that domain is missing"),
        ({"password": "not this"}, "does not let caadmin in"),
        ({"publish": True}, "cannot ask"),  # its CA is none that this host trusts
    ],
)
def test_domain_of_a_certificate_system_that_cannot_be_entered_is_refused(site, ca, values, complaint):
    """At its panel, with the reason; another server than the one that is meant gets no password."""
    assert complaint in site.refusal("security_domain", answers_of(security_domain=domain(ca, **values)))
    if "fingerprint" in values:
        assert not ca.requests


def test_administrator_s_password_is_shown_to_the_ca_that_was_compared_alone(site, ca):
    """The domain is looked at and not changed."""
    site.accepts("security_domain", answers_of(security_domain=domain(ca)))
    site.accepts("security_domain", answers_of(security_domain=domain(ca, publish=True, trust=str(ca.trust))))
    assert not ca.hosts
    assert not ca.publishers


def test_host_that_the_ca_cannot_resolve_and_a_clone_are_refused_at_subsystem_type(site, ca):
    """The CA gives its token to a name that it knows; a clone joins the domain of its master."""
    answers = answers_of(security_domain=domain(ca), subsystem={"host": "ocsp.elsewhere.example"})
    assert "ocsp.elsewhere.example; the name must be one that the CA's host can resolve" in site.refusal(
        "subsystem", answers
    )
    clone = answers_of(security_domain=domain(ca), subsystem={"kind": "clone"})
    assert "vouchd clone create --master ldap://" in site.refusal("subsystem", clone)
    site.accepts("subsystem", answers_of(security_domain=domain(ca)))


def test_fingerprint_of_the_ca_is_shown_and_has_to_be_confirmed(tmp_path, ca):
    """As that of a member is; nothing but a handshake goes there before."""
    with open_wizard(tmp_path / "vouchd") as opened:
        visitor = opened.visitor
        visitor.enter()
        visitor.fill("welcome")
        visitor.fill("key-store", kind="software")
        typed = {name: value for name, value in domain(ca).items() if name != "fingerprint"}
        page = visitor.fill("security-domain", **typed)
        assert page.value("shown") == ca.fingerprint
        assert "TLS server certificate on the CA's own host" in page.words
        assert not ca.requests
        shown = {"fingerprint": ca.fingerprint, "shown": ca.fingerprint}
        assert "the fingerprint was not confirmed" in visitor.fill("security-domain", **typed, **shown).error
        done = visitor.fill("security-domain", **typed, **shown, confirmed="yes")
        assert done.panel == "Subsystem Type"
        assert visitor.fill("subsystem-type", **here(host=HOST)).panel == "Restore Keys"
        assert PASSWORD not in visitor.show("/setup/security-domain").text


# Requests and Certificates.


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"url": "https://127.0.0.1/ca"}, "not the URL of a CA's secure port"),
        ({"trust": "/no/ca.pem"}, "/no/ca.pem"),
        ({"trust": ""}, "cannot ask"),
        ({"approve": True}, "who approves the requests is missing"),
        ({"approve": True, "user": ADMINISTRATOR, "password": "not this"}, "does not let this user in"),
        ({"approve": True, "agent": "/no/agent.p12"}, "/no/agent.p12"),
        ({"approve": True, "user": ADMINISTRATOR, "password": PASSWORD, "agent": "/a.p12"}, "one of them"),
    ],
)
def test_certificate_system_that_would_certify_nothing_is_refused(site, ca, values, complaint):
    """The CA does not answer, or does not know who is to approve."""
    assert complaint in site.refusal("requests", answers_of(requests=requests(ca, **values)))


def test_agent_is_known_to_the_ca_by_password_or_certificate(site, ca, tmp_path):
    """Both are tried at the panel; without approval from here the CA has only to answer."""
    agent = agent_file(ca, tmp_path)
    for values in (
        {},
        {"approve": True, "user": ADMINISTRATOR, "password": PASSWORD},
        {"approve": True, "agent": agent, "password": PASSWORD},
    ):
        site.accepts("requests", answers_of(requests=requests(ca, **values)))
    wrong = requests(ca, approve=True, agent=agent, password="not this")
    assert "password" in site.refusal("requests", answers_of(requests=wrong))


# The steps.


class BeforeStart(Exception):
    """The last step, which starts a process, was come to."""


@dataclass
class SettingUp:
    """The last act with these answers, up to its last step."""

    layout: Layout
    said: list[str]

    def run(self, answers: Answers) -> None:
        def refuse(*_: object) -> None:
            raise BeforeStart

        act = CarryingOut(
            self.layout, answers, Checks(self.layout), replace(tools(self.said.append), check=refuse), self.said.append
        )
        with pytest.raises(BeforeStart):
            act.run()


@pytest.fixture
def setting_up(site: Site) -> SettingUp:
    return SettingUp(site.layout, [])


@pytest.mark.parametrize("way", ["password", "certificate"])
def test_instance_is_certified_by_the_ca_and_listed_in_its_domain(setting_up, ca, tmp_path, way):
    """Each key by the profile of its kind, approved from here; the CA publishes here; renewal goes the same way."""
    ways = {
        "password": {"user": ADMINISTRATOR, "password": PASSWORD},
        "certificate": {"agent": agent_file(ca, tmp_path), "password": PASSWORD},
    }
    answers = answers_of(
        security_domain=domain(ca, publish=True, trust=str(ca.trust)),
        requests=requests(ca, approve=True, profile="caOurOCSPCert", **ways[way]),
        administrator={"password": PASSWORD},
    )
    setting_up.run(answers)
    layout = setting_up.layout
    settings = read_settings(layout)
    assert all(one.certificate is not None for one in system_certificates(settings))
    assert sorted(ca.profiles) == [
        "AdminCert",
        "caAuditSigningCert",
        "caECServerCert",
        "caECSubsystemCert",
        "caOurOCSPCert",
    ]
    assert settings.of_set.domain == DOMAIN
    (listed,) = ca.hosts
    assert (listed["host"], listed["sport"]) == (HOST, str(answers.subsystem.agent_port))
    assert listed["clone"] == "false"
    assert [one["ocsp_host"] for one in ca.publishers] == [HOST]
    (source,) = settings.sources
    assert str(source.trust_file) == str(ca.trust)
    renewal = next(one for one in settings.renewals if one.nickname == "ocspSigningCert")
    by_password = way == "password"
    assert (renewal.way.value, renewal.profile, renewal.approves) == ("certsystem", "caOurOCSPCert", by_password)
    kept = read_passwords(layout.password_conf)
    assert kept.get("renewal.ocspSigningCert") == (PASSWORD if by_password else None)
    assert any("restart that CA" in line for line in setting_up.said)


def test_requests_wait_all_together_until_agents_of_the_ca_have_approved(setting_up, ca):
    """All are submitted before it stops; the same command goes on, and submits none of them again."""
    answers = answers_of(requests=requests(ca))
    with pytest.raises(LifecycleError, match="has not decided yet on the requests of") as caught:
        setting_up.run(answers)
    names = {one.name for one in waiting_requests(setting_up.layout)}
    assert len(ca.waiting) == len(names) == 5
    assert all(name in str(caught.value) for name in names)
    assert any("request 1" in line for line in setting_up.said)
    for number in list(ca.waiting):
        ca.approve(number)
    setting_up.run(answers)
    assert len(ca.profiles) == 5
    assert not waiting_requests(setting_up.layout)


def test_password_of_the_domain_can_be_mended_after_the_instance_was_made(setting_up, ca):
    """The panel is open until the domain is entered; who changes his mind makes a domain of his own."""
    panel = panel_of("security-domain")
    answers = answers_of(security_domain=domain(ca))
    assert not panel.is_settled(answers, {"create", "certificates"})
    assert panel.is_settled(answers, {"create", "certificates", "enter"})
    assert panel.is_settled(answers_of(), {"create"})


@pytest.mark.interop
def test_instance_binds_to_its_directory_server_with_the_certificate_that_it_got(setting_up, tmp_path):
    """Asked for at Internal Database: certified first, then the server prepared for it, and no password needed."""
    with directories() as (server,), certificate_system(tmp_path, root(), int(time.time())) as ca:
        database = {
            "kind": "directory",
            "host": server.host,
            "port": server.port,
            "suffix": server.suffix,
            "trust": str(server.trust),
            "password": DIRECTORY_PASSWORD,
            "client_certificate": True,
        }
        plain = answers_of(internal_database={**database, "connection": "plain"})
        with pytest.raises(ConfigError, match="TLS, which is off"):
            Checks(setting_up.layout).internal_database(plain)
        approving = {"approve": True, "user": ADMINISTRATOR, "password": PASSWORD}
        answers = answers_of(internal_database=database, requests=requests(ca, **approving))
        Checks(setting_up.layout).internal_database(answers)
        setting_up.run(answers)
        layout = setting_up.layout
        bound = read_settings(layout).directory
        assert (bound.bind, bound.client_certificate) == (CLIENT_AUTH, "subsystem")
        passwords = read_passwords(layout.password_conf)
        replace_passwords(layout.password_conf, {**passwords, "internaldb": "not this"})
        with tools(lambda _: None).services(layout) as services:
            assert [one.id for one in services.store.users()] == ["admin"]


# The file.


def test_ini_has_the_documented_names_of_a_security_domain(ca):
    """`pki_security_domain_password` is a join token or an administrator's password, as the type says."""
    lines = {
        "pki_security_domain_password": PASSWORD,
        "pki_security_domain_user": ADMINISTRATOR,
        "pki_security_domain_uri": ca.url,
        "pki_issuing_ca_uri": ca.url,
        "pki_certificate_source": "certsystem",
    }
    text = "[DEFAULT]\n" + "".join(f"{name}={word}\n" for name, word in lines.items())
    entering = read_ini(text + "[OCSP]\npki_security_domain_type=certificate-system\n")
    assert (entering.security_domain.password, entering.security_domain.token) == (PASSWORD, "")
    assert (entering.security_domain.user, entering.requests.url) == (ADMINISTRATOR, ca.url)
    joining = read_ini(text + "[OCSP]\npki_security_domain_type=existing\n")
    assert (joining.security_domain.password, joining.security_domain.token) == ("", PASSWORD)
    assert ini_text(entering).count("pki_security_domain_password") == 1
    assert PASSWORD not in ini_text(entering)
