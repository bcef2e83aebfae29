"""A 389 Directory Server below a temporary folder, started as the user who runs the tests; needs 389-ds-base.

Made from the packaged templates, without dscreate, which wants systemd. It keeps no log of access and syncs nothing: it
is thrown away. TLS: give an identity; both ports then listen on 127.0.0.1.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pwd
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from tests.pki import Issued

TEMPLATES = Path("/usr/share/dirsrv/data")
SERVER = Path("/usr/sbin/ns-slapd")
ROOT_DN = "cn=Directory Manager"
PASSWORD = "directory-test"
START_SECONDS = 60
# Log as usual, and stay in the foreground.
LEVEL = "266354688"
# An anonymous search for the root DSE, in BER.
PROBE = bytes.fromhex("3025020101632004000a01000a0100020100020100010100870b6f626a656374636c6173733000")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Directory:
    """One directory server with one suffix; `start` before use, `kill` after it."""

    folder: Path  # a short path: the LDAPI socket below it may have 107 bytes
    suffix: str = "o=crl.example"
    port: int = field(default_factory=free_port)
    secure_port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def secure_url(self) -> str:
        return f"ldaps://127.0.0.1:{self.secure_port}"

    def create(self, identity: Issued | None = None, root: Issued | None = None) -> None:
        """Write the configuration; with `identity` (issued by `root`) TLS is on."""
        assert SERVER.exists(), "these tests drive a real directory server: apt-get install 389-ds-base libnss3-tools"
        for name in ("etc/schema", "db", "log", "run", "lock", "ldif", "bak", "tmp", "inst"):
            (self.folder / name).mkdir(parents=True, mode=0o700)
        (self.folder / "etc/schema/99user.ldif").write_text(
            "dn: cn=schema\nobjectClass: top\nobjectClass: ldapSubentry\nobjectClass: subschema\ncn: schema\n"
        )
        dse = self._filled("template-dse.ldif")
        for dn, attributes in self._changes(tls=identity is not None):
            dse = _edited(dse, dn, attributes)
        suffix = self._filled("template-suffix-db.ldif").split("\n", 2)[2]  # after two lines of comment
        (self.folder / "etc/dse.ldif").write_text(dse.rstrip("\n") + "\n\n" + suffix)
        if identity is not None:
            self._import(identity, root)

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self.folder / "log/console").open("ab") as console:
            self.process = subprocess.Popen(
                [SERVER, "-D", self.folder / "etc", "-i", self.folder / "run/pid", "-d", LEVEL],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        pause, end = threading.Event(), time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log/console").read_text()[-2000:]
            assert time.monotonic() < end, "the directory server does not answer"
            pause.wait(0.02)

    def kill(self) -> None:
        """End it at once: an orderly stop takes seconds, and nothing here is kept."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(2)
                probe.connect(str(self.folder / "ldapi.sock"))
                probe.sendall(PROBE)
                return probe.recv(1) == b"\x30"
        except OSError:
            return False

    def _filled(self, template: str) -> str:
        top = self.folder
        values = {
            "schema_dir": top / "etc/schema",
            "lock_dir": top / "lock",
            "tmp_dir": top / "tmp",
            "cert_dir": top / "etc",
            "ldif_dir": top / "ldif",
            "bak_dir": top / "bak",
            "run_dir": top / "run",
            "inst_dir": top / "inst",
            "log_dir": top / "log",
            "config_dir": top / "etc",
            "db_dir": top / "db",
            "db_home_dir": top / "db",
            "db_lib": "bdb",
            "fqdn": "localhost",
            "ds_port": self.port,
            "ds_user": pwd.getpwuid(os.geteuid()).pw_name,
            "rootdn": ROOT_DN,
            "ds_passwd": _hashed(PASSWORD),
            "ldapi_enabled": "on",
            "ldapi": top / "ldapi.sock",
            "ldapi_autobind": "on",
            "ds_suffix": self.suffix,
            "ds_bename": "userRoot",
        }
        return re.sub(r"%([a-z_]+)%", lambda match: str(values[match[1]]), (TEMPLATES / template).read_text())

    def _changes(self, *, tls: bool) -> list[tuple[str, dict[str, str]]]:
        config = {
            "nsslapd-maxbersize": "209715200",
            "nsslapd-listenhost": "127.0.0.1",
            "nsslapd-securelistenhost": "127.0.0.1",
            "nsslapd-maxdescriptors": "1024",
            "nsslapd-threadnumber": "8",
            "nsslapd-accesslog-logging-enabled": "off",
        }
        if tls:
            config |= {"nsslapd-security": "on", "nsslapd-secureport": str(self.secure_port)}
        database = {"nsslapd-cache-autosize": "0", "nsslapd-dbcachesize": "10000000"}
        return [
            # It would read a file below /etc/dirsrv, which an ordinary user cannot.
            ("cn=Internationalization Plugin,cn=plugins,cn=config", {"nsslapd-pluginenabled": "off"}),
            ("cn=config", config),
            (
                "cn=config,cn=ldbm database,cn=plugins,cn=config",
                database | {"nsslapd-db-durable-transaction": "off"},
            ),
        ]

    def _import(self, identity: Issued, root: Issued) -> None:
        etc = self.folder / "etc"
        database = f"sql:{etc}"
        (etc / "root.pem").write_bytes(root.pem)
        bundle = pkcs12.serialize_key_and_certificates(
            b"Server-Cert", identity.key, identity.certificate, None, BestAvailableEncryption(b"bundle")
        )
        (etc / "server.p12").write_bytes(bundle)
        for command in (
            ["certutil", "-N", "-d", database, "--empty-password"],
            ["certutil", "-A", "-d", database, "-n", "root", "-t", "CT,,", "-a", "-i", etc / "root.pem"],
            ["pk12util", "-i", etc / "server.p12", "-d", database, "-W", "bundle", "-K", ""],
        ):
            subprocess.run(command, check=True, capture_output=True)


def _hashed(password: str) -> str:
    salt = os.urandom(16)
    return "{SSHA512}" + base64.b64encode(hashlib.sha512(password.encode() + salt).digest() + salt).decode()


def _edited(ldif: str, dn: str, attributes: dict[str, str]) -> str:
    """`ldif` with some attributes of one entry replaced."""
    records = []
    for record in ldif.split("\n\n"):
        lines = [line for line in record.split("\n") if line.strip()]
        if lines and lines[0].split(": ", 1)[-1].strip().lower() == dn.lower():
            for name, value in attributes.items():
                lines = [line for line in lines if not line.lower().startswith(name.lower() + ":")]
                lines.append(f"{name}: {value}")
        records.append("\n".join(lines))
    return "\n\n".join(records)
