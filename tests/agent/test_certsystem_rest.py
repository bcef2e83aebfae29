"""The Certificate System's REST addresses: what its `pki` reads there, in the forms in which it does."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from tests.agent.agent_port import AgentPort, agent_port

XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> AgentPort:
    with agent_port(tmp_path_factory.mktemp("agent") / "instance") as opened:
        yield opened


def xml(port: AgentPort, path: str, user: str = "administrator", status: int = 200) -> ET.Element:
    answer = port.ask("GET", path, user)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/xml")
    return ET.fromstring(answer.body)  # noqa: S314  our own


def in_json(port: AgentPort, path: str, user: str = "administrator", status: int = 200):
    answer = port.ask("GET", path, user, headers={"Accept": "application/json"})
    assert answer.status == status
    return json.loads(answer.body)


@pytest.mark.parametrize("path", ["/pki/rest/info", "/pki/v2/info"])
def test_info_is_for_anyone(port, path):
    """The client asks what runs here before it logs in."""
    assert xml(port, path, user=None).findtext("Name") == "vouchd"
    assert in_json(port, path, user=None)["Name"] == "vouchd"


def test_login_tells_the_account_and_its_roles(port):
    """The account is the user of the certificate, its roles are its groups; logging out is no more than a courtesy."""
    account = xml(port, "/ocsp/rest/account/login", "agent")
    assert account.get("id") == "agent"
    assert [one.text for one in account.iter("Role")] == ["Online Certificate Status Manager Agents"]
    assert in_json(port, "/ocsp/v2/account/login", "auditor")["Roles"] == {"Role": ["Auditors"]}
    assert port.ask("GET", "/ocsp/rest/account/logout", "agent").status == 204


def test_login_without_a_certificate_is_forbidden(port):
    """Who brings no certificate is told so in the form that the client reads."""
    error = xml(port, "/ocsp/rest/account/login", user=None, status=403)
    assert error.findtext("ClassName") == "com.netscape.certsrv.base.ForbiddenException"
    assert error.findtext("Code") == "403"


def test_users_are_listed_under_both_names(port):
    """Each user is there as `entries` with its type and as `User`, which clients of different ages look for."""
    users = xml(port, "/ocsp/rest/admin/users?size=3")
    assert users.findtext("total") == "7"
    assert [one.get(XSI) for one in users.iter("entries")] == ["userData"] * 3
    assert [one.findtext("UserID") for one in users.iter("User")] == ["administrator", "agent", "auditor"]
    listed = in_json(port, "/ocsp/v2/admin/users?filter=ENT&start=1")
    assert (listed["total"], [one["id"] for one in listed["entries"]]) == (2, ["enterprise"])


def test_user_is_shown_with_certificates_and_groups(port):
    """What belongs to a user hangs below it, each with a link."""
    user = in_json(port, "/ocsp/rest/admin/users/agent")
    assert (user["State"], user["Type"], user["Link"]["href"][-12:]) == ("1", "agentType", "/users/agent")
    (certificate,) = in_json(port, "/ocsp/rest/admin/users/agent/certs")["entries"]
    serial = port.users["agent"].certificate.serial_number
    assert certificate["SerialNumber"] == hex(serial)
    assert certificate["id"] == f"2;{serial};CN=Staff CA;CN=agent"
    memberships = xml(port, "/ocsp/rest/admin/users/agent/memberships")
    assert [one.get("id") for one in memberships.iter("Membership")] == ["Online Certificate Status Manager Agents"]


@pytest.mark.parametrize("blank", ["+", "%20"])
def test_group_has_its_members(port, blank):
    """A group is found by its name, blanks in either spelling."""
    path = "/ocsp/rest/admin/groups/" + "Trusted Managers".replace(" ", blank)
    assert xml(port, path).findtext("GroupID") == "Trusted Managers"
    assert [one.get("id") for one in xml(port, path + "/members").iter("Member")] == ["publisher"]
    assert "Auditors" in [one.get("id") for one in xml(port, "/ocsp/rest/admin/groups").iter("Group")]


@pytest.mark.parametrize("path", ["admin/users/nobody", "admin/groups/Nobodies", "selftests/Nothing"])
def test_what_is_not_there_is_not_found(port, path):
    """404, with the exception that the client raises."""
    error = xml(port, f"/ocsp/rest/{path}", status=404)
    assert error.findtext("ClassName") == "com.netscape.certsrv.base.ResourceNotFoundException"
    assert in_json(port, f"/ocsp/v2/{path}", status=404)["Code"] == 404


def test_self_tests_tell_when_they_run(port):
    """A test that is not in an order is not enabled there; what does not apply is left out."""
    tests = {one.get("id"): one for one in xml(port, "/ocsp/rest/selftests").iter("SelfTest")}
    assert tests["OCSPPresence"].findtext("EnabledAtStartup") == "true"
    assert tests["OCSPValidity"].findtext("EnabledOnDemand") == "true"
    one = xml(port, "/ocsp/rest/selftests/OCSPPresence")
    assert one.findtext("CriticalAtStartup") == "true"


def test_publisher_may_not_read_the_users(port):
    """The rights are those of the other addresses."""
    assert in_json(port, "/ocsp/rest/admin/users", "publisher", status=403)["Code"] == 403


@pytest.mark.parametrize("query", ["size=x", "start=-1"])
def test_number_that_is_none_is_refused(port, query):
    """What is no number of entries is the client's fault."""
    assert in_json(port, f"/ocsp/rest/admin/users?{query}", status=400)["Code"] == 400
