"""The domain in the documented shapes of the Certificate System."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from vouchd.agent.certsystem.domain import domain_info, domain_xml
from vouchd.core.facts import Member

MASTER = Member("ocsp1.example.org", 8443, 8080, "OCSP <one> & more", clone=False, joined_at=1)
CLONE = replace(MASTER, host="ocsp2.example.org", name="two", clone=True)
FIELDS = {
    "Port": "8080",
    "SecurePort": "8443",
    "SecureAgentPort": "8443",
    "SecureAdminPort": "8443",
    "SecureEEClientAuthPort": "8443",
}


def test_domain_info_has_hosts_below_their_subsystem():
    """JSON: id, then Subsystem by type, then Host by id, values as text."""
    info = domain_info("Example & Co", [MASTER, CLONE])
    assert info["id"] == "Example & Co"
    hosts = info["Subsystem"]["OCSP"]["Host"]
    assert hosts["OCSP ocsp2.example.org 8443"] == FIELDS | {
        "id": "OCSP ocsp2.example.org 8443",
        "Hostname": "ocsp2.example.org",
        "SubsystemName": "two",
        "Clone": "TRUE",
        "DomainManager": "FALSE",
    }
    assert hosts["OCSP ocsp1.example.org 8443"]["Clone"] == "FALSE"


def test_domain_info_of_nobody_has_no_subsystem():
    """A domain may be empty."""
    assert domain_info("x", []) == {"id": "x", "Subsystem": {}}


def test_domain_xml_wraps_the_domain_as_text():
    """XML: an XMLResponse, in it DomainInfo as text, in that a list for each type with its count; all escaped."""
    outer = ET.fromstring(domain_xml("Example & Co", [MASTER, CLONE]).encode())  # noqa: S314  our own XML
    assert (outer.tag, outer.findtext("Status")) == ("XMLResponse", "0")
    inner = ET.fromstring(outer.findtext("DomainInfo").encode())  # noqa: S314  likewise
    assert inner.findtext("Name") == "Example & Co"
    lists = {child.tag: child for child in inner if child.tag.endswith("List")}
    assert list(lists) == ["CAList", "KRAList", "OCSPList", "TKSList", "RAList", "TPSList"]
    assert lists["OCSPList"].findtext("SubsystemCount") == "2"
    assert lists["CAList"].findtext("SubsystemCount") == "0"
    first, second = lists["OCSPList"].findall("OCSP")
    assert first.findtext("SubsystemName") == "OCSP <one> & more"
    assert {name: second.findtext(name) for name in FIELDS} == FIELDS
