"""Dogtag's own tools against an instance of vouchd that has its OCSP manager's keys: OCSPClient, pki, curl."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.dogtag.beside import AGENT_URL, URL
from tests.dogtag.lab import plan

pytestmark = pytest.mark.dogtag


@pytest.mark.parametrize("reason", ["Key_Compromise", "Certificate_Hold"])
def test_revoked_answer_is_read_by_dogtag_s_client(lab, beside, reason):
    """Keys of a Certificate System come with its clients, which read no reasons: none is told, and `create` says so."""
    assert "vouchd.response.reasons=false" in beside.said
    serial = lab.issue("tools.example.test").certificate.serial_number
    lab.revoke(serial, reason)
    lab.publish()
    for client in (lab.ocsp_client(f"{URL}/ocsp/ee/ocsp", serial), lab.ocsp_client(f"{URL}/", serial)):
        assert f"CertID.serialNumber={serial}" in client
        assert "CertStatus=Revoked" in client


def test_reason_is_what_dogtag_s_client_fails_on(lab, beside):
    """What the policy is for: the same answer with its reason cannot be read there, and comes back with the policy."""
    serial = lab.issue("reason.example.test").certificate.serial_number
    lab.revoke(serial)
    lab.publish()
    authority = beside.json("authority", "list")[0]["id"]
    beside.run("authority", "set", authority, "--reasons", "true")
    try:
        assert "InvalidBERException" in lab.ocsp_client(f"{URL}/ocsp/ee/ocsp", serial)
    finally:
        beside.run("authority", "set", authority, "--reasons", "default")
    assert "CertStatus=Revoked" in lab.ocsp_client(f"{URL}/ocsp/ee/ocsp", serial)


def test_users_groups_and_self_tests_are_found_by_pki(lab, beside):
    """`pki` logs in with the certificate of one of our users, and reads what it reads of an OCSP manager."""
    users = lab.pki(AGENT_URL, "ocsp-user-find")
    assert re.findall(r"User ID: (\S+)", users) == [f"CA-{plan.HOST}-{plan.CA.https_port}", "caadmin"]
    assert "Trusted Managers" in lab.pki(AGENT_URL, "ocsp-group-find")
    tests = lab.pki(AGENT_URL, "ocsp-selftest-find")
    assert "SelfTest ID: OCSPPresence" in tests
    assert "Critical at startup: true" in tests


def test_user_s_certificates_and_groups_are_found_by_pki(lab, beside):
    """So is what hangs below a user or a group."""
    shown = lab.pki(AGENT_URL, "ocsp-user-show", "caadmin")
    assert "Full name: caadmin" in shown
    assert "Serial Number: 0x" in lab.pki(AGENT_URL, "ocsp-user-cert-find", "caadmin")
    assert "Administrators" in lab.pki(AGENT_URL, "ocsp-user-membership-find", "caadmin")
    assert "caadmin" in lab.pki(AGENT_URL, "ocsp-group-member-find", "Administrators")


_VERBS = """
from pki.server.cli import PKIServerCLI
def walk(cli):
    for one in cli.modules.values():
        walk(one) if getattr(one, "modules", None) else print(one.get_full_name())
walk(PKIServerCLI())
"""


def test_every_verb_of_dogtag_s_server_command_has_ours_in_the_docs(lab):
    """Whoever knows one of its verbs finds what does the same here, or why nothing does."""
    verbs = {word for word in lab.enclosure.run("python3", "-c", _VERBS).split() if word.startswith("ocsp-")}
    assert "ocsp-clone-prepare" in verbs
    page = (Path(__file__).parents[2] / "docs/operate/certificate-system.md").read_text(encoding="utf-8")
    assert sorted(verbs - set(re.findall(r"ocsp-[a-z-]+", page))) == []


def test_addresses_and_pages_are_those_that_scripts_know(lab, beside):
    """getStatus on either port, checkCert by GET, numbers as strings, and the guide's address leads to the pages."""
    for base in (URL, AGENT_URL):
        assert "<Status>running</Status>" in lab.curl(f"{base}/ocsp/admin/ocsp/getStatus")
    assert re.search(r'header\.numReq = "(\d+)";', lab.curl(f"{AGENT_URL}/ocsp/agent/ocsp/getOCSPInfo"))
    records = lab.curl(f"{AGENT_URL}/ocsp/agent/ocsp/listCAs")
    assert re.search(r'record\.CRLNumber="(\d+)";', records)
    options = ["--get", "--data-urlencode", f"cert@{lab.file('admin.pem')}", "--data", "xml=true"]
    assert "<status>good</status>" in lab.curl(*options, f"{AGENT_URL}/ocsp/agent/ocsp/checkCert")
    arrived = lab.curl("--location", "--write-out", "%{url_effective}", f"{AGENT_URL}/ocsp/agent/ocsp")
    assert arrived.endswith("/agent/authorities")
