"""A certificate manager per test, on the day all tests live in."""

import pytest
from tests.pki import NOW, name, shared_key

from vouchd.ca.creating import AuthorityPlan, create_authority
from vouchd.ca.facts import AuthoritySettings
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest

SETTINGS = AuthoritySettings(
    ocsp_url="http://ocsp.example/", crl_url="http://crl.example/ca.crl", delta_url="http://crl.example/delta.crl"
)


@pytest.fixture
def manager(tmp_path):
    """A P-256 CA with addresses for OCSP, CRL and delta CRL."""
    made = create_authority(tmp_path / "ca", AuthorityPlan("CN=Test CA,O=Example", settings=SETTINGS), NOW)
    yield made
    made.close()


@pytest.fixture
def issue(manager):
    """Issues a certificate and returns its record: `issue()`, `issue("name", profile=...)`."""

    def issue_one(common_name="subject", *, at=NOW, profile=ProfileName.SERVER, **more):
        request = CertificateRequest(name(common_name), shared_key("EC", 5).public_key(), profile, **more)
        return manager.issue(request, at)

    return issue_one
