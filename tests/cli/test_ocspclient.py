"""`OCSPClient`: options and lines of the Certificate System's command of that name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.x509 import ocsp
from tests.client.answers import Loopback, always, answer, ask_for, loopback
from tests.pki import CA, NOW, shared_key

from vouchd.cli.compat.ocspclient import main
from vouchd.clock import SystemClock

SERIAL = 12


@pytest.fixture(autouse=True)
def the_day_of_all_tests(monkeypatch) -> None:
    """The command's clock stands at NOW."""
    monkeypatch.setattr(SystemClock, "now", lambda _: NOW)


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA.create()


@pytest.fixture
def alias(ca, tmp_path) -> Path:
    (tmp_path / "ca_signing.crt").write_bytes(ca.pem)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    def invoke(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["OCSPClient", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return invoke


def options(server: Loopback) -> list[str]:
    host, port = server.url.removeprefix("http://").removesuffix("/ocsp").split(":")
    return ["-h", host, "-p", port]


@pytest.mark.parametrize(
    ("how", "status"), [({}, "Good"), ({"revoked": True}, "Revoked"), ({"unknown": True}, "Unknown")]
)
def test_status_is_told_in_the_two_lines_that_scripts_read(run, ca, alias, how, status) -> None:
    """Decimal serial and the status in words, exit code 0 whatever it is; path and nickname as documented."""
    body = answer(ca, ca, query=ask_for(ca, SERIAL, digest="SHA-1"), **how)
    with loopback(always(body)) as server:
        code, out, err = run(
            "-d", alias, *options(server), "-t", "/ocsp/ee/ocsp", "-c", "ca_signing", "--serial", SERIAL
        )
        (http_request,) = server.requests
    assert (code, out, err) == (0, f"CertID.serialNumber=12\nCertStatus={status}\n", "")
    assert (http_request.method, http_request.path, http_request.body) == (
        "POST",
        "/ocsp/ee/ocsp",
        ask_for(ca, SERIAL, digest="SHA-1").request_der,
    )


def test_serial_may_be_hexadecimal(run, ca, alias) -> None:
    """0xc is the same serial as 12."""
    with loopback(always(answer(ca, ca, query=ask_for(ca, SERIAL, digest="SHA-1")))) as server:
        code, out, _ = run("-d", alias, *options(server), "-c", alias / "ca_signing.crt", "--serial", "0xc")
    assert (code, out.splitlines()[0]) == (0, "CertID.serialNumber=12")


def test_old_syntax_is_the_same_without_options(run, ca, alias) -> None:
    """Scripts of older versions give seven arguments, or eight with the path."""
    output = alias / "answer.der"
    body = answer(ca, ca, query=ask_for(ca, SERIAL, digest="SHA-1"))
    with loopback(always(body)) as server:
        _, host, _, port = options(server)
        code, out, err = run(host, port, alias, "ca_signing", SERIAL, output, 2)
        assert (code, err, out.count("CertID.serialNumber=12\nCertStatus=Good\n")) == (0, "", 2)
        code, out, _ = run(host, port, alias, "ca_signing", SERIAL, output, 1, "/ocsp")
        assert (code, [one.path for one in server.requests]) == (0, ["/ocsp/ee/ocsp", "/ocsp/ee/ocsp", "/ocsp"])
    assert output.read_bytes() == body


def test_old_syntax_takes_a_file_for_the_request(run, ca, alias) -> None:
    """Where the serial stands a file may, which holds the request."""
    request = alias / "request.der"
    request.write_bytes(ask_for(ca, SERIAL).request_der)
    with loopback(always(answer(ca, ca, query=ask_for(ca, SERIAL)))) as server:
        _, host, _, port = options(server)
        code, out, _ = run(host, port, alias, "ca_signing", request, alias / "answer.der", 1)
        assert server.requests[0].body == request.read_bytes()
    assert (code, "CertStatus=Good" in out) == (0, True)


@pytest.mark.parametrize(
    "words", [("ocsp.example", 80), ("h", "x", "d", "c", 1, "o", 1), ("h", 1, "d", "c", 1, "o", 0)]
)
def test_old_syntax_with_something_missing_is_refused(run, words) -> None:
    """A number of arguments that is neither, and what is no number, is told."""
    code, _, err = run(*words)
    assert (code, "argument" in err or "submissions" in err) == (78, True)


def test_ca_is_found_by_its_nickname_in_an_nss_database(run, ca, tmp_path) -> None:
    """The folder of the Certificate System's certificates will do as it is."""
    (tmp_path / "ca.crt").write_bytes(ca.pem)
    database = tmp_path / "alias"
    database.mkdir()
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    subprocess.run([*certutil, "-A", "-n", "CA of old", "-t", "CT,,", "-a", "-i", tmp_path / "ca.crt"], check=True)
    with loopback(always(answer(ca, ca, query=ask_for(ca, SERIAL, digest="SHA-1")))) as server:
        code, out, _ = run("-d", database, *options(server), "-c", "CA of old", "--serial", SERIAL)
    assert (code, out) == (0, "CertID.serialNumber=12\nCertStatus=Good\n")
    code, _, err = run("-d", database, "-c", "another", "--serial", SERIAL)
    assert (code, "cert9.db" in err) == (78, True)


def test_several_submissions_give_several_answers(run, ca, alias) -> None:
    """-n sends the same request so often."""
    with loopback(always(answer(ca, ca, query=ask_for(ca, SERIAL, digest="SHA-1")))) as server:
        _, out, _ = run("-d", alias, *options(server), "-c", "ca_signing", "--serial", SERIAL, "-n", 3)
    assert out.count("CertStatus=Good") == 3


def test_input_is_sent_as_it_is_and_output_keeps_the_answer(run, ca, alias) -> None:
    """--input sends a ready-made request, --output writes the answer's DER and says so."""
    request, output = alias / "request.der", alias / "answer.der"
    request.write_bytes(ask_for(ca, SERIAL, nonce=b"n" * 32).request_der)
    body = answer(ca, ca, query=ask_for(ca, SERIAL), nonce=b"n" * 32)
    with loopback(always(body)) as server:
        code, out, err = run("-d", alias, *options(server), "-c", "ca_signing", "--input", request, "--output", output)
        assert server.requests[0].body == request.read_bytes()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Success: Output {output}"
    assert ocsp.load_der_ocsp_response(output.read_bytes()).serial_number == SERIAL


def test_input_without_a_ca_is_answered_with_a_warning(run, ca, alias) -> None:
    """Without the CA nothing can be verified, and that is said."""
    request = alias / "request.der"
    request.write_bytes(ask_for(ca, SERIAL).request_der)
    with loopback(always(answer(ca, ca, query=ask_for(ca, SERIAL)))) as server:
        code, out, err = run(*options(server), "--input", request)
    assert (code, "CertStatus=Good" in out, "not verified" in err) == (0, True, True)


def test_answer_of_a_stranger_is_refused(run, ca, alias) -> None:
    """Unlike the original, an answer that was not signed for the CA is an error and no status is printed."""
    stranger = CA.create("Stranger", key=shared_key("EC", 5))
    with loopback(always(answer(ca, stranger, query=ask_for(ca, SERIAL, digest="SHA-1"), certs=(stranger,)))) as server:
        code, out, err = run("-d", alias, *options(server), "-c", "ca_signing", "--serial", SERIAL)
    assert (code, out) == (76, "")
    assert "not issued by the CA itself" in err


def test_request_about_another_ca_is_refused_before_it_is_sent(run, ca, alias) -> None:
    """A ready-made request has to be about the CA that its answer will be checked against."""
    request = alias / "request.der"
    request.write_bytes(ask_for(CA.create("Other", key=shared_key("EC", 5)), SERIAL).request_der)
    code, _, err = run("-d", alias, "-c", "ca_signing", "--input", request)
    assert code == 69
    assert "another CA" in err


def test_debug_tells_the_bytes_of_both_messages(run, ca, alias) -> None:
    """--debug shows on stderr what was sent and what came, so stdout stays as it is."""
    body = answer(ca, ca, query=ask_for(ca, SERIAL, digest="SHA-1"))
    with loopback(always(body)) as server:
        _, out, err = run("-d", alias, *options(server), "-c", "ca_signing", "--serial", SERIAL, "--debug")
    assert body.hex() in err
    assert ask_for(ca, SERIAL, digest="SHA-1").request_der.hex() in err
    assert out == "CertID.serialNumber=12\nCertStatus=Good\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to ask about"),
        (("--serial", "1"), "a serial number means nothing without its CA"),
        (("-c", "nobody", "--serial", "1"), "there is no CA certificate nobody"),
        (("--input", "/nonexistent"), "/nonexistent: cannot be read"),
    ],
)
def test_question_that_cannot_be_put_is_refused(run, arguments, message) -> None:
    """What is missing is named, with exit code 78 (configuration)."""
    code, _, err = run(*arguments)
    assert code == 78
    assert message in err
