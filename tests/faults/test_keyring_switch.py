"""A switch of signers that is killed anywhere: old until it is new, never back, and completed by who starts again."""

from __future__ import annotations

import time

import pytest
from tests.faults.killed import killed_after_saying
from tests.faults.page import FaultTable
from tests.pki import DAY
from tests.sites import Site

from vouchd.cli.main import main
from vouchd.clock import SystemClock
from vouchd.cloning.keyring import follow, prepare
from vouchd.core.signer_facts import Keyring
from vouchd.instance.signing_sets import NamedSigners, SigningWord, read_sets
from vouchd.pkix.certs import load_certificate
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import read_key
from vouchd.wiring import instance
from vouchd.wiring import services as wiring

SIGNER = "ocspSigningCert"
TABLE = FaultTable.of("a switch of signers")
# What a manager process does for the keyring, from its start to the switch and the start after it; stops, for good,
# before step number argv[1] of those that leave something behind: a file that is renamed into place, and the word.
CYCLE = """
import sys
from pathlib import Path
from vouchd.clock import SystemClock
from vouchd.cloning.conducting import Conducting
from vouchd.cloning.keyring import MemberKeyring, follow, prepare
from vouchd.instance.signing_sets import SigningWord
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring import services as wiring

stop, layout, steps = int(sys.argv[1]), Layout(Path(sys.argv[2])), []

def step(act):
    def counted(*arguments):
        if len(steps) == stop:
            print("here", flush=True)
            sys.stdin.read()
        steps.append(act)
        return act(*arguments)
    return counted

Path.replace, SigningWord.say = step(Path.replace), step(SigningWord.say)

def process(services, rounds):
    settings, word, restarts = read_settings(layout), SigningWord(layout.signing_word, writable=True), []
    sets = prepare(layout, settings, services.store, word)
    me = lambda: None
    member = MemberKeyring(
        layout, services.store, me, services.audit, SystemClock(), word, sets, lambda: restarts.append(1)
    )
    conducting = Conducting(layout, services.store, me, tuple, member.words, SystemClock(), shared=False)
    member.settle()
    for _ in range(rounds):
        member.look()
        conducting.look()
        if restarts:
            return

with wiring.services(layout) as services:
    follow(layout, read_settings(layout), services.store, SystemClock().now())
    for _ in range(4):
        process(services, 4)
print(len(steps), flush=True)
print("here", flush=True)
sys.stdin.read()
"""
LAST = 12  # steps in all, at most: what comes after the last one is the end of the cycle


@pytest.fixture
def renewed(tmp_path, monkeypatch) -> Site:
    """An instance whose new signer's certificate has just been taken in."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    site = Site.make(tmp_path)
    assert site.create() == 0
    assert main(["signer", "request", SIGNER]) == 0
    layout = Layout(site.instance)
    key = read_key(layout.alias / f"{SIGNER}-2.key", read_passwords(layout.password_conf)[INTERNAL])
    now = int(time.time())
    issued = site.ca.issue_signer("renewed", key=key, not_before=now - DAY, not_after=now + 60 * DAY)
    (tmp_path / "new.pem").write_bytes(issued.pem)
    assert main(["signer", "install", SIGNER, site.file("new.pem")]) == 0
    return site


def ring(layout: Layout) -> Keyring:
    with wiring.services(layout) as services:
        return services.store.keyring()


def named(layout: Layout) -> str:
    """The subject of the signer that CS.cfg names."""
    return subject(NamedSigners.of(read_settings(layout)))


def subject(signers: NamedSigners) -> str:
    return read_certificates(signers.signers[0].certificate_file)[0].subject.rfc4514_string()


def signing(layout: Layout) -> str:
    """The subject of the signer that workers of now sign with, by the word."""
    return subject(read_sets(layout)[SigningWord(layout.signing_word).number])


@pytest.mark.process
def test_steps_of_a_switch_are_all_among_those_that_it_is_killed_at(renewed):
    """The switch has no more steps than the test below stops at."""
    count, _ = killed_after_saying("here", CYCLE, str(LAST * 2), str(Layout(renewed.instance).root))
    assert 4 <= int(count) <= LAST


@TABLE.fault(
    "a member is killed before or after any of its steps",
    "by the signer from before until it is the new one, never back",
    "`vouchd signer list`, `/readyz` (`signers`): who is in the way",
    "by itself when the member runs again: it completes the switch",
)
@pytest.mark.process
@pytest.mark.parametrize("stop", range(LAST))
def test_switch_killed_at_any_step_is_old_or_new_and_is_completed(renewed, stop):
    """Whoever starts again signs with one whole signer: never with the old one once the new one has signed."""
    layout = Layout(renewed.instance)
    killed_after_saying("here", CYCLE, str(stop), str(layout.root))
    signed = signing(layout) if layout.signing_sets.exists() and layout.signing_word.exists() else "CN=OCSP signer"
    instance.check_instance(layout, warn=lambda _: None)
    with wiring.services(layout) as services:
        follow(layout, read_settings(layout), services.store, SystemClock().now())
        prepare(layout, read_settings(layout), services.store, SigningWord(layout.signing_word, writable=True))
    assert named(layout) in {"CN=OCSP signer", "CN=renewed"}
    assert named(layout) == "CN=renewed" or signed == "CN=OCSP signer", "it goes back"
    assert signing(layout) == named(layout)
    killed_after_saying("here", CYCLE, str(LAST * 2), str(layout.root))
    assert (named(layout), signing(layout)) == ("CN=renewed", "CN=renewed")
    current = ring(layout).signing()
    assert [load_certificate(one.certificate_der).subject.rfc4514_string() for one in current] == ["CN=renewed"]
