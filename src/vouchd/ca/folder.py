"""Where things are in a CA's folder; nothing here touches the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AuthorityFolder:
    """The paths of one CA."""

    root: Path

    @property
    def certificate(self) -> Path:
        """The CA's own certificate, PEM."""
        return self.root / "ca.crt"

    @property
    def chain(self) -> Path:
        """Certificates of the CAs above, nearest first, PEM; absent for a root."""
        return self.root / "ca-chain.pem"

    @property
    def key(self) -> Path:
        """The CA's private key, encrypted PKCS #8 PEM (0600)."""
        return self.root / "ca.key"

    @property
    def password(self) -> Path:
        """The password of the key, `internal=...` (0600)."""
        return self.root / "password.conf"

    @property
    def database(self) -> Path:
        """Certificates, CRLs and settings (SQLite, 0600)."""
        return self.root / "ca.sqlite"
