"""The Certificate System's endpoints: what its publishers and scripts send, and what they get."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import ocsp
from tests.agent.agent_port import LOCAL, AgentPort, agent_port, crl
from tests.pki import CA, shared_key
from tests.serving import request_for

from vouchd.audit.search import AuditQuery
from vouchd.clock import SystemClock
from vouchd.pkix import certs
from vouchd.pkix.certs import authority_id, check_signer

AGENT = "/ocsp/agent/ocsp"
DONE = '<?xml version="1.0" encoding="UTF-8" standalone="no"?><xml><header/><fixed/><records/></xml>'


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> AgentPort:
    with agent_port(tmp_path_factory.mktemp("agent") / "instance") as port:
        yield port


@pytest.fixture(scope="module")
def ca(port) -> CA:
    """A CA that is answered for, with a CRL that lists serial 12."""
    ca = CA.create("CA Signing Certificate", key=shared_key("EC", 7))
    assert post(port, "addCA", cert=ca.pem.decode()).text == DONE
    assert post(port, "addCRL", crl=found_pem(crl(ca, {12: None})), noui="true").text == "status=0\n"
    return ca


def found_pem(der: bytes, label: str = "CERTIFICATE REVOCATION LIST") -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----"


def post(port: AgentPort, name: str, user: str = "agent", **fields: str):
    return port.ask("POST", f"{AGENT}/{name}", user, body={"xml": "true", **fields})


def test_get_status_without_a_certificate_tells_that_it_runs(port):
    """getStatus is for anyone: monitoring has no certificate."""
    answer = port.ask("GET", "/ocsp/admin/ocsp/getStatus")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/xml"
    assert re.fullmatch(
        r"<\?xml [^>]*\?><XMLResponse><State>1</State><Type>OCSP</Type><Status>running</Status>"
        r"<Version>[^<]+</Version><ProductVersion>[^<]+</ProductVersion></XMLResponse>",
        answer.text,
    )


def test_get_status_asked_for_json_answers_json(port):
    """Newer clients ask for JSON."""
    answer = port.ask("GET", "/ocsp/admin/ocsp/getStatus", headers={"Accept": "application/json"})
    assert json.loads(answer.body)["Response"]["Status"] == "running"


def test_list_cas_as_xml_has_the_names_and_dates_of_the_original(port, ca):
    """A script that reads listCAs finds the same elements with values of the same form."""
    answer = port.ask("GET", f"{AGENT}/listCAs?xml=true", "agent")
    record = re.search(r"<record>(.*?CN=CA Signing Certificate.*?)</record>", answer.text).group(1)
    date = r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d UTC \d{4}"
    assert re.fullmatch(
        rf"<NextUpdate>{date}</NextUpdate><ReqCount>0</ReqCount><Id>CN=CA Signing Certificate</Id>"
        rf"<NumRevoked>1</NumRevoked><ThisUpdate>{date}</ThisUpdate><CRLNumber>1</CRLNumber>",
        record,
    )
    assert answer.text.startswith('<?xml version="1.0" encoding="UTF-8" standalone="no"?><xml><header><stateCount>')


def test_list_cas_without_a_crl_says_unknown(port):
    """A CA without a CRL is listed as the original lists it."""
    other = CA.create("CA without CRL", key=shared_key("EC", 8))
    post(port, "addCA", cert=other.pem.decode())
    answer = port.ask("GET", f"{AGENT}/listCAs?xml=true", "auditor")
    assert (
        "<record><NextUpdate>UNKNOWN</NextUpdate><ReqCount>0</ReqCount><Id>CN=CA without CRL</Id>"
        "<NumRevoked>UNKNOWN</NumRevoked><ThisUpdate>UNKNOWN</ThisUpdate><CRLNumber>0</CRLNumber></record>"
    ) in answer.text


def test_list_cas_counts_the_requests_of_each_ca(port, ca):
    """ReqCount is what the workers counted for that CA."""
    port.running.counters = {"counters": {"by_authority": {authority_id(ca.certificate): 42}}}
    answer = port.ask("GET", f"{AGENT}/listCAs?xml=true", "agent")
    port.running.counters = {}
    assert "<ReqCount>42</ReqCount><Id>CN=CA Signing Certificate</Id>" in answer.text


def test_list_cas_without_xml_gives_a_script_the_records(port, ca):
    """Scripts that read the page's JavaScript find the records there."""
    answer = port.ask("GET", f"{AGENT}/listCAs", "agent")
    assert 'record.Id="CN=CA Signing Certificate";' in answer.text
    assert "recordSet[recordCount++] = record;" in answer.text


def test_list_cas_in_a_browser_goes_to_the_agent_pages(port):
    """Who looks at the address with a browser gets the page that shows more."""
    answer = port.ask("GET", f"{AGENT}/listCAs", "agent", headers={"Accept": "text/html"})
    assert (answer.status, answer.headers["Location"]) == (303, "/agent/authorities")


def test_list_cas_of_a_hostile_name_stays_text(port):
    """A name in a certificate cannot become an element or a script of the answer."""
    hostile = CA.create("</Id><script>alert(1)</script>", key=shared_key("EC", 9))
    post(port, "addCA", cert=hostile.pem.decode())
    for query in ("?xml=true", ""):
        assert "<script>alert" not in port.ask("GET", f"{AGENT}/listCAs{query}", "agent").text
    assert post(port, "removeCA", caID=hostile.certificate.subject.rfc4514_string()).text == DONE


@pytest.mark.parametrize("form", ["pem", "base64", "bare", "pkcs7", "pkcs7 der header"])
def test_add_ca_takes_every_form_of_a_certificate(port, form):
    """PEM, base64 with and without line breaks, and chains as PKCS #7 are what tools hand out."""
    other = CA.create(f"CA as {form}", key=shared_key("EC", 10))
    chain = pkcs7.serialize_certificates([other.certificate], Encoding.DER)
    sent = {
        "pem": other.pem.decode(),
        "base64": base64.encodebytes(other.der).decode(),
        "bare": base64.b64encode(other.der).decode(),
        "pkcs7": f"-----BEGIN PKCS7-----\n{base64.encodebytes(chain).decode()}-----END PKCS7-----\n",
        "pkcs7 der header": f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(chain).decode()}-----END CERTIFICATE-----",
    }[form]
    assert post(port, "addCA", cert=sent).text == DONE
    assert f"<Id>CN=CA as {form}</Id>" in port.ask("GET", f"{AGENT}/listCAs?xml=true", "agent").text


@pytest.mark.parametrize(
    ("sent", "message"),
    [({}, "Missing CA Certificate."), ({"cert": "garbage!"}, "decoding certificate"), ({"cert": "AAAA"}, "decoding")],
)
def test_add_ca_of_no_certificate_is_refused_and_changes_nothing(port, sent, message):
    """A refusal has the shape of the original's error page, and the store stays as it was."""
    before = port.facts()
    answer = post(port, "addCA", **sent)
    assert answer.status == 200
    assert "<fixed><authorityName>ocsp</authorityName><unexpectedError>" in answer.text
    assert message in answer.text
    assert "<requestStatus>7</requestStatus>" in answer.text
    assert port.facts() == before


def test_add_ca_of_an_end_entity_certificate_is_refused(port, ca):
    """Only a CA is taken: for anything else nobody could publish a CRL."""
    before = port.facts()
    assert "is not a certification authority" in post(port, "addCA", cert=ca.issue("server").pem.decode()).text
    assert port.facts() == before


def test_add_ca_that_no_signer_may_answer_for_is_refused(port, monkeypatch):
    """With such a CA the instance would not start again."""
    monkeypatch.setattr(certs, "check_signer", check_signer)
    before = port.facts()
    refused = post(port, "addCA", cert=CA.create("No signer's", key=shared_key("EC", 13)).pem.decode())
    assert "<requestStatus>7</requestStatus>" in refused.text
    assert port.facts() == before
    assert post(port, "addCA", cert=port.ca.pem.decode()).text == DONE
    assert post(port, "removeCA", caID=port.ca.certificate.subject.rfc4514_string()).text == DONE


def test_remove_ca_that_is_not_there_is_refused(port):
    """The error tells, as the original's `Record not found` does."""
    assert "<requestStatus>7</requestStatus>" in post(port, "removeCA", caID="CN=nobody").text
    assert "Missing CA DN Id." in post(port, "removeCA").text


def test_removed_ca_is_not_answered_for_any_more(port):
    """Removal counts at once; the original goes on answering out of its cache."""
    other = CA.create("CA to go", key=shared_key("EC", 11))
    post(port, "addCA", cert=other.pem.decode())
    post(port, "addCRL", crl=found_pem(crl(other)), noui="true")
    request = request_for(other, 5)
    assert ocsp_status(port, request) is ocsp.OCSPResponseStatus.SUCCESSFUL
    assert post(port, "removeCA", caID="CN=CA to go").text == DONE
    assert ocsp_status(port, request) is ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize(("serial", "status"), [(12, "revoked"), (13, "good")])
def test_check_cert_tells_the_status_of_a_certificate(port, ca, serial, status):
    """The header has status, serial in hexadecimal and both names."""
    answer = post(port, "checkCert", cert=ca.issue("a.example.test", serial=serial).pem.decode())
    assert (
        f"<header><status>{status}</status><serialno>{hex(serial)}</serialno><subjectDN>CN=a.example.test</subjectDN>"
        "<issuerDN>CN=CA Signing Certificate</issuerDN></header>"
    ) in answer.text


def test_check_cert_of_a_foreign_ca_finds_no_record(port, ca):
    """A certificate of another key under a known name is not one of ours."""
    other = CA.create("CA Signing Certificate", key=shared_key("EC", 12))
    assert "Record not found" in post(port, "checkCert", cert=other.issue("x").pem.decode()).text


def test_get_ocsp_info_has_the_counts_of_the_original(port):
    """Scripts read the counts from the page, in milliseconds and bytes."""
    port.running.counters = {
        "counters": {"answers": {"successful": 30, "unauthorized": 10}, "signature_seconds": 0.02, "sent_bytes": 9000}
    }
    answer = port.ask("GET", f"{AGENT}/getOCSPInfo", "agent")
    for line in (
        'header.numReq = "40";',
        'header.totalSignSec = "20";',
        'header.totalData = "9000";',
        'header.ReqSec = "2000";',
    ):
        assert line in answer.text
    xml = port.ask("GET", f"{AGENT}/getOCSPInfo?xml=true", "agent").text
    assert "<numReq>40</numReq>" in xml


def test_html_answers_have_numbers_as_strings(port, ca):
    """Scripts look for a number between quotes, as the original has it."""
    for page, name in (("getOCSPInfo", "numReq"), ("listCAs", "stateCount")):
        assert re.search(rf'header\.{name} = "(\d+)";', port.ask("GET", f"{AGENT}/{page}", "agent").text)
    assert re.search(r'record\.NumRevoked="(\d+)";', port.ask("GET", f"{AGENT}/listCAs", "agent").text)


def test_check_cert_by_get_tells_the_same(port, ca):
    """It changes nothing, so a link may ask for it; scripts do."""
    pem = ca.issue("a.example.test", serial=12).pem.decode()
    answer = port.ask("GET", f"{AGENT}/checkCert?{urlencode({'cert': pem, 'xml': 'true'})}", "agent")
    assert answer.text == post(port, "checkCert", cert=pem).text
    assert "<status>revoked</status>" in answer.text


@pytest.mark.parametrize(
    "path", ["/ocsp", "/ocsp/", "/ocsp/services", "/ocsp/agent", "/ocsp/agent/", "/ocsp/agent/ocsp"]
)
def test_address_of_the_guides_leads_to_the_agent_pages(port, path):
    """Whoever follows the guide, or a bookmark of the original, arrives."""
    answer = port.ask("GET", path)
    assert (answer.status, answer.headers["Location"]) == (303, "/ocsp/agent/ocsp/")
    assert port.ask("GET", answer.headers["Location"], "agent").headers["Location"] == "/agent/authorities"


@pytest.mark.parametrize("name", ["addCA", "removeCA", "addCRL"])
def test_change_by_get_is_refused(port, name):
    """A link must not change anything: only POST does."""
    answer = port.ask("GET", f"{AGENT}/{name}?xml=true", "agent")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_ocsp_on_the_agent_port_answers_get_and_post(port, ca):
    """Clients that were told the TLS address get the answers of the EE port."""
    request = request_for(ca, 12)
    posted = port.ask("POST", "/ocsp/ee/ocsp", body=request, headers={"Content-Type": "application/octet-stream"})
    assert posted.headers["Content-Type"] == "application/ocsp-response"
    assert ocsp.load_der_ocsp_response(posted.body).certificate_status is ocsp.OCSPCertStatus.REVOKED
    got = port.ask("GET", "/ocsp/ee/ocsp/" + base64.b64encode(request).decode())
    assert ocsp.load_der_ocsp_response(got.body).certificate_status is ocsp.OCSPCertStatus.REVOKED


@pytest.mark.parametrize(("networks", "status"), [("192.0.2.0/24", 403), ("192.0.2.0/24,127.0.0.0/8", 200)])
def test_ocsp_on_the_agent_port_is_for_the_networks_of_the_ee_port(tmp_path, ca, networks, status):
    """Whom the one port turns away finds no other way in; agents of any address go on working there."""
    with agent_port(tmp_path / "vouchd", **{"vouchd.ee.allowed": networks}) as port:
        request = request_for(ca, 12)
        for method, path, body in (
            ("POST", "/ocsp/ee/ocsp", request),
            ("GET", "/ocsp/ee/ocsp/" + base64.b64encode(request).decode(), None),
        ):
            answer = port.ask(method, path, body=body)
            assert answer.status == status
            is_refused = (
                ocsp.load_der_ocsp_response(answer.body).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED
            )
            assert is_refused or status == 200
        assert port.part.counted()["counters"]["errors"].get("address", 0) == (2 if status == 403 else 0)
        assert port.ask("GET", f"{AGENT}/listCAs?xml=true", "agent").status == 200


@pytest.mark.parametrize("path", ["", "/", "/%21%21", "//"])
def test_ocsp_get_of_nonsense_is_malformed_request(port, path):
    """An error is an OCSPResponse, whatever was asked."""
    answer = port.ask("GET", "/ocsp/ee/ocsp" + path)
    assert answer.body == b"\x30\x03\x0a\x01\x01"


def ocsp_status(port: AgentPort, request: bytes) -> ocsp.OCSPResponseStatus:
    return ocsp.load_der_ocsp_response(port.ask("POST", "/ocsp/ee/ocsp", body=request).body).response_status


def test_ocsp_on_the_agent_port_is_counted(port, ca):
    """Statistics and metrics tell of all answers, whichever port gave them."""
    before = port.part.counted()["counters"]
    port.ask("POST", "/ocsp/ee/ocsp", body=request_for(ca, 12))
    port.ask("GET", "/ocsp/ee/ocsp/%21%21")
    after = port.part.counted()["counters"]
    assert after["answers"]["successful"] == before["answers"].get("successful", 0) + 1
    assert after["errors"]["malformed"] == before["errors"].get("malformed", 0) + 1
    assert after["cert_statuses"]["revoked"] == before["cert_statuses"].get("revoked", 0) + 1
    assert after["requests"]["POST"] == before["requests"].get("POST", 0) + 1
    assert sum(after["signature_counts"]) == sum(before["signature_counts"]) + 1
    assert after["sent_bytes"] > before["sent_bytes"]


@pytest.mark.parametrize(("policy", "recorded"), [("all", ["good", "revoked"]), ("revoked", ["revoked"]), ("none", [])])
def test_ocsp_on_the_agent_port_is_recorded_under_the_volume_policy(tmp_path, policy, recorded):
    """What is answered here leaves the records that a worker's answers leave, with the client as the policy says."""
    with agent_port(tmp_path / "instance", **{"vouchd.audit.answers": policy}) as port:
        site = CA.create("Recorded CA", key=shared_key("EC", 12))
        port.services.authorities.add(site.der, LOCAL, label="Recorded CA")
        port.services.ingesting.accept_crl(crl(site, {12: None}), "test", LOCAL, SystemClock().now())
        port.publish()
        for serial in (11, 12):
            assert port.ask("POST", "/ocsp/ee/ocsp", body=request_for(site, serial)).status == 200
        port.keeping.keep()
        records = port.services.audit_reader.search(AuditQuery(event="OCSP_GENERATION"))
    assert sorted(one.detail["status"] for one in records) == recorded
    assert {one.origin for one in records} <= {"127.0.0.0/24"}
