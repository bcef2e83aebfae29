"""A new signer's installation that is killed: the instance has the former certificate whole, or the new one whole."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from tests.faults.killed import killed_after_saying
from tests.pki import DAY
from tests.sites import Site

from vouchd.cli.main import main
from vouchd.instance.certificates.signers import load_signers
from vouchd.pkix.certs import load_certificate
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import read_key
from vouchd.wiring import instance

# Stops at the rename number argv[1] of those that make the files there: the certificate's, then that of CS.cfg.
STUCK = """
import sys
from pathlib import Path
from vouchd.cli.main import main
stop, instance, certificate, ca = int(sys.argv[1]), *sys.argv[2:]
rename, renamed = Path.replace, []
def stuck(self, target):
    if len(renamed) == stop:
        print("here", flush=True)
        sys.stdin.read()
    renamed.append(target)
    return rename(self, target)
Path.replace = stuck
sys.exit(main(["certs", "install", "ocspSigningCert", certificate, "--chain", ca, "-i", instance, "--no-restart"]))
"""


@pytest.fixture
def renewing(tmp_path, monkeypatch, capsys):
    """A site whose signer is about to be renewed; its new certificate is in new.pem."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    site = Site.make(tmp_path)
    assert site.create() == 0
    assert main(["certs", "request", "ocspSigningCert"]) == 0
    capsys.readouterr()
    layout = Layout(site.instance)
    key = read_key(layout.alias / "ocspSigningCert-2.key", read_passwords(layout.password_conf)[INTERNAL])
    now = int(time.time())
    issued = site.ca.issue_signer("renewed", key=key, not_before=now - DAY, not_after=now + 60 * DAY)
    (tmp_path / "new.pem").write_bytes(issued.pem)
    return site


def signer_of(site: Site) -> x509.Certificate:
    """The certificate that the instance would sign with."""
    signers = load_signers(read_settings(Layout(site.instance)))
    return load_certificate(signers["ocspSigningCert"].certificate_der)


@pytest.mark.process
@pytest.mark.parametrize("stop", [0, 1], ids=["before the certificate", "before CS.cfg"])
def test_install_killed_keeps_the_former_signer_and_can_be_repeated(renewing, stop):
    """Killed before the last rename the former signer is in use, and the same command then completes the change."""
    site = renewing
    files = (str(site.instance), site.file("new.pem"), site.file("ca.pem"))
    killed_after_saying("here", STUCK, str(stop), *files)
    instance.check_instance(Layout(site.instance), warn=pytest.fail)
    assert signer_of(site) == site.signer.certificate
    assert main(["certs", "install", "ocspSigningCert", site.file("new.pem")]) == 0
    assert signer_of(site).subject.rfc4514_string() == "CN=renewed"
