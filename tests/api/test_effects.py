"""No success without its effect: what is done a second time is said to have changed nothing, or refused."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import LOCAL, crl, issue
from tests.cli.test_certs import _Public
from tests.pki import CA, DAY, HOUR, shared_key

from vouchd.api.table import OPERATIONS
from vouchd.core.facts import Caller, Group
from vouchd.errors import CRLQuarantined
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.service.permission import Action

CHANGING = [row for row in OPERATIONS if row.method != "GET"]
SINCE = {"since": "2026-01-02T03:04:05Z"}
SOURCE = {"name": "root", "url": "root.crl"}
OTHER = CA.create("Other CA", key=shared_key("EC", 22))
# What only asks, or makes another one each time: that it is done again is its effect.
AGAIN = {
    "alerts.test",
    "certificate_status.check",
    "certificates.request",
    "cloning.issue_token",
    "configuration.validate",
    "crls.preview",
    "cloning.prepare",
    "instance.restart",
    "keys.backup",
    "members.verify",
    "selftests.run",
    "sources.fetch",
    "signers.request",
    "tokens.test",
}
# Where the operation says what it has changed, when that is not in `changes`.
SAID_IN = {
    "crls.add_all": "issuing_points",
    "certificates.install": "switched",
    "configuration.change": "diff",
    "sources.change": "diff",
}
# Over a set in tests/api/test_cloning.py, over directory servers in tests/cli/test_directory.py and test_directory_adopt.py.
# Where a store has an older CRL than is served: tests/service/test_stepping_back.py.
ELSEWHERE = {
    "older_crls.step_back",
    "forced_promotion.claim",
    *("cloning.promote", "cloning.remove", "cloning.destroy", "cloning.renew"),
    *("directory_server.use", "directory_server.adopt"),
}


def site_path(api, rest: str = "") -> str:
    authorities = api.port.services.store.authorities()
    return f"/authorities/{next(one.id for one in authorities if one.label == 'Site')}{rest}"


def retirement(api) -> str:
    return site_path(api, f"/issuing-points/{COMPLETE_SCOPE}/retirement")


def held_back(api, rest: str = "") -> str:
    """A CRL without the only entry of the one in use is held back."""
    services = api.port.services
    (authority,) = services.store.authorities()
    strict = replace(authority.policy, quarantine_percent=1.0)
    services.authorities.set_policy(authority.id, strict, services.caller)
    with suppress(CRLQuarantined):
        services.ingesting.accept_crl(crl(api.site, age=60), "test", services.caller, services.clock.now())
    assert services.store.quarantined()
    return f"/quarantine/{authority.id}/{COMPLETE_SCOPE}{rest}"


def renewal(api) -> str:
    """A certificate in the history of the CA."""
    renewed = CA.create("Site CA", key=shared_key("EC", 24))
    api.port.services.authorities.add(renewed.der, api.port.services.caller)
    return site_path(api, f"/history/{sha256(renewed.certificate)}")


def sha256(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def issued(api) -> str:
    path = site_path(api, "/issued-serials")
    assert api.ask("PUT", path, b"12\n", **{"Content-Type": "text/plain"})[0] == 200
    return path


def compromised(api) -> str:
    path = site_path(api, "/compromise")
    assert api.ask("PUT", path, SINCE)[0] == 200
    return path


def retired(api) -> str:
    assert api.ask("POST", retirement(api))[0] == 204
    return retirement(api)


def without_site(api, path: str) -> str:
    """With a CA that has certified no signer CS.cfg would not be taken."""
    assert api.ask("DELETE", "/authorities/Site")[0] == 204
    return path


def sourced(api) -> str:
    """The path of a source that there is."""
    without_site(api, "")
    assert api.ask("POST", "/sources", SOURCE)[0] == 201
    return "/sources/root"


def server(api) -> dict[str, str]:
    leaf = (api.port.services.layout.alias / "sslserver.pem").read_text()
    return {"certificate": leaf, "chain": api.port.ca.pem.decode()}


def signer(api, rest: str, *, certified: bool = True) -> str:
    """A signer with a second key, which has its certificate; its CA alone is answered for."""
    if rest != "/retire":
        without_site(api, "")
    status, made = api.ask("POST", "/signers/ocspSigningCert/requests", {})
    assert status == 201, made
    if certified:
        status, done = api.ask("POST", "/signers/ocspSigningCert/install", {**certificate(api, made), "switch": False})
        assert status == 200, done
    return f"/signers/ocspSigningCert{rest}"


def certificate(api, shown) -> dict[str, str]:
    """The certificate of a signer's newest key."""
    key = x509.load_pem_x509_csr(shown["versions"][-1]["request"].encode()).public_key()
    now = api.port.services.clock.now()
    purpose = ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False), (x509.OCSPNoCheck(), False))
    issued = api.port.ca.issue(
        "second", key=_Public(key), extensions=purpose, not_before=now - HOUR, not_after=now + DAY
    )
    return {"certificate": issued.pem.decode(), "chain": api.port.ca.pem.decode()}


def put_down(api) -> str:
    """The id of what another agent has asked for."""
    services = api.port.services
    services.users.add("grace", LOCAL, groups=[Group.AGENTS])
    (authority,) = services.store.authorities()
    wanted = {"path": {"authority": authority.id}, "query": {}, "body": SINCE}
    caller = Caller("grace", frozenset({Group.AGENTS}), "192.0.2.1")
    return services.four_eyes.request("authorities.compromised", wanted, Action.DECLARE_COMPROMISED, caller).id


def uncertified(api):
    path = signer(api, "/install", certified=False)
    return path, certificate(api, api.get("/signers/ocspSigningCert"))


# The path, and the body.
CASES = {
    "authorities.add": lambda _: ("/authorities", {"certificate": OTHER.pem.decode(), "label": "Other"}),
    "authorities.add_all": lambda _: (
        "/authorities/batch",
        {"authorities": [{"certificate": OTHER.pem.decode(), "label": "Other"}]},
    ),
    "crls.add_all": lambda api: (
        "/crls/batch",
        {"crls": [base64.b64encode(crl(api.site, {12: None}, age=60)).decode()]},
    ),
    "authorities.remove": lambda api: (site_path(api), None),
    "authorities.remove_certificate": lambda api: (renewal(api), None),
    "authorities.set_policy": lambda api: (site_path(api, "/policy"), {"expired_crl": "unknown"}),
    "authorities.set_issued_serials": lambda api: (site_path(api, "/issued-serials"), b"12\n"),
    "authorities.drop_issued_serials": lambda api: (issued(api), None),
    "authorities.compromised": lambda api: (site_path(api, "/compromise"), SINCE),
    "authorities.not_compromised": lambda api: (compromised(api), None),
    "crls.add": lambda api: ("/crls", crl(api.site, {12: None}, age=60)),
    "crls.add_lower": lambda api: ("/crls/lower-number?reason=slip", crl(api.site, {12: None}, age=60, number=0)),
    "crls.release": lambda api: (held_back(api, "/release"), None),
    "crls.drop": lambda api: (held_back(api), None),
    "retirement.retire": lambda api: (retirement(api), None),
    "retirement.restore": lambda api: (retired(api), None),
    "cloning.void_token": lambda api: (
        f"/join-tokens/{api.port.services.domain.issue_token(LOCAL)[1].digest[:16]}",
        None,
    ),
    "approvals.approve": lambda api: (f"/approvals/{put_down(api)}/approve", None),
    "approvals.deny": lambda api: (f"/approvals/{put_down(api)}/deny", None),
    "users.add": lambda _: ("/users", {"id": "grace", "groups": ["Auditors"]}),
    "users.change": lambda _: ("/users/agent", {"enabled": False}),
    "users.remove": lambda _: ("/users/agent", None),
    "users.add_certificate": lambda api: (
        "/users/agent/certificates",
        {"certificate": issue(api.port.ca, "more").pem.decode()},
    ),
    "users.remove_certificate": lambda api: (
        f"/users/agent/certificates/{sha256(api.port.users['agent'].certificate)}",
        None,
    ),
    "certificates.install": lambda api: ("/certificates/sslserver/install", server(api)),
    "signers.add": lambda _: ("/signers", {"nickname": "tier2"}),
    "signers.install": uncertified,
    "signers.switch": lambda api: (signer(api, "/switch"), {"number": 2}),
    "signers.retire": lambda api: (signer(api, "/retire", certified=False), {"number": 2}),
    "sources.add": lambda api: (without_site(api, "/sources"), SOURCE),
    "sources.change": lambda api: (sourced(api), {"paused": True}),
    "sources.remove": lambda api: (sourced(api), None),
    "configuration.change": lambda api: (
        without_site(api, "/configuration"),
        {"changes": {"vouchd.request.maxCertIDs": "7"}},
    ),
}


def changes(name: str, answer) -> list[object]:
    """What an operation says it has changed; of several facts at once, of those that it did not refuse."""
    several = answer["crls"] if name == "crls.add_all" else answer if isinstance(answer, list) else [answer]
    said = [one.get(SAID_IN.get(name, "changes")) for one in several if not one.get("problem")]
    return [one for one in said if one]


@pytest.mark.parametrize("row", CHANGING, ids=lambda row: row.name)
def test_operation_done_twice_says_that_it_changed_nothing(api, row):
    """Each operation that changes something is carried out, and then refused or said to have changed nothing."""
    if row.name in AGAIN | ELSEWHERE:
        return
    assert row.name in CASES, f"how is {row.name} repeated?"
    path, body = CASES[row.name](api)
    headers = {"Content-Type": row.upload[0]} if row.upload else {}
    status, first = api.ask(row.method, path, body, **headers)
    assert status < 300, first
    before = api.port.facts()
    status, second = api.ask(row.method, path, body, **headers)
    assert status >= 400 or not changes(row.name, second), second
    assert api.port.facts() == before
    if row.may_be_there:
        assert (status, second["changes"]) == (200, [])
        assert first["changes"]


def test_authority_added_otherwise_says_what_it_changed(api):
    """A CA that is there: another label, and another certificate, are made, and named."""
    body = {"certificate": OTHER.pem.decode(), "label": "Other"}
    assert api.ask("POST", "/authorities", body)[1]["changes"] == ["the CA was added"]
    status, renamed = api.ask("POST", "/authorities", body | {"label": "Another"})
    assert (status, renamed["changes"]) == (201, ["its label is Another, and was Other"])
    renewed = CA.create("Other CA", key=shared_key("EC", 25))
    status, more = api.ask("POST", "/authorities", {"certificate": renewed.pem.decode()})
    (change,) = more["changes"]
    assert (status, change) == (201, f"the certificate {sha256(renewed.certificate)[:16]}… was added to its history")


@pytest.mark.parametrize(
    ("change", "word"),
    [({"groups": [Group.AGENTS]}, "groups"), ({"full_name": "Grace"}, "full name")],
)
def test_user_added_otherwise_is_refused_by_what_differs(api, change, word):
    """Adding changes no user: what differs is named, with the verb that changes it."""
    body = {"id": "grace", "groups": ["Auditors"]}
    api.ask("POST", "/users", body)
    before = api.port.facts()
    status, refusal = api.ask("POST", "/users", body | change)
    assert (status, refusal["error"]) == (409, "AlreadyExists")
    assert f"with other {word}" in refusal["title"]
    assert "vouchd user groups" in refusal["hint"]
    assert api.port.facts() == before
