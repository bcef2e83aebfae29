"""The certificate manager's verbs as they are typed."""

import json
import shlex
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from tests.pki import name, new_key, signing_hash

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import IssuedStatus

CA = "CN=CLI CA,O=Example"


@pytest.fixture
def run(tmp_path, monkeypatch, run):
    """Runs a command line in a folder of its own: `run("ca", "certs")` -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOUCHD_CA", raising=False)
    return run


@pytest.fixture
def ca(run):
    """A CA in ./ca; the same runner."""
    assert run("ca", "create", "--subject", CA)[0] == 0
    return run


def issued(run, *arguments):
    """The JSON of one issued certificate."""
    code, out, err = run("ca", "issue", "--name", "DNS:www.example.org", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_create_shows_where_the_certificate_is(run, tmp_path):
    """The first command of a newcomer says what was made and where."""
    code, out, err = run("ca", "create", "--subject", CA, "--key", "ed25519", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["certificate"] == "ca/ca.crt"
    assert (tmp_path / "ca/ca.crt").exists()


def test_create_twice_is_refused_with_hint(ca):
    """A CA is never overwritten."""
    code, out, err = ca("ca", "create", "--subject", CA)
    assert (code, out) == (73, "")
    assert "vouchd: hint: name another folder" in err


def test_verb_without_a_ca_says_how_to_make_one(run):
    """A folder without a CA gets exit code 66 and the command that makes one."""
    code, _, err = run("ca", "certs")
    assert code == 66
    assert "vouchd ca create" in err


def test_issue_with_new_key_writes_certificate_chain_and_closed_key(ca, tmp_path):
    """The certificate's file holds the chain, the key is 0600 and belongs to the certificate."""
    shown = issued(ca, "--subject", "CN=www.example.org")
    assert (shown["certificate"], shown["key"]) == ("www.example.org.crt", "www.example.org.key")
    leaf, root = x509.load_pem_x509_certificates((tmp_path / shown["certificate"]).read_bytes())
    leaf.verify_directly_issued_by(root)
    key = tmp_path / shown["key"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert load_pem_private_key(key.read_bytes(), None).public_key() == leaf.public_key()
    assert hex(leaf.serial_number) == shown["serial"]


def test_issue_never_overwrites_a_file(ca, tmp_path):
    """A key that is there stays, and nothing is issued."""
    (tmp_path / "x.key").write_text("precious")
    code, _, err = ca("ca", "issue", "--subject", "CN=x", "--out", "x.crt", "--profile", "user")
    assert code == 73
    assert "x.key" in err
    assert (tmp_path / "x.key").read_text() == "precious"
    assert json.loads(ca("ca", "certs", "--json")[1]) == []


def test_issue_refused_leaves_no_key_behind(ca, tmp_path):
    """A key without a certificate is of no use."""
    code, _, err = ca("ca", "issue", "--subject", "CN=x", "--out", "x.crt", "--days", "36500")
    assert code == 65
    assert "outlive" in err
    assert not (tmp_path / "x.key").exists()


def test_issue_from_openssl_request(ca, tmp_path):
    """A request that OpenSSL made is issued with its names; no key is written."""
    subprocess.run(
        shlex.split(
            "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out r.csr"
            " -subj /CN=csr.example -addext subjectAltName=DNS:csr.example"
        ),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    code, out, err = ca("ca", "issue", "--csr", "r.csr", "--out", "c.crt", "--json")
    assert code == 0, err
    assert "key" not in json.loads(out)
    leaf = x509.load_pem_x509_certificates((tmp_path / "c.crt").read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["csr.example"]


def test_issue_with_neither_request_nor_subject_is_refused(ca):
    """There is nothing to certify."""
    code, _, err = ca("ca", "issue")
    assert code == 78
    assert "--csr" in err


def test_issue_server_without_names_is_warned_about(ca):
    """TLS clients look at alternative names only."""
    code, _, err = ca("ca", "issue", "--subject", "CN=x")
    assert code == 0
    assert "vouchd: warning: a server certificate without names" in err


def test_revoke_by_file_and_by_serial(ca):
    """A certificate is named by its file or by its serial in hexadecimal, with or without 0x and colons."""
    by_file, by_serial = issued(ca, "--subject", "CN=a"), issued(ca, "--subject", "CN=b")
    code, out, _ = ca("ca", "revoke", by_file["certificate"], "--reason", "keyCompromise", "--json")
    shown = json.loads(out)
    assert (code, shown["status"], shown["reason"]) == (0, "revoked", "keyCompromise")
    assert ca("ca", "hold", by_serial["serial"])[0] == 0
    assert ca("ca", "release", by_serial["serial"].removeprefix("0x").upper())[0] == 0
    assert ca("ca", "revoke", by_serial["serial"], "--invalidity-date", "2026-01-02T03:04:05Z")[0] == 0
    listed = {one["serial"]: one for one in json.loads(ca("ca", "certs", "--json")[1])}
    assert listed[by_serial["serial"]]["invalidity_date"] == "2026-01-02T03:04:05Z"
    assert listed[by_serial["serial"]]["reason"] == "unspecified"


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("revoke", "nonsense"), 78),
        (("revoke", "0x1234"), 66),
        (("revoke", "1_0"), 78),
        (("revoke", "a" * 41), 78),
        (("revoke", "0x1234", "--reason", "bored"), 65),
        (("revoke", "0x1234", "--invalidity-date", "yesterday"), 78),
        (("crl", "--current"), 66),
        (("crl", "--delta"), 65),
        (("publish",), 65),
        (("publish", "--to", "ftp:x"), 65),
        (("issue", "--csr", "absent.csr"), 78),
        (("issue", "--subject", "CN=x", "--profile", "emperor"), 2),
    ],
)
def test_wrong_command_has_its_exit_code_and_hint(ca, arguments, code):
    """Each mistake has its exit code, a message without a traceback, and says how to go on."""
    got, out, err = ca("ca", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith("vouchd: ")
    assert "Traceback" not in err


def test_certificate_of_another_ca_is_refused(ca, tmp_path):
    """A file from another CA is never taken for one of ours, even when the serials are equal."""
    key = new_key()
    mine = issued(ca, "--subject", "CN=a")
    with CertificateManager(tmp_path / "ca") as manager:
        original = x509.load_pem_x509_certificates((tmp_path / mine["certificate"]).read_bytes())[0]
        forged = (
            x509.CertificateBuilder(issuer_name=name("Other"), subject_name=name("a"), public_key=key.public_key())
            .serial_number(original.serial_number)
            .not_valid_before(original.not_valid_before_utc)
            .not_valid_after(original.not_valid_after_utc)
            .sign(key, signing_hash(key))
        )
        (tmp_path / "forged.der").write_bytes(forged.public_bytes(Encoding.DER))
        code, _, err = ca("ca", "revoke", "forged.der")
        assert code == 65
        assert "another CA" in err
        assert [record.status for record in manager.store.certificates()] == [IssuedStatus.VALID]


def test_crl_is_written_verified_and_listed(ca, tmp_path):
    """CRLs go to files in DER or PEM, OpenSSL verifies them, and the list tells full from delta."""
    issued(ca, "--subject", "CN=a")
    assert ca("ca", "hold", "a.crt")[0] == 0
    assert ca("ca", "crl", "--out", "full.crl")[0] == 0
    assert ca("ca", "release", "a.crt")[0] == 0
    assert ca("ca", "crl", "--delta", "--pem", "--out", "delta.pem")[0] == 0
    for file, form in (("full.crl", "DER"), ("delta.pem", "PEM")):
        done = subprocess.run(
            ["openssl", "crl", "-in", file, "-inform", form, "-CAfile", "ca/ca.crt", "-noout", "-text"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        assert "verify OK" in done.stderr
    assert "Remove From CRL" in done.stdout
    listed = json.loads(ca("ca", "crl", "--list", "--json")[1])
    assert [(one["number"], one["base_number"], one["entries"]) for one in listed] == [(1, None, 1), (2, 1, 1)]
    assert ca("ca", "crl", "--current", "--out", "again.crl")[0] == 0
    assert (tmp_path / "again.crl").read_bytes() == (tmp_path / "full.crl").read_bytes()


def test_publish_remembers_targets_and_revoke_uses_them(ca, tmp_path):
    """A target named once gets every later CRL, until it is forgotten."""
    issued(ca, "--subject", "CN=a")
    assert ca("ca", "publish", "--to", "dir:web")[0] == 0
    code, out, _ = ca("ca", "revoke", "a.crt", "--publish", "--json")
    assert (code, json.loads(out)["deliveries"][0]["crl"]) == (0, 2)
    crl = x509.load_der_x509_crl((tmp_path / "web/ca.crl").read_bytes())
    assert len(crl) == 1
    assert json.loads(ca("ca", "publish", "--list", "--json")[1])[0]["last_crl"] == 2
    assert ca("ca", "publish", "--forget", "dir:web")[0] == 0
    assert ca("ca", "publish")[0] == 65


def test_revoke_publish_without_target_changes_nothing(ca, tmp_path):
    """A command that cannot be finished is not begun: the certificate stays valid."""
    issued(ca, "--subject", "CN=a")
    code, _, err = ca("ca", "revoke", "a.crt", "--publish")
    assert code == 65
    assert "no target" in err
    with CertificateManager(tmp_path / "ca") as manager:
        assert [record.status for record in manager.store.certificates()] == [IssuedStatus.VALID]


def test_publish_to_a_target_that_fails_exits_with_its_code(ca, tmp_path):
    """A failed delivery is shown beside the others and gives the exit code; a mistyped target is not remembered."""
    (tmp_path / "file").write_text("in the way")
    code, out, err = ca("ca", "publish", "--to", "dir:file", "--to", "dir:web", "--json")
    assert code == 65
    assert [one["delivered"] for one in json.loads(out)] == [False, True]
    assert "vouchd: hint: " in err
    listed = json.loads(ca("ca", "publish", "--list", "--json")[1])
    assert [one["target"] for one in listed] == [f"dir:{tmp_path / 'web'}"]


def test_certs_status_narrows_the_list(ca, tmp_path):
    """Valid, held, revoked and expired are told apart."""
    for one in "abc":
        issued(ca, "--subject", f"CN={one}")
    ca("ca", "hold", "a.crt")
    ca("ca", "revoke", "b.crt")
    shown = {
        status: [one["subject"] for one in json.loads(ca("ca", "certs", "--status", status, "--json")[1])]
        for status in ("valid", "held", "revoked", "expired")
    }
    assert shown == {"valid": ["CN=c"], "held": ["CN=a"], "revoked": ["CN=b"], "expired": []}


def test_subordinate_ca_is_issued_by_the_one_above(ca, tmp_path):
    """--issuer makes a CA below another; OpenSSL builds the chain from the files."""
    assert ca("ca", "create", "--ca", "sub", "--issuer", "ca", "--subject", "CN=Sub")[0] == 0
    assert ca("ca", "issue", "--ca", "sub", "--subject", "CN=leaf", "--profile", "user")[0] == 0
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", "ca/ca.crt", "-untrusted", "sub/ca.crt", "leaf.crt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "leaf.crt: OK\n"


def test_publish_to_instance_is_answered_from(ca, tmp_path):
    """An instance that is not running takes the CRL in; the same CRL again is no error."""
    assert ca("create", "--ca", "ca")[0] == 0
    issued(ca, "--subject", "CN=a")
    assert ca("ca", "revoke", "a.crt", "--reason", "superseded")[0] == 0
    code, out, err = ca("ca", "publish", "--to", "instance:vouchd", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["detail"] == "stored"
    assert json.loads(ca("crl", "list", "--json")[1])
    again = json.loads(ca("ca", "publish", "--current", "--json")[1])
    assert [one["detail"] for one in again] == ["held already"]


def test_certs_serials_tell_a_responder_what_was_issued(ca, tmp_path):
    """The list of serials is taken by the responder as it is printed."""
    serials = {issued(ca, "--subject", f"CN={one}")["serial"] for one in "ab"}
    assert ca("create", "--ca", "ca")[0] == 0
    code, out, _ = ca("ca", "certs", "--serials")
    assert code == 0
    assert serials < set(out.split())  # with those of the instance, which would be refused otherwise
    (tmp_path / "serials.txt").write_text(out)
    code, out, err = ca("ca", "set", CA, "--issued-serials", "serials.txt", "--json")
    assert code == 0, err
    assert json.loads(out)["policy"]["issued_serials"]
