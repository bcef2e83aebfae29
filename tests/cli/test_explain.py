"""`vouchd explain`: what an answer rests on, as text and as JSON."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from cryptography import x509
from tests.pki import CA, DAY, HOUR, shared_key

from vouchd.cli.main import main

REVOKED, GOOD = 0x52A1, 0x52A2


@pytest.fixture
def explained(instance, capsys):
    """Runs the command on an instance with one CRL; gives exit code, stdout and stderr."""
    crl = instance.crl("ca.crl", {REVOKED: x509.ReasonFlags.key_compromise})
    assert main(["crl", "add", crl]) == 0
    capsys.readouterr()

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["explain", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.site = instance
    run.crl = Path(crl)
    return run


def test_explain_names_crl_entry_policy_and_signer(explained) -> None:
    """The CRL's number and hash, the entry, the settings in force and the signer are told."""
    code, out, err = explained("--issuer", explained.site.file("ca.pem"), "--serial", hex(REVOKED), "--json")
    explanation = json.loads(out)
    (point,) = explanation["issuing_points"]
    assert (code, err) == (0, "")
    assert (explanation["answer"], explanation["reason"], explanation["serial"]) == (
        "revoked",
        "keyCompromise",
        "0x52a1",
    )
    assert point["crl_sha256"] == hashlib.sha256(explained.crl.read_bytes()).hexdigest()
    assert (point["crl_number"], point["relied_upon"], point["expired"]) == (1, True, False)
    assert point["entry"].endswith("keyCompromise")
    assert explanation["policy"]["notFoundAsGood"] is True
    assert explanation["signer"]


def test_crl_under_the_name_of_the_ca_s_crl_signing_certificate_speaks_for_the_ca(instance, capsys):
    """As with `ca.crl_signing.*`: once the operator names that certificate its CRLs count; before, and of others, none does."""
    now = int(time.time())
    usage = x509.KeyUsage(False, False, False, False, False, False, True, False, False)
    times = {"not_before": now - DAY, "not_after": now + DAY}
    key = shared_key("EC", 23)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issued = instance.ca.issue("CRL signing", key=key, extensions=((usage, True), (identifier, False)), **times)
    issuer = CA(issued.certificate, issued.key)
    crl = issuer.crl({REVOKED: x509.ReasonFlags.key_compromise}, this_update=now - HOUR, next_update=now + HOUR)
    for name, data in {"issuer.pem": issuer.pem, "signed.crl": crl}.items():
        (instance.folder / name).write_bytes(data)
    assert main(["crl", "add", instance.file("signed.crl")]) != 0
    assert main(["authority", "set", "CN=Site CA", "--crl-issuer", instance.file("issuer.pem")]) == 0
    assert main(["crl", "add", instance.file("signed.crl")]) == 0
    capsys.readouterr()
    assert main(["explain", "--issuer", instance.file("ca.pem"), "--serial", hex(REVOKED), "--json"]) == 0
    explanation = json.loads(capsys.readouterr().out)
    assert (explanation["answer"], explanation["reason"]) == ("revoked", "keyCompromise")


def test_explain_of_a_serial_that_is_not_listed_says_why_it_is_good(explained) -> None:
    """`good` has its reason, too."""
    _, out, _ = explained("--issuer", explained.site.file("ca.pem"), "--serial", hex(GOOD))
    shown = " ".join(out.split())
    assert "answer good why not listed in the CRL" in shown
    assert "notFoundAsGood yes" in shown


def test_explain_takes_a_certificate(explained) -> None:
    """The serial comes out of a certificate of the issuer."""
    leaf = explained.site.folder / "leaf.pem"
    leaf.write_bytes(explained.site.ca.issue(serial=REVOKED).pem)
    _, out, _ = explained(str(leaf), "--issuer", explained.site.file("ca.pem"), "--json")
    assert json.loads(out)["serial"] == "0x52a1"


def test_explain_takes_a_ca_by_its_label(explained) -> None:
    """A CA that is held can be named as `ca list` shows it."""
    _, out, _ = explained("--authority", "CN=Site CA", "--serial", hex(GOOD), "--json")
    assert json.loads(out)["answer"] == "good"


def test_explain_of_a_foreign_ca_says_unauthorized(explained) -> None:
    """An issuer that is not ours gets the error status that a client gets, with the remedy."""
    foreign = explained.site.folder / "foreign.pem"
    foreign.write_bytes(CA.create("Foreign", key=shared_key("EC", 5)).pem)
    _, out, _ = explained("--issuer", str(foreign), "--serial", "1", "--json")
    explanation = json.loads(out)
    assert (explanation["answer"], explanation["authority"]) == ("unauthorized", None)
    assert explanation["hint"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 78, "nothing to explain"),
        (("--serial", "1"), 78, "a serial number means nothing without its CA"),
        (("--serial", "1", "--authority", "nobody"), 66, "nobody"),
        (("--serial", "xyz", "--authority", "CN=Site CA"), 78, "'xyz' is not a serial number"),
    ],
)
def test_question_that_cannot_be_explained_is_refused(explained, arguments, code, message) -> None:
    """What is missing or not there is named."""
    ended, out, err = explained(*arguments)
    assert (ended, out) == (code, "")
    assert message in err
