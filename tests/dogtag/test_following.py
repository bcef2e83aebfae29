"""What the real CA does is followed: by an instance that it publishes to, and by one that reads its directory."""

from __future__ import annotations

import pytest
from tests.dogtag.lab import plan
from tests.processes.running import eventually

pytestmark = pytest.mark.dogtag


@pytest.fixture(scope="module")
def reader(lab, beside):
    """The instance, which also reads the internal database of Dogtag's OCSP manager, as its administrator would."""
    attributes = "certificateRevocationList;binary"
    base = plan.OCSP.suffix
    config = beside.instance / "CS.cfg"
    before = config.read_text()
    url = f"ldap://{plan.HOST}:{plan.OCSP.ldap_port}/{base}?{attributes}?sub"
    lines = {"url": url, "bindDN": "cn=Directory Manager", "intervalInSec": "1"}
    config.write_text(before + "".join(f"vouchd.source.dogtag.{key}={value}\n" for key, value in lines.items()))
    passwords = beside.instance / "password.conf"
    secrets = passwords.read_text()
    passwords.write_text(f"{secrets}source.dogtag={plan.PASSWORD}\n")
    beside.run("restart")
    yield beside
    config.write_text(before)
    passwords.write_text(secrets)
    beside.run("restart")


def test_revocation_is_answered_before_the_publish_returns(lab, beside):
    """The CA hears of success when the answer is the new one: revoked, held, and released again."""
    revoked, on_hold = (lab.issue(f"{name}.example.test").certificate.serial_number for name in ("revoked", "held"))
    lab.revoke(revoked)
    lab.revoke(on_hold, "Certificate_Hold")
    assert "<crlPublished>Success</crlPublished>" in lab.publish()
    assert [beside.status(serial) for serial in (revoked, on_hold)] == ["revoked", "revoked"]
    lab.release(on_hold)
    lab.publish()
    assert [beside.status(serial) for serial in (revoked, on_hold)] == ["revoked", "good"]


def test_directory_of_the_ocsp_manager_is_followed(lab, reader):
    """Where the CA publishes to Dogtag alone, its directory is the way: no `;binary`, and a place-holder beside."""
    serial = lab.issue("followed.example.test").certificate.serial_number
    reader.run("user", "disable", f"CA-{plan.HOST}-{plan.CA.https_port}")
    try:
        lab.revoke(serial, "Certificate_Hold")
        lab.publish()
        eventually(lambda: reader.status(serial) == "revoked", "the hold is answered")
        lab.release(serial)
        lab.publish()
        eventually(lambda: reader.status(serial) == "good", "the release is answered")
    finally:
        reader.run("user", "enable", f"CA-{plan.HOST}-{plan.CA.https_port}")
    (source,) = (one for one in reader.json("status")["sources"] if one["name"] == "dogtag")
    assert source["last_error"] == ""


def test_ca_that_begins_to_send_an_issuing_distribution_point_is_followed(lab, beside):
    """A checkbox in the CA makes its CRL another issuing point: the answers are those of the new CRL at once."""
    serial = lab.issue("point.example.test").certificate.serial_number
    prefix = "ca.crl.MasterCRL.extension.IssuingDistributionPoint"
    before = {"enable": "false", "critical": "true", "pointType": "", "pointName": ""}
    point = {"enable": "true", "pointType": "URI", "pointName": "http://crl.example.test/master.crl"}
    lab.configure(plan.CA, {f"{prefix}.{key}": value for key, value in point.items()})
    try:
        lab.revoke(serial)
        lab.publish()
        assert beside.status(serial) == "revoked"
    finally:
        lab.configure(plan.CA, {f"{prefix}.{key}": before[key] for key in point})
        lab.publish()
    assert beside.status(serial) == "revoked"
    assert beside.status(lab.ca.serial_number) == "good"
