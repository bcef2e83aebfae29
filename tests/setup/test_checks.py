"""The checks of the panels: every documented trap is refused in its own panel, with the reason and the mend."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import CA, new_key
from tests.ports import free_port
from tests.softhsm import MODULE, PIN, SoftHSM

from vouchd.ca.creating import AuthorityPlan, create_authority
from vouchd.clock import SystemClock
from vouchd.cloning.set_info import SetInfo
from vouchd.core.facts import DirectoryServer, Member, Transport
from vouchd.errors import VouchdError
from vouchd.instance.unconfigured import make_unconfigured
from vouchd.settings.layout import Layout
from vouchd.setup.checks import Checks
from vouchd.setup.fields import section_of
from vouchd.setup.panels import ASKING, PanelRefused, check_all
from vouchd.setup.questionnaire import Answers
from vouchd.signing.pkcs12 import KeyBag, key_file

PASSWORD = "correct horse"
SUFFIX = "o=ocsp.example"
SERVER = DirectoryServer("ds1.vouchd.test", 389, Transport.STARTTLS, SUFFIX)
MASTER = Member("ds1.vouchd.test", 8443, 8080, "a" * 64, clone=False, joined_at=1, term=1)
ROOT = CA.create("Setup CA")
KEYS = {name: ROOT.issue_signer(name) for name in ("ocspSigningCert", "subsystem")}
JOINING = {
    "security_domain": {
        "kind": "join",
        "url": "https://ds1.vouchd.test:8443",
        "fingerprint": "a" * 64,
        "token": "a token",
    },
    "subsystem": {"kind": "clone", "master": MASTER.id},
}


def set_of(*members: Member, **differently) -> SetInfo:
    """The set as its master tells of it."""
    certificates = {name: issued.der for name, issued in KEYS.items()}
    now = SystemClock().now()
    return replace(SetInfo("domain", "1", now, 600, members[0], members, certificates, {}), **differently)


def answers_of(**sections) -> Answers:
    """Answers with these values in these panels; the host and its ports are good ones."""
    ports = {"port": free_port(), "agent_port": free_port(), "health_port": 0}
    here = {"host": "ds2.vouchd.test", "listen": "127.0.0.1", **ports}
    sections["subsystem"] = here | sections.get("subsystem", {})
    answers = Answers()
    for section, values in sections.items():
        answers = section_of(answers, section, values)
    return answers


def joining(**sections) -> Answers:
    """Answers of a clone."""
    return answers_of(**{name: JOINING.get(name, {}) | sections.get(name, {}) for name in {*JOINING, *sections}})


class Site:
    """An instance that is to be set up, beside what files its answers name."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.layout = Layout(folder / "vouchd")
        make_unconfigured(self.layout)
        self.set = set_of(MASTER)

    def checks(self) -> Checks:
        return Checks(self.layout, lambda *_: self.set)

    def refusal(self, section: str, answers: Answers) -> str:
        """What the panel says of the answers, with its hint; every refusal has one."""
        panel = next(one for one in ASKING if one.section == section)
        with pytest.raises(VouchdError) as caught:
            panel.check(self.checks(), answers)
        assert caught.value.hint
        return f"{caught.value}; {caught.value.hint}"

    def accepts(self, section: str, answers: Answers) -> None:
        panel = next(one for one in ASKING if one.section == section)
        panel.check(self.checks(), answers)

    def pkcs12(self, *names: str, mode: int = 0o600, password: str = PASSWORD, keys=KEYS) -> str:
        bags = [KeyBag(keys[name].key, keys[name].certificate, (ROOT.certificate,), name) for name in names]
        path = self.folder / "keys.p12"
        path.write_bytes(key_file(bags, password))
        path.chmod(mode)
        return str(path)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


# Key Store.


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"module": str(MODULE), "token": "ocsp"}, "the PIN of the token is missing"),
        ({"module": "softhsm.so", "token": "ocsp", "pin": "1"}, "not an absolute path"),
        ({"module": str(MODULE), "pin": "1"}, "the label of the token is missing"),
        ({"module": "/no/module.so", "token": "ocsp", "pin": "1"}, "/no/module.so"),
    ],
)
def test_token_that_cannot_be_used_is_refused(site, values, complaint):
    """The token is logged in to at once; the PIN is in no message."""
    assert complaint in site.refusal("key_store", answers_of(key_store={"kind": "token", **values}))


def test_token_with_its_pin_is_taken_and_with_another_refused(site, tmp_path, monkeypatch):
    """A real token of SoftHSM."""
    hsm = SoftHSM(tmp_path / "hsm")
    hsm.add("ocsp")
    for name, value in hsm.environment.items():
        monkeypatch.setenv(name, value)
    values = {"kind": "token", "module": str(MODULE), "token": "ocsp"}
    site.accepts("key_store", answers_of(key_store={**values, "pin": PIN}))
    said = site.refusal("key_store", answers_of(key_store={**values, "pin": "99999999"}))
    assert "PIN" in said
    assert "99999999" not in said
    assert (site.layout.setup / "token.pin").stat().st_mode & 0o777 == 0o600


# Security Domain.


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kind": "new", "name": " "}, "no name"),
        ({**JOINING["security_domain"], "url": "http://ds1.vouchd.test"}, "not the URL of an agent port"),
        ({**JOINING["security_domain"], "fingerprint": ""}, "vouchd clone prepare"),
        ({**JOINING["security_domain"], "token": ""}, "the join token is missing"),
    ],
)
def test_domain_that_is_not_said_whole_is_refused(site, values, complaint):
    """What names it, what proves it and what lets this instance in."""
    assert complaint in site.refusal("security_domain", answers_of(security_domain=values))


def test_member_that_does_not_answer_is_told_in_the_panel(tmp_path):
    """It is asked at once, for real."""
    site, port = Site(tmp_path), free_port()
    values = {**JOINING["security_domain"], "url": f"https://127.0.0.1:{port}"}
    panel = next(one for one in ASKING if one.section == "security_domain")
    with pytest.raises(VouchdError, match=f"127.0.0.1:{port}"):
        panel.check(Checks(site.layout), answers_of(security_domain=values))


# Subsystem Type.


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"security_domain": JOINING["security_domain"]}, "a new subsystem has a domain of its own"),
        ({"subsystem": {"kind": "clone"}}, "a clone joins its master's domain"),
        ({"subsystem": {"host": "no host"}}, "not a host name"),
        ({"subsystem": {"host": ""}}, "not a host name"),
        ({"subsystem": {"port": 0}}, "0 is not a port"),
        ({"subsystem": {"port": 7443, "agent_port": 7443}}, "two ports are the same"),
        ({**JOINING, "subsystem": {"kind": "clone", "master": "ds9.vouchd.test:8443"}}, "is no member of the domain"),
        ({**JOINING, "subsystem": {"kind": "clone"}}, f"one of {MASTER.id}"),
        ({**JOINING, "subsystem": {**JOINING["subsystem"], "host": MASTER.host, "agent_port": 8443}}, "is in this"),
    ],
)
def test_subsystem_that_cannot_be_is_refused(site, sections, complaint):
    """What contradicts the domain, and what others could not reach."""
    assert complaint in site.refusal("subsystem", answers_of(**sections))


def test_port_that_is_taken_is_refused(site):
    """Before anything is made that could not start."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        for name in ("port", "agent_port", "health_port"):
            said = site.refusal("subsystem", answers_of(subsystem={name: port}))
            assert f"port {port}" in said
            assert "CS.cfg" not in said


@pytest.mark.parametrize("seconds", [0, 21600])
def test_master_that_breaks_the_rule_of_refresh_is_refused(site, seconds):
    """The documented trap: 0 would be never, 21600 is a clone's."""
    site.set = set_of(MASTER, refresh_seconds=seconds)
    assert f"refreshInSec of the master is {seconds}" in site.refusal("subsystem", joining())


@dataclass
class SlowClock:
    """This host's clock, for an administrator who takes his time: half an hour goes by with each look at it."""

    at: int

    def now(self) -> int:
        self.at += 1800
        return self.at


def test_administrator_who_takes_his_time_has_no_wrong_clock(site):
    """The clocks are compared as they were when the member was asked, at Security Domain."""
    checks = site.checks()
    checks.clock = clock = SlowClock(SystemClock().now())
    checks.ask = lambda *_: set_of(MASTER, now=clock.at + 1800)
    answers = joining()
    checks.security_domain(answers)
    clock.now()
    checks.subsystem(answers)


def test_clock_that_is_wrong_is_told(site):
    """Answers of two clocks are not the same."""
    site.set = set_of(MASTER, now=SystemClock().now() - 60)
    assert "ahead of the master's" in site.refusal("subsystem", joining())


# Restore Keys.


def restoring(path: str, password: str = PASSWORD) -> Answers:
    return joining(restore_keys={"path": path, "password": password})


def test_keys_of_the_domain_are_taken(site):
    """All of them, private, under their password."""
    site.accepts("restore_keys", restoring(site.pkcs12(*KEYS)))


def test_keys_that_will_not_do_are_refused(site):
    """Readable by others, another password, one missing, others' keys, no file, no path."""
    assert "others may use it (mode 0644); chmod 600" in site.refusal(
        "restore_keys", restoring(site.pkcs12(*KEYS, mode=0o644))
    )
    assert "password" in site.refusal("restore_keys", restoring(site.pkcs12(*KEYS), "wrong"))
    assert "the key of subsystem is missing" in site.refusal("restore_keys", restoring(site.pkcs12("ocspSigningCert")))
    others = {name: ROOT.issue_signer(name, key=new_key()) for name in KEYS}
    path = site.pkcs12(*others, keys=others)
    with pytest.raises(VouchdError, match="key"):
        site.accepts("restore_keys", restoring(path))
    assert "no.p12" in site.refusal("restore_keys", restoring("/no.p12"))
    assert "not an absolute path" in site.refusal("restore_keys", restoring("keys.p12"))


# Internal Database.


def directory(**values) -> dict[str, str]:
    return {"kind": "directory", "host": "ds2.vouchd.test", "suffix": SUFFIX, "password": "x", **values}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"host": "localhost"}, "loopback interface"),
        ({"host": "127.0.0.1"}, "address"),
        ({"host": "ds2"}, "not fully qualified"),
        ({"host": ""}, "host of the directory server is missing"),
        ({"suffix": ""}, "suffix is missing"),
        ({"suffix": "not a suffix"}, "not a suffix"),
        ({"password": ""}, "password of cn=Directory Manager is missing"),
        ({"trust": "ca.pem"}, "not an absolute path"),
        ({"port": 1}, "ds2.vouchd.test:1"),
    ],
)
def test_directory_server_that_cannot_be_used_is_refused(site, values, complaint):
    """localhost would be another host on every host; what does not answer is told at once."""
    assert complaint in site.refusal("internal_database", answers_of(internal_database=directory(**values)))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kind": "embedded"}, "keep their facts in a directory server"),
        ({"suffix": "o=another"}, f"the clone's suffix is o=another, the master's {SUFFIX}"),
        ({"connection": "plain"}, "the same kind of connection"),
        ({"connection": "tls"}, "the same kind of connection"),
        ({"host": "ds1.vouchd.test"}, "has this directory server already"),
    ],
)
def test_directory_server_that_does_not_fit_the_domain_is_refused(site, values, complaint):
    """Another suffix, another transport, the master's own server."""
    site.set = set_of(replace(MASTER, directory=SERVER))
    assert complaint in site.refusal("internal_database", joining(internal_database=directory(**values)))


def test_directory_server_in_a_domain_without_is_refused(site):
    """All members keep their facts in the same kind of place."""
    said = site.refusal("internal_database", joining(internal_database=directory()))
    assert "keep their facts in the embedded store" in said
    site.accepts("internal_database", joining())


# Key Pairs, Subject Names.


@pytest.mark.parametrize(
    ("section", "values", "complaint"),
    [
        ("key_pairs", {"algorithm": "MD5withRSA"}, "unknown signature algorithm"),
        ("key_pairs", {"extractable": True}, "only a key on a token"),
        ("subject_names", {"subject": "no name"}, "name"),
        ("subject_names", {"nickname": ""}, "no nickname"),
        ("subject_names", {"nickname": "sslserver"}, "no nickname"),
        ("subject_names", {"server_names": "ocsp.example.org not/a/name"}, "not a host name"),
    ],
)
def test_key_or_name_that_there_is_not_is_refused(site, section, values, complaint):
    """Before a key is made."""
    assert complaint in site.refusal(section, answers_of(**{section: values}))


def test_post_quantum_key_on_a_token_is_refused(site):
    """No token has them; in files they are fine."""
    pairs = {"algorithm": "ML-DSA-44"}
    token = {"kind": "token"}
    assert "no token" in site.refusal("key_pairs", answers_of(key_pairs=pairs, key_store=token))
    site.accepts("key_pairs", answers_of(key_pairs=pairs))


# Requests and Certificates.


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kind": "ca"}, "not an absolute path"),
        ({"kind": "ca", "ca": "/no/ca"}, "/no/ca"),
        ({"kind": "est", "url": "http://ca.example"}, "not an https URL"),
        ({"kind": "est", "url": "https://ca.example/.well-known/est"}, "who asks"),
        ({"kind": "csr", "authorities": "/no/ca.pem"}, "no such file"),
    ],
)
def test_ca_that_is_not_there_is_refused(site, values, complaint):
    """A folder, a server, a file."""
    assert complaint in site.refusal("requests", answers_of(requests=values))


def test_ca_that_is_there_is_taken(site, tmp_path):
    """Our own by its folder; any other by its certificate, which has to be a CA's."""
    create_authority(tmp_path / "ca", AuthorityPlan("CN=Own"), SystemClock().now()).close()
    site.accepts("requests", answers_of(requests={"kind": "ca", "ca": str(tmp_path / "ca")}))
    (tmp_path / "ca.pem").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    site.accepts("requests", answers_of(requests={"authorities": str(tmp_path / "ca.pem")}))
    (tmp_path / "none.pem").write_text("no certificate")
    assert "none.pem" in site.refusal("requests", answers_of(requests={"authorities": str(tmp_path / "none.pem")}))


# Export Keys, Administrator.


def test_backup_that_would_be_none_is_refused(site, tmp_path):
    """A file that is there, no folder, the instance's own folder, a password that is guessed."""

    def exporting(path, password=PASSWORD) -> Answers:
        return answers_of(export_keys={"kind": "file", "path": str(path), "password": password})

    site.accepts("export_keys", exporting(tmp_path / "new.p12"))
    assert "exists already" in site.refusal("export_keys", exporting(site.pkcs12(*KEYS)))
    assert "nothing can be written" in site.refusal("export_keys", exporting("/no/such/folder/k.p12"))
    assert "lost with it" in site.refusal("export_keys", exporting(site.layout.root / "k.p12"))
    assert "fewer than 8" in site.refusal("export_keys", exporting(tmp_path / "new.p12", "short"))
    assert "not an absolute path" in site.refusal("export_keys", exporting("k.p12"))


def test_password_of_the_administrator_is_long_or_left_to_us(site):
    """None typed: one is made."""
    site.accepts("administrator", answers_of())
    assert "fewer than 8" in site.refusal("administrator", answers_of(administrator={"password": "short"}))


# All panels.


def test_checks_name_the_first_panel_that_is_refused_and_pass_over_those_skipped(site):
    """In the order of the panels; a new subsystem that makes its key has none to restore."""
    answers = answers_of(export_keys={"kind": "file"}, administrator={"password": "short"})
    with pytest.raises(PanelRefused, match=r"^Export Keys: ") as caught:
        check_all(site.checks(), answers, ())
    assert caught.value.panel.slug == "export-keys"
    assert caught.value.hint


def test_panel_whose_answers_were_used_is_not_checked_again(site):
    """Its ports are in use by what was made of them; another answer would have no effect."""
    answers = joining(restore_keys={"path": "/gone.p12"})
    with pytest.raises(PanelRefused, match=r"^Restore Keys: "):
        check_all(site.checks(), answers, ())
    check_all(site.checks(), answers, ("keys",))
