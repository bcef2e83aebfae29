"""Clients of other makers, each as one function: what it makes of a responder's answer about a certificate.

Each asks by itself and verifies signature, delegation and times with its own code. OpenSSL is asked twice: Debian's, and
the same program over the newer library that a wheel brings along.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

from tests.interop.building import build_folder
from tests.interop.jvm import Jvm
from tests.interop.site import Leaf, Site

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 300
GO_SOURCES = "/usr/share/gocode"  # where Debian has golang.org/x/crypto
WHEEL = "psycopg2-binary"  # for the OpenSSL in it alone


@dataclass(frozen=True)
class Said:
    """What a foreign command printed, and whether it was content."""

    code: int
    text: str


def said(*command: object, environment: Mapping[str, str] | None = None) -> Said:
    """Run a command to its end."""
    ended = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
    return Said(ended.returncode, ended.stdout + ended.stderr)


class Clients:
    """The clients by name; what has to be laid out for them goes below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._jvms: dict[bool, Jvm] = {}
        self.by_name: dict[str, Callable[[Site, Leaf], str]] = {
            "OpenSSL": self.openssl,
            "newer OpenSSL": self.newer_openssl,
            "GnuTLS": self.gnutls,
            "Java": self.java,
            "Go": self.go,
            "NSS": self.nss,
        }

    def openssl(self, site: Site, leaf: Leaf, library: Mapping[str, str] | None = None) -> str:
        """`openssl ocsp`, with a nonce."""
        ask = ("-issuer", site.ca_file, "-cert", leaf.file, "-url", site.url, "-CAfile", site.ca_file)
        heard = said("openssl", "ocsp", *ask, environment=library)
        status = re.search(rf"^{re.escape(str(leaf.file))}: (\w+)$", heard.text, re.MULTILINE)
        accepted = heard.code == 0 and "Response verify OK" in heard.text and "WARNING" not in heard.text
        return status[1] if accepted and status else f"refused {heard.text}"

    def newer_openssl(self, site: Site, leaf: Leaf) -> str:
        """The same over the newer library."""
        return self.openssl(site, leaf, self.newer_library)

    @cached_property
    def newer_library(self) -> Mapping[str, str]:
        """The environment that has `openssl` load it."""
        folder = self._folder / "openssl"
        folder.mkdir()
        for file in distribution(WHEEL).files or ():
            if match := re.fullmatch(r"(libcrypto|libssl)-\w+(\.so\.3)", file.name):
                (folder / f"{match[1]}{match[2]}").symlink_to(file.locate())
        return {"LD_LIBRARY_PATH": str(folder)}

    def gnutls(self, site: Site, leaf: Leaf) -> str:
        """`ocsptool`."""
        ask = ("--load-cert", leaf.file, "--load-issuer", site.ca_file, "--load-trust", site.ca_file)
        heard = said("ocsptool", f"--ask={site.url}", *ask)
        status = re.search(r"Certificate Status: (\w+)", heard.text)
        accepted = "Verifying OCSP Response: Success." in heard.text and status
        return status[1] if accepted else f"refused {heard.text}"

    def java(self, site: Site, leaf: Leaf) -> str:
        """PKIXRevocationChecker, without falling back to a CRL."""
        return self.jvm(get=True).said("OcspCheck", site.url, site.ca_file, leaf.file)[0].split()[0]

    def jvm(self, *, get: bool) -> Jvm:
        """The machine whose OCSP client asks by GET, as it does by itself, or by POST; that is settled once in each."""
        with self._lock:
            if get not in self._jvms:
                self._jvms[get] = Jvm(self._java_classes, **{"com.sun.security.ocsp.useget": str(get).lower()})
            return self._jvms[get]

    @cached_property
    def _java_classes(self) -> Path:
        sources = tuple(HERE / f"{name}.java" for name in ("Programs", "OcspCheck", "AskByHttpClient"))

        def build(folder: Path) -> None:
            compiled = said("javac", "-d", folder, *sources)
            assert compiled.code == 0, compiled.text

        return build_folder("javac", sources, build)

    def go(self, site: Site, leaf: Leaf) -> str:
        """golang.org/x/crypto/ocsp."""
        return said(self._go_program, site.url, site.ca_file, leaf.file).text.strip()

    @cached_property
    def _go_program(self) -> Path:
        source = HERE / "ocspcheck.go"

        def build(folder: Path) -> None:
            sources = {"GO111MODULE": "off", "GOPATH": GO_SOURCES, "GOFLAGS": ""}
            compiled = said("go", "build", "-o", folder / source.stem, source, environment=sources)
            assert compiled.code == 0, compiled.text

        return build_folder("go", (source,), build) / source.stem

    def nss(self, site: Site, leaf: Leaf) -> str:
        """`ocspclnt`, which asks where the certificate says."""
        database = site.folder / "nss"
        if not database.exists():
            database.mkdir()
            assert said("certutil", "-N", "--empty-password", "-d", f"sql:{database}").code == 0
            trust = ("-n", "ca", "-t", "CT,CT,CT", "-a", "-i", site.ca_file)
            assert said("certutil", "-A", "-d", f"sql:{database}", *trust).code == 0
        heard = said("ocspclnt", "-d", f"sql:{database}", "-S", leaf.file, "-a").text
        words = {"succeeded.": "good", "has been revoked.": "revoked", "has no status for the certificate.": "unknown"}
        return next((status for end, status in words.items() if heard.strip().endswith(end)), f"refused {heard}")

    def prepare(self) -> None:
        """Compile and lay out what the clients need, before they ask."""
        _ = self.newer_library, self._java_classes, self._go_program

    def end(self) -> None:
        """End what runs for them."""
        for jvm in self._jvms.values():
            jvm.end()
