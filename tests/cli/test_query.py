"""`vouchd query` at the level of its arguments, output and exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from tests.client.answers import SERIAL, HTTPRequest, answer, ask_for, error_answer, loopback
from tests.pki import CA, NOW, Issued

from vouchd.cli.query import query
from vouchd.clock import SystemClock
from vouchd.errors import ClientError, ConfigError, VerificationError, VouchdError
from vouchd.pkix.ocsp import parse_request

app = typer.Typer(add_completion=False)
app.command()(query)


@dataclass
class Result:
    """What one call of the command gave."""

    code: int
    error: VouchdError | None
    out: str
    err: str


@pytest.fixture(autouse=True)
def the_day_of_all_tests(monkeypatch) -> None:
    """The command's clock stands at NOW."""
    monkeypatch.setattr(SystemClock, "now", lambda _: NOW)


@pytest.fixture
def run(capsys):
    def invoke(*arguments: object) -> Result:
        error, code = None, 0
        try:
            code = app([str(argument) for argument in arguments], standalone_mode=False) or 0
        except VouchdError as caught:
            error = caught
        captured = capsys.readouterr()
        return Result(code, error, captured.out, captured.err)

    return invoke


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA.create()


@pytest.fixture(scope="module")
def signer(ca) -> Issued:
    return ca.issue_signer()


@pytest.fixture
def issuer(ca, tmp_path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(ca.pem)
    return path


def responder(ca: CA, signer: Issued, **how):
    """Answers each request about one serial as `how` says, repeating the nonce."""

    def respond(http_request: HTTPRequest) -> tuple[int, dict[str, str], bytes]:
        request = parse_request(_request(http_request))
        (cert_id,) = request.cert_ids
        query = ask_for(ca, int.from_bytes(cert_id.serial, "big"), digest=cert_id.digest)
        nonce = how.get("nonce", request.nonce)
        body = answer(ca, signer, query=query, **(how | {"nonce": nonce}))
        return 200, {"Content-Type": "application/ocsp-response"}, body

    return respond


def _request(http_request: HTTPRequest) -> bytes:
    from base64 import b64decode
    from urllib.parse import unquote

    return (
        http_request.body
        if http_request.method == "POST"
        else b64decode(unquote(http_request.path.removeprefix("/ocsp/")))
    )


@pytest.mark.parametrize(("how", "code"), [({}, 0), ({"revoked": True}, 1), ({"unknown": True}, 3)])
def test_exit_code_tells_the_status(run, ca, signer, issuer, how, code) -> None:
    """0 good, 1 revoked, 3 unknown; 2 stays what a wrong command line gets."""
    with loopback(responder(ca, signer, **how)) as server:
        result = run("--issuer", issuer, "--url", server.url, "--serial", hex(SERIAL))
    assert (result.code, result.error) == (code, None)


def test_answer_is_shown_for_people(run, ca, signer, issuer) -> None:
    """Status, time, reason, signer and its right are on the screen."""
    how = {"revoked": True, "reason": x509.ReasonFlags.key_compromise}
    with loopback(responder(ca, signer, **how)) as server:
        result = run("--issuer", issuer, "--url", server.url, "--serial", hex(SERIAL))
    shown = " ".join(result.out.split())
    for words in (
        "serial 0x1234",
        "status revoked",
        "reason keyCompromise",
        "verified yes",
        "signer CN=OCSP signer",
        "signer role delegated by the CA",
        "algorithm SHA256withEC",
        "nonce repeated",
    ):
        assert words in shown
    assert result.err == ""


def test_json_holds_every_fact(run, ca, signer, issuer) -> None:
    """The JSON document has the answers, the signature, HTTP, and the bytes of both messages."""
    with loopback(responder(ca, signer)) as server:
        result = run("--issuer", issuer, "--url", server.url, "--serial", hex(SERIAL), "--json")
    document = json.loads(result.out)
    assert document["answers"][0] | {"status": "good", "serial": "0x1234"} == document["answers"][0]
    assert (document["verified"], document["warnings"], document["http_status"]) == (True, [], 200)
    assert ocsp.load_der_ocsp_response(bytes.fromhex(document["response"])).serial_number == SERIAL
    assert document["headers"]["Content-Type"] == "application/ocsp-response"


def test_certificate_names_serial_and_responder(run, ca, signer, issuer, tmp_path) -> None:
    """With a certificate neither --serial nor --url is needed: both are read from it."""
    with loopback(responder(ca, signer)) as server:
        location = x509.UniformResourceIdentifier(server.url)
        access = x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, location)])
        path = tmp_path / "leaf.pem"
        path.write_bytes(ca.issue(serial=SERIAL, extensions=((access, False),)).pem)
        result = run("--issuer", issuer, path, "--json")
    assert json.loads(result.out)["answers"][0]["certificate"] == str(path)


@pytest.mark.parametrize(("option", "sent"), [("GET", "GET"), ("post", "POST"), ("auto", "GET")])
def test_method_option_is_obeyed(run, ca, signer, issuer, option, sent) -> None:
    """--method takes GET, POST or auto, in capitals or not."""
    with loopback(responder(ca, signer)) as server:
        result = run("--issuer", issuer, "-u", server.url, "-s", "1234", "--hash", "sha1", "--method", option)
        assert [request.method for request in server.requests] == [sent]
    assert result.code == 0


def test_hash_option_sets_the_digest_of_the_certid(run, ca, signer, issuer) -> None:
    """--hash chooses the digest of the CertID."""
    with loopback(responder(ca, signer)) as server:
        run("--issuer", issuer, "-u", server.url, "-s", "1234", "--hash", "sha384", "--method", "POST")
        assert parse_request(server.requests[0].body).cert_ids[0].digest == "SHA-384"


def test_no_nonce_sends_none_and_repeated_asking_compares_bytes(run, ca, signer, issuer) -> None:
    """Without a nonce the same answer can come each time; --times tells whether it did, and the durations."""
    fixed = answer(ca, signer)
    with loopback(lambda _: (200, {"Content-Type": "application/ocsp-response"}, fixed)) as server:
        result = run("--issuer", issuer, "-u", server.url, "-s", "1234", "--no-nonce", "--times", "5", "--json")
        assert len({(request.method, request.path, request.body) for request in server.requests}) == 1
    rounds = json.loads(result.out)["rounds"]
    assert (rounds["times"], rounds["all_bytes_equal"]) == (5, True)
    assert 0 < rounds["min_ms"] <= rounds["median_ms"] <= rounds["p99_ms"]


def test_each_of_several_askings_has_its_own_nonce(run, ca, signer, issuer) -> None:
    """A nonce is used once; --times makes a new one for each question."""
    with loopback(responder(ca, signer)) as server:
        result = run("--issuer", issuer, "-u", server.url, "-s", "1234", "--times", "3", "-m", "POST", "--json")
        assert len({parse_request(request.body).nonce for request in server.requests}) == 3
    assert json.loads(result.out)["rounds"]["all_bytes_equal"] is False


def test_out_writes_the_answer_as_it_came(run, ca, signer, issuer, tmp_path) -> None:
    """--out keeps the response's DER for other tools."""
    with loopback(responder(ca, signer)) as server:
        run("--issuer", issuer, "-u", server.url, "-s", "1234", "--out", tmp_path / "answer.der")
    assert ocsp.load_der_ocsp_response((tmp_path / "answer.der").read_bytes()).serial_number == SERIAL


def test_answer_that_cannot_be_relied_upon_is_shown_as_such_and_fails(run, ca, issuer) -> None:
    """The facts are shown, marked as not verified, and the command ends with the reason."""
    with loopback(responder(ca, ca.issue("server"))) as server:
        result = run("--issuer", issuer, "-u", server.url, "-s", "1234")
    assert isinstance(result.error, VerificationError)
    assert "verified NO" in " ".join(result.out.split())


def test_trust_option_accepts_a_signer_of_one_s_own(run, ca, issuer, tmp_path) -> None:
    """--trust names a certificate that may sign although the CA did not delegate to it."""
    own = ca.issue("server")
    path = tmp_path / "own.pem"
    path.write_bytes(own.pem)
    with loopback(responder(ca, own)) as server:
        trusted = ("--trust", path)
        assert run("--issuer", issuer, "-u", server.url, "-s", "1234").error is not None
        # The CA issued it without id-kp-OCSPSigning, so only the caller's trust makes it a signer.
        assert run("--issuer", issuer, "-u", server.url, "-s", "1234", *trusted).code == 0


def test_missing_nonce_warns_or_fails(run, ca, signer, issuer) -> None:
    """An answer without the nonce is warned about, with --require-nonce refused."""
    with loopback(responder(ca, signer, nonce=None)) as server:
        lenient = run("--issuer", issuer, "-u", server.url, "-s", "1234")
        strict = run("--issuer", issuer, "-u", server.url, "-s", "1234", "--require-nonce")
    assert (lenient.code, "does not repeat the nonce" in lenient.err) == (0, True)
    assert isinstance(strict.error, VerificationError)


def test_error_status_fails_with_its_name(run, ca, issuer) -> None:
    """An error response is no answer: it is named, and --json still has the facts."""
    body = error_answer(ocsp.OCSPResponseStatus.TRY_LATER)
    with loopback(lambda _: (200, {"Content-Type": "application/ocsp-response"}, body)) as server:
        result = run("--issuer", issuer, "-u", server.url, "-s", "1234", "--json")
    assert "tryLater" in str(result.error)
    assert json.loads(result.out)["response_status"] == "tryLater"


def test_wrong_content_type_is_warned_about(run, ca, signer, issuer) -> None:
    """Some clients refuse another content type, so the operator is told."""
    body = answer(ca, signer)
    with loopback(lambda _: (200, {"Content-Type": "text/plain"}, body)) as server:
        result = run("--issuer", issuer, "-u", server.url, "-s", "1234", "--no-nonce")
    assert "sent as text/plain" in result.err


def test_expired_answer_is_accepted_within_the_tolerance_given(run, ca, signer, issuer) -> None:
    """--tolerance widens what clocks may differ."""
    with loopback(responder(ca, signer, next_update=NOW - 1000)) as server:
        assert isinstance(run("--issuer", issuer, "-u", server.url, "-s", "1234").error, VerificationError)
        assert run("--issuer", issuer, "-u", server.url, "-s", "1234", "--tolerance", 1000).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to ask about"),
        (("--serial", "0xZZ", "--url", "http://127.0.0.1/"), "'0xZZ' is not a serial number"),
        (("--serial", "1_0", "--url", "http://127.0.0.1/"), "'1_0' is not a serial number"),
        (("--serial", "-5", "--url", "http://127.0.0.1/"), "'-5' is not a serial number"),
        (("--serial", "f" * 200, "--url", "http://127.0.0.1/"), "is not a serial number"),
        (("--serial", "12"), "no certificate names its responder"),
    ],
)
def test_question_that_cannot_be_put_is_refused_with_a_remedy(run, issuer, arguments, message) -> None:
    """What cannot be asked is told before anything is sent, with what to do."""
    error = run("--issuer", issuer, *arguments).error
    assert isinstance(error, ConfigError)
    assert message in str(error)
    assert error.hint


def test_responder_that_is_not_there_is_told(run, issuer) -> None:
    """No connection is a ClientError with the URL."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = run("--issuer", issuer, "-s", "1", "-u", f"http://127.0.0.1:{port}/").error
    assert isinstance(error, ClientError)
    assert str(port) in str(error)
