"""Publishing through addCRL, byte for byte as a CA of the Certificate System does it, and every way to do it wrong."""

from __future__ import annotations

import base64
import ssl
import tempfile
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.agent.agent_port import AgentPort, agent_port, crl, issue
from tests.pki import CA, DAY, HOUR, shared_key
from tests.pkix.crls import crl_number, entry
from tests.service.world import COMPROMISED
from tests.serving import request_for

from vouchd import files
from vouchd.client.publishing import CRLPublisher
from vouchd.pkix.certs import authority_id
from vouchd.pkix.der import tlv

PATH = "/ocsp/agent/ocsp/addCRL"
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
NUMBERS = iter(range(20, 1000))


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> AgentPort:
    with agent_port(tmp_path_factory.mktemp("agent") / "instance") as port:
        yield port


@pytest.fixture
def ca(port) -> CA:
    """A CA of its own for each test, that is answered for and has no CRL yet."""
    number = next(NUMBERS)
    ca = CA.create(f"Publishing CA {number}", key=shared_key("EC", number))
    port.ask("POST", "/ocsp/agent/ocsp/addCA", "agent", body={"cert": ca.pem.decode()})
    return ca


def form(der: bytes) -> bytes:
    """The body as OCSPPublisher makes it: lines of 76 with CR LF, between the Certificate System's markers."""
    lines = base64.encodebytes(der)
    for octet, quoted in ((b"+", b"%2B"), (b"/", b"%2F"), (b"=", b"%3D"), (b"\n", b"%0D%0A")):
        lines = lines.replace(octet, quoted)  # `quote_plus` takes seconds for fifty megabytes
    marker = b"CERTIFICATE+REVOCATION+LIST-----"
    return b"crl=-----BEGIN+" + marker + b"%0A" + lines + b"%0A-----END+" + marker + b"&noui=true"


def head(length: int) -> bytes:
    """The request's head as it was observed: HTTP/1.0, lower case, no blank after the colon, no Host."""
    return (
        f"POST {PATH} HTTP/1.0\r\n"
        "content-type:application/x-www-form-urlencoded\r\n"
        "connection:Keep-Alive\r\n"
        "content-transfer-encoding:7bit\r\n"
        f"content-length:{length}\r\n"
        "\r\n"
    ).encode()


def publish(port: AgentPort, der: bytes, user: object = "publisher") -> bytes:
    """All that comes back until the end of the connection, which a publisher waits for."""
    body = form(der)
    return port.send(user, head(len(body)), body)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def test_publisher_request_byte_for_byte_is_taken_and_ends(port, ca):
    """A CA publishes unchanged: its bytes are taken, `status=0` stands in a line, and the connection ends."""
    answer = publish(port, crl(ca, {12: COMPROMISED}))
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"content-type: application/text" in answer.lower()
    assert b"connection: close" in answer.lower()
    assert body_of(answer) == b"status=0\n"


def test_published_crl_is_answered_from_when_the_publisher_hears(port, ca):
    """After `status=0` nobody gets an answer of the CRL before."""
    publish(port, crl(ca, {12: None}, age=2 * HOUR))
    publish(port, crl(ca, {12: None, 13: None}))
    cert = ca.issue("x", serial=13).pem.decode()
    answer = port.ask("POST", "/ocsp/agent/ocsp/checkCert", "agent", body={"cert": cert, "xml": "true"})
    assert "<status>revoked</status>" in answer.text
    assert port.ask("POST", "/ocsp/ee/ocsp", body=request_for(ca, 13)).status == 200


def test_published_crl_is_audited_under_the_publisher(port, ca):
    """Who brought which CRL stands in the audit log; who was let in is counted."""
    publish(port, crl(ca))
    assert port.records()[-1] == ("CRL_RETRIEVAL", "success", "publisher")


def test_publisher_body_of_50_mb_is_taken(port, ca):
    """A CRL with more than a million entries comes through the same door."""
    body = form(large(ca, 1_350_000))
    assert len(body) > 50 << 20
    assert body_of(port.send("publisher", head(len(body)), body)) == b"status=0\n"


def large(ca: CA, count: int) -> bytes:
    """A CRL of that many entries, put together by hand since a builder would take minutes."""
    now = int(time.time())
    revoked, before = entry(b"\x7f" * 10), b"\x7f" * 10
    start, _, end = revoked.partition(before)
    entries = bytearray((start + b"\x01" + bytes(9) + end) * count)
    for place in range(3):  # the last octets of all numbers at once, those of the highest worth first
        octets = b"".join(bytes((octet,)) * (1 << 8 * (2 - place)) for octet in range(256)) * (1 << 8 * place)
        entries[len(start) + 7 + place :: len(revoked)] = octets[:count]
    times = b"".join(tlv(0x17, time.strftime("%y%m%d%H%M%SZ", time.gmtime(at)).encode()) for at in (now, now + DAY))
    extensions = tlv(0xA0, tlv(0x30, crl_number(1)))
    issuer = ca.certificate.subject.public_bytes()
    tbs = tlv(0x30, b"\x02\x01\x01", ECDSA_WITH_SHA256, issuer, times, tlv(0x30, bytes(entries)), extensions)
    signature = ca.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs, ECDSA_WITH_SHA256, tlv(0x03, b"\x00" + signature))


def without_base(ca: CA) -> bytes:
    return crl(ca, base=1, number=2)


def of_stranger(ca: CA) -> bytes:
    return crl(CA.create("Stranger", key=shared_key("EC", 3)))


def forged(ca: CA) -> bytes:
    return crl(CA.create(ca.certificate.subject.rfc4514_string()[3:], key=shared_key("EC", 4)))


@pytest.fixture
def idle(port):
    """The workers load nothing."""
    port.running.workers_load = False
    yield
    port.running.workers_load = True


@pytest.mark.usefixtures("idle")
def test_publisher_of_a_crl_that_no_worker_answers_from_yet_is_told_in_a_line_of_its_own(port, ca):
    """It is taken (`status=0`, no error); HTTP 202 and `served=false` say that the former CRL is still answered from."""
    answer = publish(port, crl(ca, {12: COMPROMISED}))
    assert answer.startswith(b"HTTP/1.0 202 ")
    assert body_of(answer) == b"status=0\nserved=false\n"


@pytest.mark.usefixtures("idle")
def test_script_of_a_crl_that_no_worker_answers_from_yet_is_told(port, ca):
    """XML and the page have it as a fact, with HTTP 202."""
    sent = base64.encodebytes(crl(ca)).decode()
    answer = port.ask("POST", PATH, "agent", body={"crl": sent, "xml": "true"})
    assert (answer.status, "<fixed><served>false</served></fixed>" in answer.text) == (202, True)
    page = port.ask("POST", PATH, "agent", body={"crl": base64.encodebytes(crl(ca, {12: None}, age=60)).decode()})
    assert (page.status, 'fixed.served = "false";' in page.text) == (202, True)


@pytest.mark.parametrize("loads", [True, False])
def test_publisher_of_ours_tells_whether_it_is_answered_from(port, ca, tmp_path, loads):
    """Our own publisher knows a CRL that is answered from and one that is only stored."""
    issued = port.users["publisher"]
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client.pem").write_bytes(key + issued.pem)
    (tmp_path / "trust.pem").write_bytes(port.ca.pem)
    port.running.workers_load = loads
    publisher = CRLPublisher(f"https://localhost:{port.port}", tmp_path / "client.pem", None, tmp_path / "trust.pem")
    assert publisher.publish(crl(ca)) is loads
    port.running.workers_load = True


def cut_short(ca: CA) -> bytes:
    return crl(ca)[:-20]


def with_rest(ca: CA) -> bytes:
    return crl(ca) + b"rest"


def garbage(_: CA) -> bytes:
    return b"\x30\x84garbage"


@pytest.mark.parametrize("make", [without_base, of_stranger, forged, cut_short, with_rest, garbage])
def test_publisher_of_a_bad_crl_is_told_and_changes_nothing(port, ca, make):
    """A delta without its base, a wrong signature, DER that is cut or none: refused, audited, nothing changed."""
    before = port.facts()
    lines = body_of(publish(port, make(ca))).decode().splitlines()
    assert lines[0] == "status=1"
    assert lines[1].startswith("error=")
    assert len(lines) == 2
    assert port.records()[-1] == ("CRL_VALIDATION", "failure", "publisher")
    assert port.facts() == before


def test_publisher_of_an_older_crl_is_told_in_the_original_words(port, ca):
    """A replay of an earlier CRL is refused with the words that are searched for in CAs' logs."""
    old, new = crl(ca, {12: None}, age=2 * HOUR), crl(ca)
    publish(port, old)
    publish(port, new)
    before = port.facts()
    answer = body_of(publish(port, old))
    assert answer.startswith(b"status=1\nerror=Sent CRL is older than the current CRL")
    assert port.facts() == before


def test_publisher_of_the_same_crl_again_changes_nothing(port, ca):
    """A replay of the current CRL makes no new epoch."""
    sent = crl(ca)
    publish(port, sent)
    before = port.facts()
    assert body_of(publish(port, sent)).startswith(b"status=1\nerror=Sent CRL is older")
    assert port.facts() == before


@pytest.mark.parametrize("user", [None, "administrator", "auditor", "domain", "enterprise", "member of nothing"])
def test_publisher_without_the_right_is_told_in_lines_it_reads(port, ca, user):
    """No certificate, or none of a group that publishes: the CA sees `status=1`, and nothing changes."""
    before = port.facts()
    answer = publish(port, crl(ca), user)
    assert answer.startswith(b"HTTP/1.0 403 ")
    assert body_of(answer).startswith(b"status=1\nerror=")
    assert port.facts() == before


def test_publisher_of_no_known_user_is_refused_and_audited(port, ca):
    """A certificate of a trusted CA is not enough: it must be one that is registered."""
    stranger = issue(port.ca, "stranger")
    port.ask("POST", "/ocsp/agent/ocsp/addCA", "agent", body={"cert": port.ca.pem.decode()})
    port.publish()
    assert body_of(publish(port, crl(ca), stranger)).startswith(b"status=1\nerror=no user has the certificate")
    assert port.records()[-1] == ("AUTH", "failure", "unidentified")
    port.ask("POST", "/ocsp/agent/ocsp/removeCA", "agent", body={"caID": port.ca.certificate.subject.rfc4514_string()})


def test_publisher_that_hangs_up_half_way_changes_nothing(port, ca):
    """A push that is cut off leaves no trace in the store."""
    body = form(crl(ca, age=2 * HOUR))
    with port.connect("publisher") as connection:
        connection.sendall(head(len(body)))
        connection.sendall(body[: len(body) // 2])
    assert body_of(publish(port, crl(ca))) == b"status=0\n"  # the port still serves
    (epoch,) = [one for one in port.facts()[1] if one.issuing_point.authority_id == authority_id(ca.certificate)]
    assert epoch.sequence == 1


@pytest.mark.parametrize("size", [1, 1000])
def test_publisher_that_sends_chunks_is_taken(port, ca, size):
    """A form may come in chunks of any size (RFC 9112 section 7.1), cut wherever it is."""
    body = form(crl(ca))
    chunks = [body[begin : begin + size] for begin in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    start = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert port.send("publisher", start, coded).endswith(b"status=0\n")


def test_publisher_whose_crl_finds_no_room_is_told_to_come_again(port, ca, monkeypatch):
    """A full disk is no fault of the CRL: the CA is told that the same one may be taken later."""
    monkeypatch.setattr(files, "_LARGE_FOLDER", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    body = b"crl=0" + bytes(files.MAX_BYTES) + b"&noui=true"  # the first octet of DER
    answer = port.send("publisher", head(len(body)), body)
    assert answer.startswith(b"HTTP/1.0 503 ")
    assert body_of(answer).startswith(b"status=1\nerror=Temporarily unable")


def test_publisher_of_more_than_the_limit_is_refused_unread(port):
    """A body larger than the port takes is refused by its announced length."""
    answer = port.send("publisher", head((256 << 20) + 1))
    assert answer.startswith(b"HTTP/1.0 413 ")
    assert body_of(answer).startswith(b"status=1\nerror=")


@pytest.mark.parametrize("body", [b"", b"noui=true", b"crl=&noui=true"])
def test_publisher_without_a_crl_is_told(port, body):
    """A form without its field is an answer, not a crash."""
    answer = port.send("publisher", head(len(body)), body)
    assert b"Missing CRL." in answer


def test_script_with_xml_gets_xml(port, ca):
    """Without noui the answer is a page, or XML when it is asked for."""
    sent = base64.encodebytes(crl(ca)).decode()
    marked = f"-----BEGIN X509 CRL-----\n{sent}-----END X509 CRL-----\n"
    answer = port.ask("POST", PATH, "agent", body={"crl": marked, "xml": "true"})
    assert answer.text.endswith("<xml><header/><fixed/><records/></xml>")
    again = port.ask("POST", PATH, "agent", body={"crl": marked, "xml": "true"})
    assert "<unexpectedError>Sent CRL is older than the current CRL" in again.text
    page = port.ask("POST", PATH, "agent", body={"crl": marked})
    assert 'fixed.requestStatus = "7";' in page.text


@pytest.mark.parametrize("encode", [base64.encodebytes, base64.b64encode], ids=["lines", "one line"])
def test_script_with_bare_base64_is_taken(port, ca, encode):
    """Base64 without any header is taken, with and without line breaks."""
    answer = port.ask("POST", PATH, "agent", body={"crl": encode(crl(ca)).decode(), "noui": "true"})
    assert answer.text == "status=0\n"


def test_script_with_a_multipart_form_is_taken(port, ca):
    """`curl -F crl=@file` sends a file field of a multipart form."""
    parts = b'--b\r\nContent-Disposition: form-data; name="noui"\r\n\r\ntrue\r\n'
    parts += b'--b\r\nContent-Disposition: form-data; name="crl"; filename="a.crl"\r\n'
    parts += b"Content-Type: application/octet-stream\r\n\r\n" + crl(ca) + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert port.ask("POST", PATH, "agent", body=parts, headers=headers).text == "status=0\n"


def test_publisher_with_an_expired_certificate_is_not_let_in(port, ca):
    """TLS itself refuses a certificate that has expired."""
    now = int(time.time())
    late = issue(port.ca, "late", not_before=now - 2 * DAY, not_after=now - HOUR)
    before = port.facts()
    try:
        answer = publish(port, crl(ca), late)
    except (ssl.SSLError, ConnectionError):
        answer = b""
    assert answer == b""
    assert port.facts() == before
