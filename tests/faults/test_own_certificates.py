"""The renewal of a member's own certificate is killed at each step: old or new, known to the set, and completed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from tests.commands import ROOT, run_python
from tests.faults.own_renewal import renew
from tests.faults.page import FaultTable
from tests.sites import Site

from vouchd.audit.proof import prove
from vouchd.audit.trust import Trust
from vouchd.cli.main import main
from vouchd.core.facts import Member
from vouchd.instance.certificates.places import AUDIT_SIGNING, SSLSERVER, SUBSYSTEM, SystemCertificate, find, staged
from vouchd.instance.configuration import write_values
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring import instance
from vouchd.wiring import services as wiring

TABLE = FaultTable.of("certificates that renew themselves")
KILLED = "import sys\nfrom pathlib import Path\nfrom tests.faults import own_renewal\nown_renewal.main(sys.argv[1], Path(sys.argv[2]))"


@pytest.fixture(scope="module")
def due(tmp_path_factory) -> Layout:
    """A master whose own certificates our own CA renews."""
    folder = tmp_path_factory.mktemp("due")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VOUCHD_INSTANCE", str(folder / "vouchd"))
        site = Site.make(folder)
        assert main(["ca", "create", "--ca", "lab", "--subject", "CN=Lab CA"]) == 0
        ports = ["--listen", "127.0.0.1", "--port", "8080", "--agent-port", "8443"]
        assert main(["create", "--ca", "lab", *ports]) == 0
        (folder / "word").touch(0o600)
        (folder / "word").write_text("pass-word\n")
        named = ["--host", "ocsp1.example.org", "--out", "keys.p12", "--password-file", "word"]
        assert main(["clone", "prepare", *named]) == 0
    return Layout(site.instance)


def in_use(layout: Layout, name: str) -> SystemCertificate:
    return find(read_settings(layout), name)


def myself(layout: Layout) -> Member:
    with wiring.services(layout) as services:
        return services.store.members()[0]


def known(layout: Layout, name: str, der: bytes, first: bytes) -> bool:
    """Whether who reads the registry knows the member by that certificate."""
    if name == SSLSERVER:
        return hashlib.sha256(der).hexdigest() in myself(layout).pins
    if name == SUBSYSTEM:  # the first one is that of a user of the set
        return der in {first, *myself(layout).client_certificates}
    return True  # the log itself says so, see below


@pytest.mark.process
@TABLE.fault(
    "the renewal of a member's own certificate is cut short at any step",
    "answered on: it signs no answers",
    "`vouchd certs list`: the certificate before, or the next, whole; the registry has what is shown",
    "the next look goes on with the same key, and once it is in use it stays so",
)
@pytest.mark.parametrize("name", [SSLSERVER, SUBSYSTEM, AUDIT_SIGNING])
def test_renewal_killed_at_any_step_is_known_to_the_set_and_completed(due, tmp_path, name):
    """Whatever it shows when it comes back stands in its record, and the renewal ends with one new certificate."""
    values = {"by": "ca", "ca": str(due.root.parent / "lab")}
    root = tmp_path / "killed"
    shutil.copytree(due.root, root)
    write_values(Layout(root), {f"vouchd.renewal.{name}.{key}": value for key, value in values.items()})
    said = run_python(KILLED, name, root, cwd=ROOT)
    assert said.returncode == 0, said.stderr
    count = int(said.stdout)
    assert count > 5
    first = in_use(due, name)
    for step in range(count):
        layout = Layout(Path(f"{root}-{step}"))
        instance.check_instance(layout, warn=lambda _: None)
        assert known(layout, name, in_use(layout, name).der, first.der), f"killed before step {step}, it is a stranger"
        renew(layout, name)
        after = in_use(layout, name)
        assert after.der != first.der
        assert known(layout, name, after.der, first.der)
        assert staged(layout.alias, name) is None
        assert len(list(layout.alias.glob(f"{name}*.pem"))) == 2, "one certificate was had"
        proof = prove(layout.audit_log, Trust([in_use(due, AUDIT_SIGNING).certificate]))
        assert proof.broken is None, f"killed before step {step}: {proof.broken}"
        assert proof.unsigned == 0
