"""Other responders beside ours in the benchmark: what is measured is right, and what cannot be measured says why."""

from __future__ import annotations

import base64
import math
from collections import Counter
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from tests.dogtag.lab.enclosure import Enclosure
from tests.dogtag.lab.lab import Lab
from tests.pki import CA, DAY, NOW, moment, new_key

from bench import kept, signing
from bench.figures import Figure, print_table
from bench.peers import building, cfssl, dogtag, measuring, openssl
from bench.peers.measuring import QUESTIONS, Answers, Result
from bench.peers.peer import ISSUED, Site, Unavailable
from bench.peers.rows import ELSEWHERE, elsewhere, rows

_REVOKED = 0x0A0B
_GOOD, _LISTED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED


@pytest.fixture
def site(tmp_path) -> Site:
    """A CA with a signer, and a certificate that it has revoked."""
    ca = CA.create(kind="RSA")
    signer = ca.issue_signer()
    crl_file = tmp_path / "1.crl"
    crl_file.write_bytes(ca.crl({_REVOKED: None}))
    (tmp_path / "signer.pem").write_bytes(signer.pem)
    (tmp_path / "signer.key").write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Site(tmp_path, ca.certificate, ca.key, crl_file)


def responder(site, *, signer=None, listed=_LISTED, nonce=True):
    """What `check` asks: good but for the revoked one, which has the status `listed`; `signer` is another one."""
    certificate, key = (signer.certificate, signer.key) if signer else (site.signer, cfssl.signer_key(site))

    def ask(request_der):
        request = ocsp.load_der_ocsp_request(request_der)
        status = listed if request.serial_number == _REVOKED else _GOOD
        revoked_at = moment(NOW - DAY) if status is _LISTED else None
        builder = ocsp.OCSPResponseBuilder().responder_id(ocsp.OCSPResponderEncoding.HASH, certificate)
        builder = builder.add_response_by_hash(
            request.issuer_name_hash, request.issuer_key_hash, request.serial_number, request.hash_algorithm,
            status, moment(NOW), None, revoked_at, None,
        )  # fmt: skip
        for extension in request.extensions if nonce else ():
            builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(key, hashes.SHA256())

    return ask


@pytest.mark.parametrize("nonce", [True, False])
def test_check_of_right_answers_tells_whether_they_have_the_nonce(site, nonce):
    """A responder that ignores nonces is measured without them."""
    assert measuring.check(responder(site, nonce=nonce), site) is nonce


def test_check_of_a_revoked_one_answered_good_refuses_to_measure(site):
    """Figures of wrong answers are none."""
    with pytest.raises(Unavailable, match="GOOD where REVOKED is right"):
        measuring.check(responder(site, listed=_GOOD), site)


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_check_of_an_answer_signed_by_another_key_refuses_to_measure(site, kind):
    """An answer without a signature that holds costs less than one with it."""
    with pytest.raises(Unavailable, match="signed by nobody"):
        measuring.check(responder(site, signer=CA.create().issue_signer(kind=kind, key=new_key(kind))), site)


def test_check_of_an_answer_that_is_none_names_its_status(site):
    """Errors are answered quickly, and are no figures."""
    refusal = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
    with pytest.raises(Unavailable, match="UNAUTHORIZED"):
        measuring.check(lambda _: refusal, site)


@pytest.mark.parametrize(
    "error", [Unavailable("no such thing"), SystemExit("no such thing"), ValueError("no such\nthing")]
)
def test_measure_of_one_that_fails_is_a_result_that_says_why(site, error, capsys):
    """Whatever a responder does, the others are measured, and its row has the reason."""

    class Failing:
        name, keys = "theirs", ("EC",)

        @contextmanager
        def serving(self, _):
            raise error
            yield

    result = measuring.measure(Failing(), site, 1, 1)
    assert result == Result("theirs", absence="no such thing")
    assert "measuring theirs" in capsys.readouterr().out


def _measured(name, cpu_us, **more):
    return Result(
        name, "1", {row.what: Answers(1000.0, cpu_us, 1.0, 2.0) for row in QUESTIONS}, 10.0, 0.5, "how", **more
    )


def test_rows_have_each_responder_for_each_question_beside_ours():
    """One row a question and responder, with its cost as a multiple of ours, and one for memory and for the list."""
    figures = rows([_measured("ours", 20.0), _measured("theirs", 50.0)], "EC")
    by = Counter(figure.what.partition(": ")[2] for figure in figures)
    assert by == {"ours": len(QUESTIONS) + 2, "theirs": len(QUESTIONS) + 2}
    first = {figure.what: figure for figure in figures}[f"{QUESTIONS[0].what}, P-256: theirs"]
    assert (first.value, first.unit) == (50.0, "us")
    assert "2.5 times ours" in first.detail


def test_rows_of_an_absent_responder_and_of_a_question_that_it_cannot_answer_say_why():
    """No gap is silent: what was not measured is named with its reason, and has no value."""
    nonce = QUESTIONS[-1].what
    theirs = _measured("theirs", 50.0)
    theirs = Result(theirs.name, "1", {**theirs.answers, nonce: "it knows none"}, 10.0)
    figures = rows([_measured("ours", 20.0), theirs, Result("gone", absence="it has left")], "EC")
    why = {figure.what: figure.detail for figure in figures if "not measured" in figure.detail}
    assert why == {"gone, P-256": "not measured: it has left", f"{nonce}, P-256: theirs": "not measured: it knows none"}
    assert not any(figure.measured for figure in figures if figure.what in why)


def test_rows_without_ours_compare_with_nothing():
    """Where ours is the one that fails, the others have their figures all the same."""
    figures = rows([Result("ours", absence="it has left"), _measured("theirs", 50.0)], "RSA")
    assert len(figures) == 1 + len(QUESTIONS) + 2
    assert not any("times ours" in figure.detail for figure in figures)


def test_elsewhere_has_a_row_without_a_value_for_each():
    """Responders that can be had nowhere here are named."""
    assert [figure.what for figure in elsewhere()] == list(ELSEWHERE)
    assert all(math.isnan(figure.value) and figure.detail for figure in elsewhere())


def test_figure_that_was_not_measured_is_shown_and_not_kept(tmp_path, capsys):
    """The next run compares with the last value that there was."""
    path = tmp_path / "kept.json"
    kept.keep(path, [Figure("theirs", 2.0, 0.0, "us")])
    absent = Figure("theirs", math.nan, 0.0, "us", "not measured: it has left")
    kept.keep(path, [absent])
    assert kept.read(path) == {"theirs": 2.0}
    print_table([absent], kept.read(path))
    out = capsys.readouterr().out
    assert "it has left" in out
    assert "nan" not in out


def test_summary_of_rounds_is_their_median_and_the_least_processor_time():
    """What else runs makes an answer dearer and never cheaper."""
    rounds = [Answers(10.0, 9.0, 1.0, 3.0), Answers(30.0, 5.0, 2.0, 9.0), Answers(20.0, 7.0, 3.0, 6.0)]
    assert measuring.summary(rounds) == Answers(20.0, 5.0, 2.0, 6.0)


def test_index_for_openssl_has_a_line_for_each_certificate(site):
    """What is issued is V, what the CRL lists is R with its day, serials as octets."""
    lines = [line.split("\t") for line in openssl.index(site).read_text().splitlines()]
    assert Counter(line[0] for line in lines) == {"V": ISSUED + 1, "R": 1}
    assert {line[3] for line in lines if line[0] == "V"} >= {
        signing.SERIAL.hex().upper(),
        b"A000000000000007".hex().upper(),
    }
    assert [line[2:4] for line in lines if line[0] == "R"] == [[f"{moment(NOW - DAY):%y%m%d%H%M%SZ}", "0A0B"]]


def test_responses_for_cfssl_are_right_and_signed_for_each_certificate(site):
    """What it is given beforehand passes the same check as what others answer."""
    answers = [ocsp.load_der_ocsp_response(base64.b64decode(line)) for line in cfssl.responses(site).open("rb")]
    by_serial = {answer.serial_number: answer for answer in answers}
    assert len(by_serial) == ISSUED + 2
    assert not measuring.check(lambda der: by_serial[ocsp.load_der_ocsp_request(der).serial_number], site)


def test_load_with_a_limit_asks_for_serials_that_are_issued(site):
    """The hole of the template, filled with a number below the limit, is the request about an issued serial."""
    load = signing.Load(QUESTIONS[1], site.ca, site.folder, "/there", ISSUED)
    script = load.script().read_text()
    assert f", {ISSUED}\n" in script
    assert b"POST /there HTTP/1.1".hex() in script
    template = signing.request(site.ca, int.from_bytes(signing.SERIAL))
    issued = list(site.issued)[1:]
    for number in (0, 7, ISSUED - 1):
        octets = (signing.COLD[signing.SERIAL] % number).encode()
        assert template.replace(signing.SERIAL, octets) == signing.request(site.ca, issued[number])


def test_go_modules_are_pinned_by_version_and_hash():
    """What is built has one version, and its hash is in the repository."""
    version = building.version_in_go(cfssl.MODULE)
    assert f"{cfssl.MODULE} {version} h1:" in (building.GO / "go.sum").read_text()


def test_building_without_go_says_so(tmp_path, monkeypatch):
    """A program that builds is missed by name."""
    monkeypatch.setenv("VOUCHD_PEERS", str(tmp_path / "peers"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="built by Go"):
        building.built_by_go("example.test/none")


def test_built_program_is_kept_where_the_variable_says(tmp_path, monkeypatch):
    """A program that is there is not built again, and none of it lies in the repository."""
    monkeypatch.setenv("VOUCHD_PEERS", str(tmp_path))
    program = building.program("example.test/none")
    program.touch()
    monkeypatch.setenv("PATH", "")
    assert building.built_by_go("example.test/none") == program
    assert program.parent == tmp_path


def test_dogtag_that_nobody_has_made_says_how_it_is_made(tmp_path):
    """Making one takes a quarter of an hour, so it is never made by the way."""
    lab = Lab(Enclosure(tmp_path / "root"))
    with pytest.raises(Unavailable, match=r"tests\.dogtag\.lab start"), dogtag.started(lab, "Bench CA"):
        raise AssertionError


def test_nonce_of_the_questions_is_a_whole_extension(site):
    """The octets that the load replaces are those of the nonce's value."""
    request = ocsp.load_der_ocsp_request(signing.request(site.ca, 1, signing.NONCE))
    assert [extension.value for extension in request.extensions] == [x509.OCSPNonce(signing.NONCE)]


def test_latencies_of_wrk_are_milliseconds_whatever_their_unit():
    """wrk prints microseconds, milliseconds and, with a blank after the unit, seconds."""
    out = "  Latency Distribution\n     50%  884.90us\n     75%    1.00ms\n     99%    1.85s \n"
    assert signing.latencies(out) == pytest.approx({50: 0.8849, 99: 1850.0})


def test_report_of_wrk_counts_what_it_asked_after_its_seconds_as_well():
    """Processor time is divided by the answers that there were, not by a rate in the seconds that were wanted."""
    out = "  810 requests in 3.16s, 0.91MB read\nRequests/sec:    256.45\nTransfer/sec:    293.20KB\n"
    assert signing.report(out) == signing.WrkReport(256.45, 810, {})
