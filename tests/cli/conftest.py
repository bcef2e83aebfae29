"""A site for the command line's tests: a CA, its signer's files, and an instance made of them. Validity is around today."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pki import CA, DAY, HOUR, Issued

from vouchd.cli.main import main


@dataclass
class Site:
    """Files of a site with its own CA: `signer.key`, `signer.pem`, `ca.pem`."""

    folder: Path
    ca: CA
    signer: Issued

    @property
    def instance(self) -> Path:
        return self.folder / "vouchd"

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def crl(
        self, name: str, revoked: dict[int, x509.ReasonFlags | None] | None = None, *, pem: bool = False, **kw
    ) -> str:
        """Write a CRL that is fresh now; returns the file's name."""
        now = int(time.time())
        der = self.ca.crl(revoked, this_update=kw.pop("this_update", now - HOUR), next_update=now + DAY, **kw)
        data = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM) if pem else der
        (self.folder / name).write_bytes(data)
        return self.file(name)

    def create(self, *more: str) -> int:
        """`vouchd create` with the site's files."""
        files = ["--signer-key", self.file("signer.key"), "--signer-cert", self.file("signer.pem")]
        return main(["create", *files, "--ca-cert", self.file("ca.pem"), *more])


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    """The files of a site; VOUCHD_INSTANCE names the instance that `create` makes."""
    now = int(time.time())
    ca = CA.create("Site CA")
    signer = ca.issue_signer(not_before=now - DAY, not_after=now + 30 * DAY)
    key = tmp_path / "signer.key"
    key.write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    (tmp_path / "signer.pem").write_bytes(signer.pem)
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    monkeypatch.delenv("VOUCHD_DEBUG", raising=False)
    return Site(tmp_path, ca, signer)


@pytest.fixture
def instance(site, capsys) -> Site:
    """The site with its instance made, and nothing of that on the screen."""
    assert site.create() == 0
    capsys.readouterr()
    return site
