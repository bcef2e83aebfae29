"""The lab itself: a CA that publishes to its OCSP manager, and tools that ask it."""

from __future__ import annotations

import pytest
from cryptography import x509
from tests.dogtag.lab import plan

pytestmark = pytest.mark.dogtag

URL = f"http://{plan.HOST}:{plan.OCSP.http_port}/ocsp/ee/ocsp"


def test_dogtag_revoked_certificate_is_told_by_its_own_client(lab):
    """What the CA revokes and publishes, its OCSP manager answers; the lab is what a site runs."""
    serial = lab.issue("lab.example.test").certificate.serial_number
    assert "CertStatus=Good" in lab.ocsp_client(URL, serial)
    lab.revoke(serial)
    assert "<crlPublished>Success</crlPublished>" in lab.publish()
    assert "CertStatus=Revoked" in lab.ocsp_client(URL, serial)
    crl = x509.load_der_x509_crl(lab.crl())
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None
