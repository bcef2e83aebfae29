"""The operations of the REST API against a port over a real instance folder."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import crl, issue
from tests.agent.domain_site import a_clone
from tests.api.conftest import opened
from tests.directory.tls_port import tls_port
from tests.pki import CA, shared_key

from vouchd.api.openapi import PROBLEM, document
from vouchd.api.operation import JSON, Access
from vouchd.api.table import OPERATIONS
from vouchd.cloning.verdicts import Difference, Verification, VerifiedMember, write_verification
from vouchd.core.facts import Group, Member
from vouchd.directory.nss import TLSIdentity
from vouchd.errors import RestartRefused
from vouchd.migration.importing import take_audit_log
from vouchd.pkix import certs
from vouchd.pkix.certs import check_signer
from vouchd.service.permission import RIGHTS

ROLES = {
    "administrator": Group.ADMINISTRATORS,
    "agent": Group.AGENTS,
    "auditor": Group.AUDITORS,
    "publisher": Group.TRUSTED_MANAGERS,
    "domain": Group.DOMAIN_ADMINISTRATORS,
    "enterprise": None,  # the shared key alone, which makes no member of anybody
    "member of nothing": None,
}


def authority(api) -> str:
    return api.get("/authorities")[0]["id"]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """An instance whose operations are asked for in vain: what they are to work on is not there."""
    with opened(tmp_path_factory.mktemp("api") / "vouchd") as api, api.port.keeping_connections():
        yield api


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_operation_lets_in_exactly_the_groups_of_its_action(refusing, row):
    """Each role against each operation: 403 for everyone whom no group grants it, and for nobody else."""
    path = re.sub(r"\{\w+\}", "nothing", row.path)
    for user, group in ROLES.items():
        status, answer = refusing.ask(row.method, path, user=user)
        refused = status == 403 and answer["error"] == "PermissionDenied"
        granted = isinstance(row.access, Access) or group in RIGHTS[row.access]
        assert refused is not granted, (user, status, answer)
    assert refusing.ask(row.method, path, user=None)[0] == 403


def test_members_and_their_comparison_are_told(api):
    """Who is in the set and how the newest comparison went; one that stands alone has nobody to be compared with."""
    services = api.port.services
    me = Member("o1.example.org", 8443, 8080, "OCSP", clone=False, joined_at=0, term=1, tls_sha256="ab" * 32)
    services.store.put_member(me, None)
    answer = api.get("/members")
    assert [(one["id"], one["role"], one["seen"]) for one in answer["members"]] == [(me.id, "master", None)]
    assert api.ask("GET", "/verification")[0] == 404
    one = Difference("bytes", "issued 0x1 of Site", "GET", "signature", "00", "01")
    write_verification(
        services.layout.verification, Verification(7, (VerifiedMember("o2:1", differences=1, examples=(one,)),))
    )
    comparison = api.get("/verification")
    assert (comparison["at"], comparison["identical"]) == ("1970-01-01T00:00:07Z", False)
    assert comparison["members"][0]["told"] == [
        {
            "level": "bytes",
            "what": "issued 0x1 of Site",
            "way": "GET",
            "field": "signature",
            "here": "00",
            "there": "01",
        }
    ]
    for wrong in ({"sample": 101}, {"serials": ["zz"]}, {"settle_seconds": 61}):
        assert api.ask("POST", "/verification", wrong)[0] == 400


def test_authority_can_be_added_shown_and_removed(api):
    """What is added is listed, shown by its label, and gone after its removal."""
    other = CA.create("Other CA", key=shared_key("EC", 22))
    status, added = api.ask("POST", "/authorities", {"certificate": other.pem.decode(), "label": "Other"})
    assert (status, added["label"], added["issuing_points"]) == (201, "Other", [])
    assert added.pop("changes") == ["the CA was added"]
    assert api.get("/authorities/Other") == added
    assert x509.load_pem_x509_certificate(added["certificate"].encode()) == other.certificate
    assert api.ask("DELETE", f"/authorities/{added['id']}") == (204, b"")
    status, missing = api.ask("GET", "/authorities/Other")
    assert (status, missing["error"]) == (404, "NotFound")


def test_authority_out_of_a_bundle_is_refused_by_the_names_in_it(api):
    """One call adds one CA: a bundle of several is refused in words, and nothing is added; what is no CA is left out."""
    other, third = CA.create("Other CA", key=shared_key("EC", 22)), CA.create("Third CA", key=shared_key("EC", 23))
    before = api.port.facts()
    status, refusal = api.ask("POST", "/authorities", {"certificate": (other.pem + third.pem).decode()})
    assert (status, refusal["hint"]) == (400, "send each by itself")
    assert "2 CAs where one is expected: CN=Other CA; CN=Third CA" in refusal["title"]
    assert api.port.facts() == before
    leaf = other.issue("www")
    status, added = api.ask("POST", "/authorities", {"certificate": (leaf.pem + other.pem).decode()})
    assert (status, added["subject"]) == (201, "CN=Other CA")
    assert "'CN=www' is no CA and was left out" in added["doubts"]


def test_policy_change_leaves_the_rest_of_the_policy(api):
    """PATCH changes what it names, null takes the CA's own value away."""
    path = f"/authorities/{authority(api)}/policy"
    api.ask("PATCH", path, {"not_found_as_good": False, "quarantine_percent": 10})
    status, answer = api.ask("PATCH", path, {"expired_crl": "unknown", "quarantine_percent": None})
    policy = answer["policy"]
    assert status == 200
    assert (policy["not_found_as_good"], policy["expired_crl"], policy["quarantine_percent"]) == (
        False,
        "unknown",
        None,
    )
    assert api.ask("PATCH", path, {"signer": "nobody"})[0] == 400


def test_issued_serials_decide_what_is_good(api):
    """With the list of issued serials no other serial is good; without it again it is."""
    one = authority(api)
    status, answer = api.ask("PUT", f"/authorities/{one}/issued-serials", b"12\n13\n", **{"Content-Type": "text/plain"})
    assert status == 200
    assert answer["policy"]["issued_serials"]
    assert api.get(f"/authorities/{one}/certificates/0xd")["answer"] == "good"
    assert api.get(f"/authorities/{one}/certificates/0xe")["answer"] == "unknown"
    assert api.ask("DELETE", f"/authorities/{one}/issued-serials")[0] == 204
    assert api.get(f"/authorities/{one}/certificates/0xe")["answer"] == "good"


def test_issued_serials_without_a_certificate_of_another_member_are_refused(api, tmp_path):
    """The TLS servers of the other members are ours, too: which is missing is named, and who cannot be asked."""
    tls = issue(api.site, "member", ExtendedKeyUsageOID.SERVER_AUTH)
    key = tls.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path, text = f"/authorities/{authority(api)}/issued-serials", {"Content-Type": "text/plain"}
    with tls_port(tmp_path, TLSIdentity(tls.pem, key, b""), "localhost") as port:
        member = a_clone(2, host="localhost", secure_port=port, tls_sha256=hashlib.sha256(tls.der).hexdigest())
        api.port.services.store.put_member(member, None)
        status, refused = api.ask("PUT", path, b"12\n", **text)
        assert (status, refused["error"]) == (409, "UnlistedCertificates")
        assert f"TLS server of {member.id}" in refused["title"]
        listed = f"12\n{tls.certificate.serial_number}\n".encode()
        status, taken = api.ask("PUT", path, listed, **text)
        assert (status, taken["doubts"]) == (200, [])
    status, taken = api.ask("PUT", path, listed, **text)
    assert status == 200
    assert [member.id in doubt for doubt in taken["doubts"]] == [True]


def test_crl_is_taken_served_and_given_back(api):
    """An upload becomes the CRL in use, which can be downloaded byte for byte; sent again it is refused."""
    newer = crl(api.site, {12: None, 13: None}, age=60)
    status, done = api.ask("POST", "/crls", newer)
    assert (status, done["served"], done["issuing_points"][0]["crl_number"]) == (201, True, 2)
    assert api.get(f"/authorities/{authority(api)}/issuing-points/complete/crl") == newer
    assert api.get("/authorities/Site/certificates/d")["answer"] == "revoked"
    status, refused = api.ask("POST", "/crls", newer)
    assert (status, refused["error"]) == (422, "CRLStale")


def test_crl_in_any_form_is_taken_and_what_is_none_refused(api):
    """An upload is DER, PEM or base64; of what is neither it is said what is wrong, and of one too large that it is."""
    for age, form in ((60, lambda der: pem_block("X509 CRL", der)), (50, base64.encodebytes)):
        assert api.ask("POST", "/crls", form(crl(api.site, {12: None}, age=age)))[0] == 201
    status, refused = api.ask("POST", "/crls", b"neither")
    assert (status, refused["title"]) == (422, "not a CRL: base64 that is damaged")
    status, refused = api.ask("POST", "/crls/preview", pem_block("CERTIFICATE", b"x"))
    assert status == 422
    assert refused["title"].startswith("not a CRL: 0 PEM blocks labelled X509 CRL")
    assert api.ask("POST", "/crls", b"0" * 5000, **{"Content-Type": "text/plain"})[0] == 415


def pem_block(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n".encode()


def test_crl_that_no_worker_answers_from_yet_is_pending(api):
    """202 and `served: false` until the workers answer from it, and where nobody waits; 201 is for what is answered."""
    api.port.running.workers_load = False
    status, done = api.ask("POST", "/crls", crl(api.site, {12: None, 13: None}, age=60))
    assert (status, done["served"], done["issuing_points"][0]["crl_number"]) == (202, False, 2)
    api.port.running.workers_load = True
    status, done = api.ask("POST", "/crls?wait=0", crl(api.site, {12: None, 14: None}, age=50))
    assert (status, done["served"]) == (202, False)
    assert api.ask("POST", "/crls", crl(api.site, {12: None, 15: None}, age=40))[0] == 201


def test_document_tells_what_a_pending_crl_is_answered_with():
    """A 202 is either the answer itself or the problem of what waits, held back or for a second agent."""
    paths = document(OPERATIONS)["paths"]
    assert set(paths["/api/v1/crls"]["post"]["responses"]["202"]["content"]) == {JSON, PROBLEM}
    release = paths["/api/v1/quarantine/{authority}/{scope}/release"]["post"]["responses"]
    assert (set(release["200"]["content"]), set(release["202"]["content"])) == ({JSON}, {JSON, PROBLEM})


def test_crl_preview_changes_nothing(api):
    """The preview counts what would change and leaves the store as it is."""
    before = api.port.facts()
    preview = api.ask("POST", "/crls/preview", crl(api.site, {13: None, 14: None}, age=60))[1]
    assert [(one["lost"], one["gained"], one["after"]) for one in preview["changes"]] == [(1, 2, 2)]
    assert api.port.facts() == before


def test_crl_held_back_is_released_or_dropped(api):
    """A CRL that changes too much answers 202, waits, and is taken by a release; a dropped one is forgotten."""
    one = authority(api)
    api.ask("PATCH", f"/authorities/{one}/policy", {"quarantine_percent": 10})
    crl_der = crl(api.site, {13: None, 14: None}, age=60)
    assert api.ask("POST", "/crls", crl_der)[0] == 202
    assert [entry["authority"] for entry in api.get("/quarantine")] == [one]
    assert api.get(f"/quarantine/{one}/complete/crl") == crl_der
    status, done = api.ask("POST", f"/quarantine/{one}/complete/release")
    assert (status, done["issuing_points"][0]["crl_number"]) == (200, 2)
    assert api.ask("POST", "/crls", crl(api.site, {15: None}, age=30))[0] == 202
    assert api.ask("DELETE", f"/quarantine/{one}/complete") == (204, b"")
    assert api.get("/quarantine") == []


def test_crl_preview_names_serials_and_what_is_in_use(api):
    """Which certificates come and go, and the CRL in whose place it would be served, are in the preview."""
    preview = api.ask("POST", "/crls/preview", crl(api.site, {13: None, 14: None}, age=60))[1]
    (change,) = preview["changes"]
    assert (change["some_lost"], change["some_gained"]) == (["0xc"], ["0xd", "0xe"])
    assert (change["current"]["crl_number"], preview["crl_number"], preview["lost"]) == (1, 2, 1)
    assert preview["why_held"] == ""


def test_crl_preview_is_also_of_one_with_a_lower_number(api):
    """What would be refused as the next CRL is looked at as one that an administrator takes, and not taken."""
    before = api.port.facts()
    lower = crl(api.site, {12: None}, number=0, age=60)
    as_next, as_lower = (api.ask("POST", f"/crls/preview?lower_number={word}", lower)[1] for word in ("false", "true"))
    assert (as_next["acceptable"], as_lower["acceptable"]) == (False, True)
    assert api.port.facts() == before


def test_preview_of_a_crl_held_back_says_why_it_is(api):
    """Whoever is to decide reads in one answer why it waits and what it changes."""
    one = authority(api)
    api.ask("PATCH", f"/authorities/{one}/policy", {"quarantine_percent": 10})
    assert api.ask("POST", "/crls", crl(api.site, {13: None, 14: None}, age=60))[0] == 202
    (waiting,) = api.get("/quarantine")
    preview = api.get(f"/quarantine/{one}/complete/preview")
    assert (preview["why_held"], preview["lost"]) == (waiting["why"], 1)
    assert api.ask("DELETE", f"/quarantine/{one}/complete") == (204, b"")
    assert api.ask("GET", f"/quarantine/{one}/complete/preview")[0] == 404


def test_certificate_status_is_explained(api):
    """The answer comes with its reason, the CRL it rests on and the policy."""
    certificate = api.site.issue("revoked", serial=12).pem.decode()
    status, explanation = api.ask("POST", "/certificate-status", {"certificate": certificate})
    assert (status, explanation["answer"], explanation["reason"]) == (200, "revoked", "keyCompromise")
    assert [point["relied_upon"] for point in explanation["issuing_points"]] == [True]
    foreign = CA.create("Nobody").issue("x").pem.decode()
    assert api.ask("POST", "/certificate-status", {"certificate": foreign})[0] == 404


def test_user_is_made_changed_and_removed(api):
    """Users, their groups and certificates; the last administrator stays."""
    certificate = issue(api.port.ca, "alice").pem.decode()
    status, alice = api.ask("POST", "/users", {"id": "alice", "groups": ["Auditors"], "certificates": [certificate]})
    assert (status, alice["groups"], len(alice["certificates"])) == (201, ["Auditors"], 1)
    sha256 = alice["certificates"][0]["sha256"]
    assert api.ask("DELETE", f"/users/alice/certificates/{sha256}")[0] == 204
    assert api.ask("PATCH", "/users/alice", {"enabled": False, "groups": []})[1]["enabled"] is False
    assert api.ask("DELETE", "/users/alice")[0] == 204
    assert api.ask("DELETE", "/users/administrator")[0] == 204
    status, refused = api.ask("DELETE", "/users/everybody")
    assert (status, refused["error"]) == (409, "LastAdministrator")


def test_account_tells_who_one_is(api):
    """Any user sees its own groups and rights."""
    account = api.get("/account", user="publisher")
    assert (account["user"], account["groups"], account["rights"]) == ("publisher", ["Trusted Managers"], ["add CRL"])


def test_former_audit_log_is_searched_page_by_page(api, tmp_path):
    """What another program wrote is told as its own, and each look at it leaves a record in ours."""
    lines = [
        f"0.main - [29/Nov/2026:01:53:{second} UTC] [14] [6] [AuditEvent=AUTH][SubjectID=x][Outcome=Success][n={second}] w"
        for second in range(10, 13)
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    take_audit_log(api.port.services, [tmp_path / "log"])
    first = api.get("/former-audit?caller=X&limit=2")
    last = api.get(f"/former-audit?caller=X&limit=2&skip={first['next_skip']}")
    assert [one["detail"]["n"] for page in (first, last) for one in page["records"]] == ["12", "11", "10"]
    assert last["next_skip"] is None
    assert api.get("/audit?event=AUTHZ&text=former")["records"]


def test_audit_is_searched_page_by_page(api):
    """A page ends where the next one begins, and the search itself leaves a record."""
    first = api.get("/audit?event=CONFIG_ROLE&limit=2")
    second = api.get(f"/audit?event=CONFIG_ROLE&limit=2&before={first['next_before']}")
    numbers = [one["seq"] for page in (first, second) for one in page["records"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 4
    assert api.get(f"/audit/{numbers[0]}")["event"] == "CONFIG_ROLE"
    assert api.get("/audit?event=AUTHZ&text=search")["records"]


def test_system_certificates_are_listed_and_requested(api):
    """A request is made for a new key and listed until its certificate comes; a wrong certificate is refused."""
    names = [one["name"] for one in api.get("/certificates")]
    assert names[1:] == ["sslserver", "subsystem", "audit_signing", "admin"]
    status, made = api.ask("POST", "/certificates/subsystem/requests", {"subject": "CN=Subsystem"})
    assert (status, x509.load_pem_x509_csr(made["pem"].encode()).subject.rfc4514_string()) == (201, "CN=Subsystem")
    assert api.get("/certificates/subsystem")["requests"] == [made]
    wrong = {"certificate": api.port.ca.pem.decode()}
    status, refused = api.ask("POST", "/certificates/subsystem/install", wrong)
    assert (status, refused["error"]) == (400, "BadInput")


def test_configuration_is_tried_then_changed(api):
    """A dry run shows the difference and writes nothing; the change is written at the revision that was read."""
    api.ask("DELETE", "/authorities/Site")  # its CA has certified no signer
    before = api.port.services.layout.cs_cfg.read_text()
    revision = api.get("/configuration")["revision"]
    change = {"changes": {"vouchd.request.maxCertIDs": "7"}, "revision": revision}
    tried = api.ask("PATCH", "/configuration", {**change, "dry_run": True})[1]
    assert "+vouchd.request.maxCertIDs=7" in tried["diff"]
    assert (tried["applied"], api.port.services.layout.cs_cfg.read_text()) == (False, before)
    status, done = api.ask("PATCH", "/configuration", change)
    assert (status, done["applied"], done["diff"]) == (200, True, tried["diff"])
    assert api.ask("PATCH", "/configuration", change)[0] == 409
    values = {one["key"]: one["value"] for one in api.get("/configuration")["settings"]}
    assert values["vouchd.request.maxCertIDs"] == "7"


def test_configuration_that_would_not_start_is_refused(api):
    """An unknown key, a value of the wrong kind and a missing signer all leave CS.cfg as it is."""
    api.ask("DELETE", "/authorities/Site")  # its CA has certified no signer
    before = api.port.services.layout.cs_cfg.read_text()
    for changes in ({"vouchd.ee.prt": "1"}, {"vouchd.ee.port": "x"}, {"ocsp.signing.certnickname": "nobody"}):
        status, refused = api.ask("PATCH", "/configuration", {"changes": changes})
        assert (status, refused["error"]) == (400, "ConfigError")
    assert api.port.services.layout.cs_cfg.read_text() == before


def test_statistics_and_instance_are_told(api):
    """Figures are those of the workers; the instance tells what it serves."""
    api.port.running.counters = {"counters": {"answers": {"successful": 3}, "cache_hits": 2}, "gauges": {}}
    statistics = api.get("/statistics")
    assert (statistics["answers"], statistics["cache_hits"]) == ({"successful": 3}, 2)
    assert api.get("/instance")["ocsp_port"] == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not JSON"),
        (b'{"id":"a","id":"b"}', "twice"),
        (b'{"id":NaN}', "not JSON"),
        (b'{"id":"\\ud800"}', "not JSON"),
        (b'{"id":"a","x":1}', "unknown field `x`"),
        (b'{"id":"a b"}', "the body.id: expected `str` matching"),
        (b'{"id":"a","groups":["Auditors","Nobody"]}', "the body.groups[1]: invalid enum value"),
        (b"[" * 100_000, "nested"),
        (b"{}", "missing required field `id`"),
    ],
)
def test_body_that_is_not_as_described_is_refused(api, body, why):
    """The document's own schema decides, before the service is asked."""
    status, refusal = api.ask("POST", "/users", body, **{"Content-Type": "application/json"})
    assert (status, refusal["error"]) == (400, "BadInput")
    assert why in refusal["title"]


def test_request_of_another_media_type_is_refused(api):
    """A form that a page of another site could send is no JSON."""
    assert api.ask("POST", "/users", b"{}", **{"Content-Type": "text/plain"})[0] == 415
    assert api.ask("GET", "/users?colour=red")[0] == 400


def test_ca_that_no_signer_may_answer_for_is_refused(api, monkeypatch):
    """With such a CA, added or by a change of policy, the instance would not start again: nothing changes."""
    one = authority(api)
    monkeypatch.setattr(certs, "check_signer", check_signer)
    before = api.ask("GET", "/authorities")[1]
    other = CA.create("No signer's", key=shared_key("EC", 13))
    status, refused = api.ask("POST", "/authorities", {"certificate": other.pem.decode()})
    assert (status, "no signer" in str(refused)) == (400, True)
    assert api.ask("PATCH", f"/authorities/{one}/policy", {"invalidity_date": True})[0] == 400
    assert api.ask("GET", "/authorities")[1] == before


def test_restart_is_asked_for_by_administrators_only(api):
    """`POST /restart` answers before it happens; who may not change settings may not have them taken on either."""
    status, answer = api.ask("POST", "/restart", {})
    assert (status, answer["restarting"], api.port.running.restarts_asked_for) == (202, True, 1)
    assert api.ask("POST", "/restart", {}, user="agent")[0] == 403
    assert api.port.running.restarts_asked_for == 1


def test_restart_that_would_fail_is_refused_with_the_reason(api, monkeypatch):
    """What is there now would not start: the caller hears why, and the instance goes on."""

    async def refused() -> None:
        raise RestartRefused("not restarted: self test KeyFileModes failed")

    monkeypatch.setattr(api.port.running, "restart", refused)
    status, refusal = api.ask("POST", "/restart", {})
    assert (status, refusal["error"]) == (409, "RestartRefused")
    assert "KeyFileModes" in refusal["title"]


def test_user_is_changed_all_at_once_or_not_at_all(api):
    """Groups and `enabled` of one PATCH are one write: what would leave no Administrator changes neither."""
    api.ask("POST", "/users", {"id": "dora", "groups": ["Auditors"]})
    store = api.port.services.store
    before = store.revision()
    changed = api.ask("PATCH", "/users/dora", {"groups": ["Trusted Managers"], "enabled": False})[1]
    assert (changed["groups"], changed["enabled"]) == (["Trusted Managers"], False)
    assert store.revision() == before + 1
