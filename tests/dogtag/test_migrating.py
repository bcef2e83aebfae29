"""The migration page from end to end: a real Dogtag with two CAs and users, taken over, beside it, compared, cut over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.client.answers import ask_for
from tests.commands import run_vouchd
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab
from tests.ds389 import free_port
from tests.pki import CA, DAY, HOUR, new_key

pytestmark = pytest.mark.dogtag

DIRECTORY = f"ldap://{plan.HOST}:{plan.OCSP.ldap_port}/{plan.OCSP.suffix}"
THEIRS = f"http://{plan.HOST}:{plan.OCSP.http_port}/ocsp/ee/ocsp"


@pytest.fixture(scope="module")
def second(lab: Lab) -> Iterator[CA]:
    """A second CA behind the OCSP manager's signer, which has not issued it."""
    ca = CA.create("Second CA of Dogtag", key=new_key("RSA"))
    now = int(time.time())
    crl = x509.load_der_x509_crl(ca.crl({0x51: None}, this_update=now - HOUR, next_update=now + DAY))
    text = crl.public_bytes(Encoding.PEM).decode().replace("X509 CRL", "CERTIFICATE REVOCATION LIST")
    agent = f"https://{plan.HOST}:{plan.OCSP.https_port}/ocsp/agent/ocsp"
    lab.curl(f"{agent}/addCA", "--data-urlencode", f"cert={ca.pem.decode()}", "-d", "xml=true")
    assert "status=0" in lab.curl(f"{agent}/addCRL", "--data-urlencode", f"crl={text}", "-d", "noui=true")
    yield ca
    lab.curl(f"{agent}/removeCA", "-d", "caID=CN=Second CA of Dogtag", "-d", "xml=true")


@pytest.fixture
def files(lab: Lab, tmp_path: Path) -> Path:
    """What the operator brings: CS.cfg, keys and passwords."""
    for name, data in {
        "CS.cfg": (lab.enclosure.root / f"etc/pki/{plan.OCSP.tomcat}/ocsp/CS.cfg").read_bytes(),
        "keys.p12": lab.file("ocsp.p12").read_bytes(),
        "pw": plan.PASSWORD.encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def run(folder: Path, *words: object) -> tuple[int, str, str]:
    """A command, and how it ended."""
    done = run_vouchd(*words, cwd=folder)
    return done.returncode, done.stdout, done.stderr


def test_dogtag_is_taken_over_run_beside_compared_and_left_as_it_was(lab, second, files):
    """Every line, key, CA and user is in one of three lists; what is made answers as Dogtag does, for clients of either."""
    keys = ["--config", "CS.cfg", "--pkcs12", "keys.p12", "--password-file", "pw"]
    words = ["import", "dogtag", *keys, "--directory", DIRECTORY, "--directory-password-file", "pw", "--json"]
    words += ["--instance", "v", "--host", "127.0.0.1", "--health-port", 0, "--workers", 1]
    words += ["--port", free_port(), "--agent-port", free_port()]
    serial = lab.issue("migrating.example.test").certificate.serial_number
    lab.revoke(serial)
    lab.publish()
    code, out, _ = run(files, *words, "--dry-run")
    rehearsed = json.loads(out)
    assert code == 78  # the second CA needs a word of the operator
    assert [one["hint"] for one in rehearsed["not_possible"] if "Second CA" in one["what"]] == [
        "where its clients are set to trust that signer all the same: --trusted-responder 'CN=Second CA of Dogtag'"
    ]
    assert not (files / "v").exists()
    code, out, err = run(files, *words, "--trusted-responder", "CN=Second CA of Dogtag")
    assert code == 0, err
    taken = {one["what"]: one["why"] for one in json.loads(out)["taken_over"]}
    assert "user ocspadmin" in taken
    assert taken["CA CN=Second CA of Dogtag"] == "1 CRL verified and taken"
    assert not [one for one in json.loads(out)["not_possible"] if "nothing here knows" in one["why"]]
    try:
        code, _, err = run(files, "start", "--instance", "v")
        assert code == 0, err
        _compare(files, lab, second, serial)
    finally:
        run(files, "stop", "--instance", "v")


def _compare(files: Path, lab: Lab, second: CA, serial: int) -> None:
    """In shadow, by what clients ask: nothing is left unexplained, and either client reads either responder."""
    recorded = files / "recorded"
    recorded.mkdir()
    root = CA(lab.ca, None)
    for number, (ca, digest) in enumerate([(root, "SHA-1"), (root, "SHA-256"), (second, "SHA-1"), (second, "SHA-256")]):
        asked = ask_for(ca, serial if ca is root else 0x51, digest=digest)
        (recorded / f"{number}.der").write_bytes(asked.request_der)
    words = [
        "compare",
        "--instance",
        "v",
        "--with",
        THEIRS,
        "--shadow",
        "recorded",
        "--report",
        "shadow.json",
        "--json",
    ]
    code, out, err = run(files, *words)
    assert code == 0, err + out
    assert json.loads(run(files, "compare", "--check", "shadow.json", "--json")[1])["questions"] == 4
    report = json.loads(out)
    assert (report["questions"], report["unexplained"]) == (4, 0)
    ours = json.loads(run(files, "status", "--instance", "v", "--json")[1])["OCSP"]
    for url in (ours.rstrip("/") + "/ocsp/ee/ocsp", THEIRS):  # cut over, and back
        assert "CertStatus=Revoked" in lab.ocsp_client(url, serial)
