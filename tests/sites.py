"""A site with its own CA and its own CRLs, as files: what the commands are given. Validity is around today."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.images import image_of
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

    def equip(self) -> None:
        """Put beside them the instance that `create` would make, and as it would."""
        image_of(_equipped).put(self.folder)

    @classmethod
    def make(cls, folder: Path) -> Site:
        """Write the files of the site into `folder`."""
        ca, signer = _certificates()
        key = folder / "signer.key"
        key.write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        (folder / "signer.pem").write_bytes(signer.pem)
        (folder / "ca.pem").write_bytes(ca.pem)
        return cls(folder, replace(ca), signer)

    def issue(self, name: str, serial: int) -> str:
        """Issue a certificate that is valid now; returns the file's name."""
        now = int(time.time())
        issued = self.ca.issue(name, serial=serial, not_before=now - DAY, not_after=now + DAY)
        (self.folder / f"{name}.pem").write_bytes(issued.pem)
        return self.file(f"{name}.pem")


@cache
def _certificates() -> tuple[CA, Issued]:
    """The CA, to be copied as it counts its CRLs, and the signer."""
    now = int(time.time())
    ca = CA.create("Site CA")
    return ca, ca.issue_signer(not_before=now - DAY, not_after=now + 30 * DAY)


def _equipped(folder: Path) -> None:
    site = Site.make(folder)
    assert site.create("--instance", str(site.instance)) == 0
