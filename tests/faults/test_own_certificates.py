"""The renewal of a member's own TLS certificate is killed at each step: old or new, known to the set, and completed."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.faults.killed import killed_after_saying
from tests.faults.page import FaultTable
from tests.sites import Site

from vouchd.cli.main import main
from vouchd.instance.certificates.places import SSLSERVER, find, staged
from vouchd.instance.configuration import write_values
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring import instance

TABLE = FaultTable.of("certificates that renew themselves")
# What a manager process does for its TLS certificate from the day on that it is due; stops, for good, before step
# number argv[1] of those that leave something behind: a file that gets or loses its name, and the record of the member.
CYCLE = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from vouchd.cloning.enrolling import Enrolling
from vouchd.cloning.own_certificates import OwnCertificates
from vouchd.cloning.renewal import OwnRecord
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.stores.sqlite.store import SqliteStore
from vouchd.wiring import instance

stop, layout, steps = int(sys.argv[1]), Layout(Path(sys.argv[2])), []

def step(act):
    def counted(*arguments, **named):
        if len(steps) == stop:
            print("here", flush=True)
            sys.stdin.read()
        steps.append(act)
        return act(*arguments, **named)
    return counted

class Clock:
    # It is due as long as the first certificate is in use.

    def now(self):
        first = read_settings(layout).agent.tls.certificate_file.name == "sslserver.pem"
        return int(time.time()) + (3000 if first else 1) * 86400

with instance.services(layout) as services:
    Path.replace, os.link, SqliteStore.put_member = map(step, (Path.replace, os.link, SqliteStore.put_member))
    unlink = Path.unlink
    Path.unlink = lambda path, **named: (step(unlink) if path.suffix == ".next" else unlink)(path, **named)
    nobody = SimpleNamespace(states=(), others=tuple)
    record = OwnRecord(
        layout, services.in_use, services.store, services.domain, nobody, services.caller, services.clock
    )
    own = OwnCertificates(layout, services.certificates, services.in_use, record.lacking, tuple, services.caller)
    enrolling = Enrolling([own], lambda: read_settings(layout), Clock())
    for _ in range(4):
        enrolling.look()
        record.look()
print(len(steps), flush=True)
print("here", flush=True)
sys.stdin.read()
"""
LAST = 12  # steps in all, at most: what comes after the last one is the end of the cycle


@pytest.fixture
def due(tmp_path, monkeypatch) -> Layout:
    """A master whose TLS certificate our own CA renews."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    site = Site.make(tmp_path)
    assert main(["ca", "create", "--ca", "lab", "--subject", "CN=Lab CA"]) == 0
    ports = ["--host", "127.0.0.1", "--port", "8080", "--agent-port", "8443"]
    assert main(["create", "--ca", "lab", *ports]) == 0
    (tmp_path / "word").write_text("pass-word\n")
    (tmp_path / "word").chmod(0o600)
    named = ["--host", "ocsp1.example.org", "--out", "keys.p12", "--password-file", "word"]
    assert main(["clone", "prepare", *named]) == 0
    layout = Layout(site.instance)
    values = {"by": "ca", "ca": str(tmp_path / "lab")}
    write_values(layout, {f"vouchd.renewal.{SSLSERVER}.{name}": value for name, value in values.items()})
    return layout


def in_use(layout: Layout) -> str:
    """SHA-256 of the certificate that the port would show."""
    certificate = find(read_settings(layout), SSLSERVER).certificate
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def pins(layout: Layout) -> tuple[str, ...]:
    with instance.services(layout) as services:
        return services.store.members()[0].pins


@pytest.mark.process
@TABLE.fault(
    "the renewal of a member's own certificate is cut short at any step",
    "answered on: it signs no answers",
    "`vouchd certs list`: the certificate before, or the next, whole; the registry has what is shown",
    "the next look goes on with the same key, and once it is in use it stays so",
)
def test_renewal_killed_at_any_step_is_known_to_the_set_and_completed(due):
    """Whatever it shows when it comes back stands in its record, and the renewal ends with one new certificate."""
    before, count = in_use(due), LAST
    for stop in range(LAST):
        said = killed_after_saying("here", CYCLE, str(stop), str(due.root))
        instance.check_instance(due, warn=lambda _: None)
        assert in_use(due) in pins(due), f"killed before step {stop}, it is a stranger"
        if said[0].isdigit():
            count = stop
            break
    assert 0 < count < LAST, "the test stops at each step that there is"
    after = in_use(due)
    assert after != before
    assert pins(due) == (after, before)
    assert staged(due.alias, SSLSERVER) is None
    assert len(list(due.alias.glob("sslserver*.pem"))) == 2, "one certificate was had"
