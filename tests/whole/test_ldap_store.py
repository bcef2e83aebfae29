"""`ocsp.storeId=ldapStore`: an instance that finds its CAs and their CRLs in directories, and follows them."""

from __future__ import annotations

import time

import ldap
import pytest
from tests.ds389 import PASSWORD, ROOT_DN, directories
from tests.pki import CA, HOUR, shared_key
from tests.sites import Site
from tests.whole.test_sources import configure, until, vouchd

from vouchd.settings.layout import Layout

pytestmark = [pytest.mark.process, pytest.mark.directory]

OPEN = b'(targetattr="*")(version 3.0; acl "read"; allow (read, search, compare) userdn="ldap:///anyone";)'
NAMES = [b"top", b"cRLDistributionPoint", b"pkiCA"]


@pytest.fixture
def site(tmp_path):
    """A site with an instance that knows no CA and is not started; it is stopped at the end."""
    site = Site.make(tmp_path)
    files = ["--signer-key", "signer.key", "--signer-cert", "signer.pem"]
    vouchd(site, "create", *files, "--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--workers", "1")
    yield site
    vouchd(site, "stop")


def test_cas_of_directories_are_answered_for_and_their_crls_followed(site):
    """The CA that our signer belongs to is found in the first directory, its newer CRL in the second; no other CA is."""
    stranger = CA.create("Stranger", key=shared_key("EC", 3))
    with directories(suffix="o=store") as (directory,):
        connection = ldap.initialize(directory.url)
        connection.simple_bind_s(ROOT_DN, PASSWORD)
        connection.modify_s("cn=config", [(ldap.MOD_REPLACE, "nsslapd-allow-anonymous-access", [b"on"])])
        connection.add_s("o=store", [("objectClass", [b"top", b"organization"]), ("o", [b"store"]), ("aci", [OPEN])])
        for unit in ("one", "two"):
            connection.add_s(f"ou={unit},o=store", [("objectClass", [b"organizationalUnit"]), ("ou", [unit.encode()])])
        old, new = (der(site, age, serials) for age, serials in ((2, {7: None}), (1, {7: None, 8: None})))
        crls = {"cn=ca,ou=one": (site.ca, "", old), "cn=stranger,ou=one": (stranger, "", b"broken")}
        for dn, (ca, option, crl) in crls.items():
            values = [(f"cACertificate{option}", [ca.der]), (f"certificateRevocationList{option}", [crl])]
            connection.add_s(
                f"{dn},o=store", [("objectClass", NAMES), ("cn", [dn[3:].split(",")[0].encode()]), *values]
            )
        settings(site, directory)
        vouchd(site, "start")
        report = until(site, lambda report: [point.crl_number for point in report.issuing_points] == [1])
        assert report.issuing_points[0].entries == 1
        values = [("certificateRevocationList;binary", [new])]
        connection.add_s("cn=ca,ou=two,o=store", [("objectClass", NAMES[:2]), ("cn", [b"ca"]), *values])
        report = until(site, lambda report: [point.crl_number for point in report.issuing_points] == [2])
        assert report.issuing_points[0].entries == 2
        assert "Site CA" in vouchd(site, "authority", "list")
        assert "Stranger" not in vouchd(site, "authority", "list")
        connection.unbind_s()


def der(site: Site, age: int, serials) -> bytes:
    """A CRL of the site's CA that is so many hours old, with the number that the next one has not."""
    return site.ca.crl(serials, this_update=int(time.time()) - age * HOUR, next_update=int(time.time()) + HOUR)


def settings(site: Site, directory) -> None:
    """Have ldapStore be the store, with two parts of one directory."""
    file = Layout(site.instance).cs_cfg
    file.write_text(file.read_text().replace("ocsp.storeId=defStore", "ocsp.storeId=ldapStore"))
    prefix = "ocsp.store.ldapStore"
    lines = [f"{prefix}.numConns=2"]
    for number, unit in enumerate(("one", "two")):
        place = {"host": directory.host, "port": directory.port, "baseDN": f"ou={unit},o=store", "refreshInSec": 1}
        lines += [f"{prefix}.{name}{number}={value}" for name, value in place.items()]
    configure(site, *lines)
