"""The wizard as a process: killed while it waits for certificates, gone on with in the foreground, and then the instance."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.commands import start_vouchd
from tests.ds389 import HOSTS
from tests.faults.page import FaultTable
from tests.processes.running import eventually
from tests.processes.test_supervisor import ServiceManager
from tests.setup.wizards import Visitor
from tests.whole.clones import CloneSet, clone_set
from tests.whole.key_search import places_of
from tests.whole.key_table import of_keys

from vouchd.instance import lifecycle
from vouchd.instance.certificates.issuing import certify
from vouchd.setup.carrying_out import waiting_requests
from vouchd.setup.questionnaire import ExportKeys
from vouchd.setup.serving import open_wizard

pytestmark = pytest.mark.process
TABLE = FaultTable.of("set-up")
PASSWORD = "a password of this test"


@pytest.fixture
def site(tmp_path):
    with clone_set(tmp_path, CloneSet) as members:
        members.hosts = dict(zip("m", HOSTS.items(), strict=False))
        yield members


def walk(site: CloneSet, visitor: Visitor) -> None:
    """All panels, with requests that are carried to the CA."""
    export = ExportKeys(kind="file", path=str(site.folder / "keys.p12"), password=PASSWORD)
    page = visitor.enter()
    for slug, values in (
        ("welcome", {}),
        ("key-store", {"kind": "software"}),
        ("security-domain", {"kind": "new", "name": "Carried"}),
        ("subsystem-type", {"kind": "new", "host": site.host("m")[0]}),
        ("restore-keys", {"kind": "none"}),
        ("internal-database", {"kind": "embedded"}),
        ("key-pairs", {"algorithm": "SHA256withEC"}),
        ("subject-names", {"subject": "CN=Carried OCSP"}),
        ("requests-and-certificates", {"kind": "csr", "authorities": str(site.folder / "lab" / "ca.crt")}),
        ("export-keys", msgspec.to_builtins(export)),
        ("administrator", {"password": PASSWORD}),
    ):
        page = visitor.fill(slug, **values)
        assert not page.error, f"{slug}: {page.error}"
    visitor.fill("review")  # what is wrong then is of the last act, which may have ended already


def install_all(site: CloneSet, visitor: Visitor) -> None:
    """Have our CA certify each request that waits, and put its certificate in."""
    layout = site.layout("m")
    for request in waiting_requests(layout):
        page = visitor.show("/setup/requests-and-certificates")
        assert f"Take the certificate of {request.name} in" in page.words
        wrong = visitor.send("/setup/install", page.token, {"name": request.name, "certificate-text": "none"})
        assert wrong.error
        pem = certify(site.folder / "lab", request.purpose, request.path.read_bytes()).decode()
        done = visitor.send("/setup/install", page.token, {"name": request.name, "certificate-text": pem})
        assert f"The certificate of {request.name} is in use." in done.words, done.error
    assert not waiting_requests(layout)


def has_ended(process: int) -> bool:
    """Whether it holds nothing any more: neither its port nor its locks."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def service_manager():
    """What wants to be told of a service that is ready, in a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        manager = ServiceManager(Path(folder))
        yield manager
        manager.close()


@TABLE.fault(
    "its wizard is killed at any panel, or in the last act",
    "none yet",
    "nothing; what was typed lies in `setup/`, private",
    "`vouchd start` opens the wizard with another PIN: it goes on where it was",
)
@TABLE.fault(
    "the certificates of its requests have not come",
    "none yet",
    "the last act, by the names of the requests",
    "put in at Requests and Certificates, and tried again",
)
@of_keys("of the set-up wizard, for TLS")
def test_wizard_killed_while_certificates_are_carried_goes_on_and_becomes_the_instance(site, service_manager):
    """In the foreground it is one process: first the wizard, then the instance; and the wizard is gone for ever."""
    layout, address = site.layout("m"), site.host("m")[1]
    here = ["--listen", address, "--hostname", address, *site.ports_of("m"), "--workers", "1", "--setup-port", "0"]
    opened = site.json("create", "--unconfigured", "--instance", "m", *here)
    assert "is not set up yet" in site.refused("crl", "list", "--instance", "m")
    assert "being set up" in site.run("status", "--instance", "m", code=3)
    visitor = Visitor(opened["wizard"], opened["fingerprint"])
    key_file = layout.setup / "wizard.key"
    key = load_pem_private_key(key_file.read_bytes(), None)
    assert key_file.stat().st_mode & 0o077 == 0
    walk(site, visitor)
    page = visitor.until_ended()
    assert {Path(place.partition(": ")[0]) for place in places_of(key, site.folder)} == {key_file}
    assert "certificates have not come yet: ocspSigningCert" in page.error, page.text
    assert "Put certificates in" in page.words
    os.kill(opened["process"], signal.SIGKILL)
    eventually(lambda: has_ended(opened["process"]), "the end of the wizard")
    environment = {**os.environ, "NOTIFY_SOCKET": str(service_manager.address)}
    with (
        (site.folder / "log").open("w") as log,
        start_vouchd("run", "--instance", "m", cwd=site.folder, stderr=log, env=environment) as running,
    ):
        again = eventually(
            lambda: wizard if (wizard := open_wizard(layout)) and wizard.process == running.pid else None,
            lambda: f"a wizard: {(site.folder / 'log').read_text()}",
        )
        assert service_manager.hear("READY")["STATUS"].startswith("not set up yet")
        assert "under way" in site.refused("setup", "--instance", "m")
        visitor = Visitor(again.url, again.fingerprint)
        assert visitor.enter().panel == "Review"
        assert "This was carried out already." in visitor.show("/setup/subject-names").words
        install_all(site, visitor)
        page = visitor.fill("review")
        page = visitor.until_ended()
        assert "The instance is set up, and runs." in page.words, page.error
        assert PASSWORD not in page.text
        assert visitor.show("/setup/admin.p12").body == layout.admin_pkcs12.read_bytes()
        visitor.send("/setup/leave", page.token, {})
        eventually(lambda: lifecycle.status(layout).ready and lifecycle.status(layout).pid == running.pid, "served")
        assert not layout.setup.exists()
        assert places_of(key, site.folder) == []
        site.publish("m")
        site.until_says("m", "good", "good")
        site.run("stop", "--instance", "m")
    assert running.returncode == 0
