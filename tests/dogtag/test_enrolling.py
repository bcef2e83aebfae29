"""A signer renewed by the real Dogtag's CA: approved by its agent, by the instance itself, or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.cloning.test_registry import HandClock
from tests.commands import run_vouchd
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab
from tests.pki import DAY

from vouchd.api.services import Services
from vouchd.cloning.enrolling import Enrolling, SignerRenewal
from vouchd.core.signer_facts import SignerVersion
from vouchd.errors import ClientError
from vouchd.instance.configuration import write_values
from vouchd.pkix.certs import is_issued_by, load_certificate
from vouchd.service.permission import local_caller
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import read_passwords, replace_passwords
from vouchd.settings.reading import read_settings
from vouchd.wiring import services as wiring

pytestmark = pytest.mark.dogtag

SIGNER = "ocsp_signing"


@dataclass
class Renewing:
    """An instance with the OCSP manager's signer, which does not run, 600 of that one's 720 days later."""

    layout: Layout
    services: Services
    clock: HandClock = field(default_factory=lambda: HandClock(int(time.time()) + 600 * DAY))

    def __post_init__(self) -> None:
        signers = SignerRenewal(self.services.signers, lambda: True, lambda: None, local_caller("test"))
        self._enrolling = Enrolling([signers], lambda: read_settings(self.layout), self.clock)

    def set(self, **values: str) -> None:
        write_values(self.layout, {f"vouchd.renewal.{SIGNER}.{name}": value for name, value in values.items()})

    def look(self) -> bool:
        """One look an hour later: whether the certificate came."""
        self.clock.at += 3600
        return self._enrolling.look()

    def newest(self) -> SignerVersion:
        return self.services.store.keyring().versions_of(SIGNER)[-1]

    def number(self) -> str:
        """Of the request that was submitted, and not decided as far as is known."""
        return next(iter(json.loads(self.layout.submitted_requests.read_bytes()).values()), "")


@pytest.fixture
def renewing(lab: Lab, tmp_path: Path) -> Iterator[Renewing]:
    """It asks the lab's CA."""
    for name, data in {"keys.p12": lab.file("ocsp.p12").read_bytes(), "pw": plan.PASSWORD.encode()}.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    keys = ["--pkcs12", "keys.p12", "--password-file", "pw", "--nickname", SIGNER, "--ca-cert", lab.ca_file]
    done = run_vouchd("create", "--instance", "v", *keys, "--listen", "127.0.0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    layout = Layout(tmp_path / "v")
    with wiring.services(layout) as services:
        made = Renewing(layout, services)
        made.set(by="certsystem", url=f"https://{plan.HOST}:{plan.CA.https_port}", trust=str(lab.ca_file))
        yield made


def test_signer_is_certified_when_an_agent_of_the_ca_has_approved(lab, renewing):
    """One request waits there until it is decided; then the certificate is the set's next signer."""
    assert not renewing.look()
    number = renewing.number()
    assert not renewing.look()
    assert renewing.number() == number
    assert not renewing.newest().certificate_der
    lab.decide(number, "approve")
    assert renewing.look()
    assert renewing.newest().number == 2
    assert is_issued_by(load_certificate(renewing.newest().certificate_der), lab.ca)


def test_signer_is_certified_at_once_where_the_instance_is_an_agent_of_the_ca(lab, renewing):
    """It approves its own request, as a user of the CA with a password."""
    passwords = read_passwords(renewing.layout.password_conf)
    replace_passwords(renewing.layout.password_conf, {**passwords, f"renewal.{SIGNER}": plan.PASSWORD})
    renewing.set(approve="true", user="caadmin")
    assert renewing.look()
    assert is_issued_by(load_certificate(renewing.newest().certificate_der), lab.ca)


def test_request_that_an_agent_rejects_is_told_and_made_anew(lab, renewing):
    """Nobody waits for what will not come."""
    assert not renewing.look()
    rejected = renewing.number()
    lab.decide(rejected, "reject")
    with pytest.raises(ClientError, match=f"has rejected request {rejected}"):
        renewing.look()
    assert not renewing.look()
    assert renewing.number() not in {"", rejected}
    lab.decide(renewing.number(), "cancel")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"profile": "noSuchProfile"}, "noSuchProfile"),
        ({"approve": "true", "user": "caadmin"}, "does not let this user in"),
    ],
)
def test_refusal_of_the_ca_is_told_in_its_words(lab, renewing, values, words):
    """A profile that is not there, a password that is wrong: the attempt fails, and says of what."""
    passwords = read_passwords(renewing.layout.password_conf)
    replace_passwords(renewing.layout.password_conf, {**passwords, f"renewal.{SIGNER}": "not this"})
    renewing.set(**values)
    with pytest.raises(ClientError, match=words):
        renewing.look()
    if renewing.layout.submitted_requests.exists():
        lab.decide(renewing.number(), "cancel")
