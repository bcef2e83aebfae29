"""The agent port: who is let in to what, and how everybody else is refused."""

from __future__ import annotations

import http.client
import re
import time
from contextlib import closing
from dataclasses import replace

import pytest
from aiohttp import web
from tests.agent.agent_port import LOCAL, SECONDS, USERS, AgentPort, agent_port, crl, issue
from tests.pki import CA, shared_key

from vouchd.agent.pages.menu import KNOWN_ADDRESSES
from vouchd.agent.routes import Route
from vouchd.api.operation import Access
from vouchd.core.facts import Caller, Group
from vouchd.service.permission import KEY_HOLDERS, RIGHTS, Action
from vouchd.wiring import agent

PUBLIC = {
    *KNOWN_ADDRESSES,  # which lead on to one that is not open
    "/ocsp/admin/ocsp/getStatus",
    "/pki/rest/info",
    "/pki/v2/info",
    "/ocsp/ee/ocsp",
    "/ocsp/ee/ocsp/{request:.*}",
    "/domain/v1/join/check",  # the token that comes in the body is the right
    "/domain/v1/join/keys",  # the token, and a signature by a key of the set, are the right
    "/domain/v1/succession",  # signed by the key before, and asked before it is known who answers
    *(f"/{kind}/v2/securityDomain/domainInfo" for kind in ("ocsp", "ca")),
    *(f"/{kind}/admin/{kind}/getDomainXML" for kind in ("ocsp", "ca")),
}


LIMITS = {"vouchd.agent.headerInSec": "2", "vouchd.agent.maxBodyBytes": "300000"}


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> AgentPort:
    with agent_port(tmp_path_factory.mktemp("agent") / "instance", **LIMITS) as port:
        yield port


def table(port: AgentPort) -> tuple[Route, ...]:
    return tuple(port.routes)


def address(route: Route) -> str:
    """A path of the route: its parameters filled in with something that is not there."""
    return re.sub(
        r"\{(?:[^{}]|\{[\d,]+\})*\}", lambda parameter: "0" * 64 if "{64}" in parameter[0] else "nothing", route.path
    )


def test_routes_each_have_an_action_or_are_known_to_be_open(port):
    """Nothing is open to everybody but what is meant to be."""
    opened = {route.path for route in table(port) if route.access is Access.PUBLIC}
    assert opened >= PUBLIC
    assert all(path in PUBLIC or "static" in path or path == "/" for path in opened), opened


def test_routes_of_certificate_system_have_the_rights_of_its_table(port):
    """The table of the Certificate System, spelled out here once more."""
    staff = {Group.ADMINISTRATORS, Group.AGENTS, Group.AUDITORS}
    rights = {
        "listCAs": staff,
        "addCA": {Group.AGENTS},
        "removeCA": {Group.AGENTS},
        "addCRL": {Group.AGENTS, Group.TRUSTED_MANAGERS},
        "checkCert": staff,
        "getOCSPInfo": staff,
    }
    groups = {
        route.path.rpartition("/")[2]: set(RIGHTS[route.access])
        for route in table(port)
        if route.path.startswith("/ocsp/agent/ocsp/") and isinstance(route.access, Action)
    }
    assert {name: groups[name] for name in rights} == rights


@pytest.fixture(scope="module")
def gates(tmp_path_factory) -> AgentPort:
    """A port with all the gates, and nothing behind them but a word of welcome."""

    async def welcome(_request: web.Request, caller: Caller) -> web.StreamResponse:
        return web.Response(text=f"welcome {caller.name}")

    every = agent.routes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent, "routes", lambda *parts: tuple(replace(one, handler=welcome) for one in every(*parts)))
        with agent_port(tmp_path_factory.mktemp("gates") / "instance") as port:
            yield port


@pytest.mark.parametrize("user", [None, *USERS])
def test_routes_let_in_whom_their_action_names_and_nobody_else(gates, user):
    """Every route of the port, asked by a user of each group and by nobody: let in exactly by the table of rights."""
    groups: set[str] = set(USERS[user]) if user else set()
    if Group.OCSP_ADMINISTRATORS in groups:  # a member by the key of the set alone, which is none of its own
        groups = {KEY_HOLDERS}
    client = http.client.HTTPSConnection("localhost", gates.port, context=gates.context(user), timeout=SECONDS)
    with closing(client):
        for route in gates.routes:
            client.request(route.method, address(route))
            response = client.getresponse()
            welcome = response.read().startswith(b"welcome")
            assert (response.status == 200) is welcome
            assert welcome is may_enter(route, user, groups), (route.method, route.path, response.status)


def may_enter(route: Route, user: str | None, groups: set[str]) -> bool:
    if route.access is Access.PUBLIC:
        return True
    return user is not None and (route.access is Access.IDENTIFIED or bool(groups & RIGHTS[route.access]))


@pytest.mark.parametrize("user", [None, "agent", "member of nothing"])
@pytest.mark.parametrize("path", ["/nothing", "/ocsp/agent/ocsp/addCa", "/../etc/passwd", "/ocsp/agent/ocsp/listCAs/"])
def test_path_that_no_route_names_is_not_found(port, user, path):
    """What is not in the table does not exist, with any certificate."""
    answer = port.ask("GET", path, user)
    assert answer.status == 404
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_user_removed_is_refused_from_the_next_request_on(port):
    """A change of users counts on connections that stand."""
    late = issue(port.ca, "leaver")
    port.services.users.add("leaver", LOCAL, groups=[Group.AGENTS], certificates=[late.der])
    port.publish()
    connection = http.client.HTTPSConnection("localhost", port.port, context=port.context(late), timeout=SECONDS)
    statuses = []
    for _ in range(2):
        connection.request("GET", "/ocsp/agent/ocsp/listCAs?xml=true")
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        if len(statuses) == 1:
            port.services.users.remove("leaver", LOCAL)
    connection.close()
    assert statuses == [200, 403]


def test_user_with_a_certificate_of_its_own_making_is_let_in(port):
    """A registered certificate needs no CA."""
    alone = CA.create("self signed", key=shared_key("EC", 5), ca=False)
    port.services.users.add("alone", LOCAL, groups=[Group.AGENTS], certificates=[alone.der])
    port.publish()
    assert port.ask("GET", "/ocsp/agent/ocsp/listCAs?xml=true", alone).status == 200


def test_user_whose_certificate_is_revoked_is_refused(port):
    """Where the responder serves the CA of a client certificate, its own answer counts."""
    lost = issue(port.ca, "lost")
    port.services.users.add("loser", LOCAL, groups=[Group.AGENTS], certificates=[lost.der])
    port.services.authorities.add(port.ca.der, port.services.caller)
    port.publish()
    path = "/ocsp/agent/ocsp/listCAs?xml=true"
    assert port.ask("GET", path, lost).status == 200
    revoking = crl(port.ca, {lost.certificate.serial_number: None})
    port.services.ingesting.accept_crl(revoking, "test", port.services.caller, int(time.time()))
    port.publish()
    refused = port.ask("GET", path, lost)
    port.services.authorities.remove(port.ca.certificate.subject.rfc4514_string(), port.services.caller)
    port.publish()
    assert (refused.status, "revoked" in refused.text) == (403, True)
    assert ("AUTH", "failure", "loser") in port.records()


def test_user_is_recorded_once_a_connection(port):
    """AUTH and ROLE_ASSUME stand once for a connection, however many requests it carries."""
    before = len(port.records())
    with port.connect("auditor") as connection:
        for _ in range(3):
            connection.sendall(b"GET /ocsp/agent/ocsp/listCAs?xml=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
            reply = b""
            while b"</xml>" not in reply:
                reply += connection.recv(65536)
    assert [event for event, _, _ in port.records()[before:]] == ["AUTH", "ROLE_ASSUME"]


def test_refusal_for_a_missing_right_is_audited(port):
    """Who tries what is not theirs leaves a record."""
    port.ask("POST", "/ocsp/agent/ocsp/addCA", "auditor", body={"cert": "x"})
    assert port.records()[-1] == ("AUTHZ", "failure", "auditor")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://["},
        {"Origin": "https://[::1"},
        {"Origin": "//\u2100.example".encode().decode("latin-1")},
    ],
)
def test_change_sent_by_a_page_of_another_site_is_refused(port, headers):
    """A browser with an agent's certificate cannot be made to change anything from elsewhere."""
    before = port.facts()
    sent = {"cert": CA.create("Planted", key=shared_key("EC", 6)).pem.decode(), "xml": "true"}
    answer = port.ask("POST", "/ocsp/agent/ocsp/addCA", "agent", body=sent, headers=headers)
    assert answer.status == 403
    assert port.facts() == before


MULTIPART = "multipart/form-data"
_PART = b'--b\r\nContent-Disposition: form-data; name="x"\r\n'
ODD_FORMS = [
    (MULTIPART, b"x"),
    (f"{MULTIPART}; boundary=", b"--\r\n\r\n"),
    (f"{MULTIPART}; boundary={'b' * 80}", b"x"),
    (f"{MULTIPART}; boundary=b", b"no boundary at all"),
    (f"{MULTIPART}; boundary=b", b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\ncut"),
    (f"{MULTIPART}; boundary=b", b"--b\r\nContent-Disposition: \xff\r\n\r\nx\r\n--b--\r\n"),
    (f"{MULTIPART}; boundary=b", b"--b\r\nContent-Transfer-Encoding: zip\r\n\r\nx\r\n--b--\r\n"),
    (f"{MULTIPART}; boundary=b", _PART + b"Content-Type: text/plain; charset=none-such\r\n\r\nx\r\n--b--\r\n"),
    (f"{MULTIPART}; boundary=b", _PART + b"Content-Transfer-Encoding: base64\r\n\r\n!\r\n--b--\r\n"),
    ("multipart/mixed; boundary=b", b"--b\r\nContent-Type: multipart/mixed\r\n\r\n--b--\r\n"),
    ("text/plain; charset=none-such", b"x"),
    ("application/x-www-form-urlencoded", b"%ff=%ff&=&&x"),
]  # fmt: skip


# aiohttp warns with the header as it came, which no report can carry from one process of tests to another.
@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader")
@pytest.mark.parametrize(("content_type", "body"), ODD_FORMS, ids=map(str, range(len(ODD_FORMS))))
def test_form_that_is_none_is_the_clients_fault(port, caplog, content_type, body):
    """A form of whatever brokenness is answered as a bad request or a failed one, never as a bug of ours."""
    headers = {"Content-Type": content_type}
    answer = port.ask("POST", "/ocsp/agent/ocsp/addCA?%ff=%ff&xml=true", "agent", body=body, headers=headers)
    assert answer.status in (200, 400)
    assert "Traceback" not in caplog.text


def test_answers_carry_the_security_headers(port):
    """No framing, no sniffing, no cache, no foreign script, and no word on the software underneath."""
    headers = port.ask("GET", "/ocsp/agent/ocsp/listCAs?xml=true", "agent").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Server"] == "vouchd"


def test_browser_is_not_told_to_use_tls_for_the_whole_host(port):
    """OCSP is plain HTTP on the same host: a browser held to TLS there could ask for no status any more (RFC 6797)."""
    assert "Strict-Transport-Security" not in port.ask("GET", "/ocsp/agent/ocsp/listCAs?xml=true", "agent").headers


def test_handler_that_fails_shows_no_traceback(port, monkeypatch):
    """A bug is told as an internal error; its traceback goes to the log only."""

    def broken(_caller):
        raise RuntimeError("a secret of the implementation")

    monkeypatch.setattr(port.services.authorities, "summaries", broken)
    answer = port.ask("GET", "/ocsp/agent/ocsp/listCAs?xml=true", "agent")
    assert answer.status == 500
    assert "internal error, see the log" in answer.text
    assert "secret" not in answer.text


def test_connection_without_a_request_is_ended(port):
    """Who connects and says nothing does not hold a place for long."""
    with port.connect() as connection:
        connection.sendall(b"GET /ocsp/admin")
        assert connection.recv(100) == b""


@pytest.mark.parametrize(
    "head", [b"\x16\x03\x01garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n"]
)
def test_request_that_is_no_http_is_refused(port, head):
    """Garbage gets a 400 and the port goes on."""
    answer = port.send("agent", head)
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert b"aiohttp" not in answer
    assert port.ask("GET", "/ocsp/admin/ocsp/getStatus").status == 200


def test_body_of_a_stranger_has_to_come_in_time(port):
    """Who was not let in cannot hold a place by sending a body drop by drop."""
    answer = port.send(None, b"POST /ocsp/ee/ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n0")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_body_of_chunks_beyond_the_limit_is_refused(port):
    """A body whose length is not announced is counted as it comes."""
    with port.connect("agent") as connection:
        connection.sendall(
            b"POST /ocsp/agent/ocsp/addCA HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        piece = b"x" * (1 << 20)
        for _ in range(2):
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_parts_of_the_port_name_each_path_once(port):
    """Two routes for one method and path would hide one of them."""
    routes = [(route.method, route.path) for route in table(port)]
    assert len(routes) == len(set(routes))


def test_body_that_is_taken_in_as_it_comes_is_refused_beyond_the_limit(port):
    """A form of no announced length is read up to the limit of its route and no further."""
    start = b"POST /ocsp/agent/ocsp/addCRL HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"2710\r\n" + b"a" * 10_000 + b"\r\n"
    assert port.send("publisher", start, chunk * 30 + b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert port.send("publisher", start, chunk * 31 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
