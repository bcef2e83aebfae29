"""Verbs with `--url`: the same results over the agent port as on the folder."""

from __future__ import annotations

import json
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from tests.agent.agent_port import crl, issue
from tests.api.conftest import EVERYBODY, opened
from tests.pki import CA, shared_key

from vouchd.cli.main import main
from vouchd.client.admin import error_of
from vouchd.errors import ClientError, CRLStale
from vouchd.service.usercertificates import fingerprint


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("remote") / "vouchd") as remote:
        yield remote


@pytest.fixture
def folder(api, tmp_path, monkeypatch):
    """Where the port is and as whom to come, in the environment; the folder that it stands for."""
    issued = api.port.users[EVERYBODY]
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client.pem").write_bytes(key + issued.pem)
    (tmp_path / "trust.pem").write_bytes(api.port.ca.pem)
    monkeypatch.setenv("VOUCHD_CERT", str(tmp_path / "client.pem"))
    monkeypatch.setenv("VOUCHD_TRUST", str(tmp_path / "trust.pem"))
    monkeypatch.setenv("VOUCHD_INSTANCE", str(api.port.services.layout.root))
    monkeypatch.setenv("VOUCHD_URL", f"https://localhost:{api.port.port}")
    return tmp_path


def said(capsys, *arguments: str) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


EXPLAINED = ("explain", "--authority", "Site", "--serial", "0xc")


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize(
    "command",
    [
        ("ca", "list"),
        ("ca", "set", "Site"),
        ("certs", "list"),
        ("crl", "list"),
        ("crl", "quarantine", "list"),
        ("user", "list"),
        ("user", "groups", EVERYBODY),
        ("user", "certs", EVERYBODY),
        ("selftest", "list"),
        ("audit", "show", "3"),
        ("audit", "search", "--until", "2026-01-01"),
        ("audit", "search", "--event", "CONFIG_ROLE", "--limit", "3"),
        EXPLAINED,
    ],
    ids=" ".join,
)
def test_output_is_the_same_over_the_port_and_on_the_folder(folder, capsys, monkeypatch, command, form):
    """A script need not know where its answer comes from."""
    over_the_port = said(capsys, *command, *form)
    monkeypatch.delenv("VOUCHD_URL")
    assert said(capsys, *command, *form) == over_the_port


def test_ca_is_added_and_removed_over_the_port(folder, api, capsys):
    """`vouchd ca add --url` and `remove` act on the instance behind the port."""
    (folder / "other.pem").write_bytes(CA.create("Other CA", key=shared_key("EC", 23)).pem)
    made = json.loads(said(capsys, "ca", "add", str(folder / "other.pem"), "--label", "Other", "--json"))
    assert {one.label for one in api.port.services.store.authorities()} == {"Site", "Other"}
    assert json.loads(said(capsys, "ca", "remove", "Other", "--json")) == made[0]
    assert {one.label for one in api.port.services.store.authorities()} == {"Site"}


def test_crl_is_added_and_fetched_over_the_port(folder, api, capsys):
    """What was sent is served and comes back byte for byte; sent again nothing is to be done."""
    newer = crl(api.site, {12: None, 13: None}, age=60)
    (folder / "new.crl").write_bytes(newer)
    done = json.loads(said(capsys, "crl", "add", str(folder / "new.crl"), "--json"))
    assert [(one["ca"], one["entries"], one["served"]) for one in done] == [("Site", 2, True)]
    said(capsys, "crl", "show", "Site", "--out", str(folder / "out.crl"))
    assert (folder / "out.crl").read_bytes() == newer
    assert main(["crl", "add", str(folder / "new.crl")]) == 0


def test_crl_that_is_not_answered_from_yet_is_said_over_the_port(folder, api, capsys, monkeypatch):
    """The CRL is stored, so the exit code is 0; `served` and a word say that the workers do not answer from it yet."""
    monkeypatch.setattr(api.port.running, "workers_load", False)
    (folder / "newest.crl").write_bytes(crl(api.site, {12: None, 14: None}, age=30))
    assert main(["crl", "add", str(folder / "newest.crl"), "--json"]) == 0
    captured = capsys.readouterr()
    assert [(one["entries"], one["served"]) for one in json.loads(captured.out)] == [(2, False)]
    assert "not every worker answers from it yet" in captured.err


def test_instance_may_be_named_by_its_url(folder, capsys, monkeypatch):
    """`--instance https://…` asks over the agent port, as --url does."""
    url = os.environ["VOUCHD_URL"]
    monkeypatch.delenv("VOUCHD_URL")
    monkeypatch.delenv("VOUCHD_INSTANCE")
    assert "Site" in said(capsys, "ca", "list", "--instance", url)


def test_policy_and_issued_serials_are_set_over_the_port(folder, capsys):
    """`vouchd ca set --url` changes what it names, leaves the rest, and takes settings away again."""
    (folder / "serials.txt").write_text("12\n13\n")
    (folder / "issuer.pem").write_bytes(CA.create("CRL issuer", key=shared_key("EC", 22)).pem)
    options = ["--not-found-as-good", "false", "--quarantine-percent", "50", "--crl-issuer", str(folder / "issuer.pem")]
    set_ = ["ca", "set", "Site", "--json"]
    policy = json.loads(said(capsys, *set_, *options, "--issued-serials", str(folder / "serials.txt")))["policy"]
    assert (policy["not_found_as_good"], policy["quarantine_percent"], len(policy["crl_issuers"])) == (False, 50.0, 1)
    assert policy["issued_serials"]
    assert json.loads(said(capsys, *set_, "--url", ""))["policy"] == policy  # on the folder


def test_policy_is_taken_away_over_the_port(folder, capsys):
    """`default` has the CA follow the instance's settings again."""
    set_ = ["ca", "set", "Site", "--json"]
    said(capsys, *set_, "--not-found-as-good", "false")
    away = ["--not-found-as-good", "default", "--quarantine-percent", "default", "--crl-issuer", "default"]
    policy = json.loads(said(capsys, *set_, *away, "--issued-serials", "default"))["policy"]
    assert (policy["not_found_as_good"], policy["issued_serials"], policy["crl_issuers"]) == (None, None, [])


def test_crl_held_back_is_released_and_dropped_over_the_port(folder, api, capsys):
    """`vouchd crl quarantine` decides over the port what became of a CRL that changes too much."""
    said(capsys, "ca", "set", "Site", "--quarantine-percent", "1")
    for age, act in ((40, "drop"), (30, "release")):
        (folder / "held.crl").write_bytes(crl(api.site, dict.fromkeys(range(20, 90)), age=age))
        assert main(["crl", "add", str(folder / "held.crl")]) == 75
        assert json.loads(said(capsys, "crl", "quarantine", "list", "--json"))[0]["ca"] == "Site"
        said(capsys, "crl", "quarantine", act, "Site")
        assert json.loads(said(capsys, "crl", "quarantine", "list", "--json")) == []
    said(capsys, "ca", "set", "Site", "--quarantine-percent", "default")
    assert json.loads(said(capsys, "crl", "list", "--json"))[0]["entries"] == 70


def test_user_is_changed_over_the_port(folder, api, capsys):
    """Every change of a user works there; a chain is taken for its leaf, and the user's certificate is not the caller's."""
    one, two = (issue(api.port.ca, f"carol {number}") for number in (1, 2))
    (folder / "chain.pem").write_bytes(api.port.ca.pem + one.pem)
    (folder / "two.pem").write_bytes(two.pem)
    added = ["user", "add", "carol", "--group", "agents", "--cert", str(folder / "chain.pem"), "--json"]
    made = json.loads(said(capsys, *added))
    assert [certificate["sha256"] for certificate in made["certificates"]] == [fingerprint(one.der)]
    changed = said(capsys, "user", "groups", "carol", "--add", "auditors", "--remove", "agents", "--json")
    assert json.loads(changed)["groups"] == ["Auditors"]
    certs = ["user", "certs", "carol", "--add", str(folder / "two.pem"), "--remove", fingerprint(one.der)[:8], "--json"]
    assert [certificate["sha256"] for certificate in json.loads(said(capsys, *certs))] == [fingerprint(two.der)]
    for word, enabled in (("disable", False), ("enable", True)):
        assert json.loads(said(capsys, "user", word, "carol", "--json"))["enabled"] is enabled
    said(capsys, "user", "remove", "carol")
    assert "carol" not in {user.id for user in api.port.services.store.users()}


def test_self_tests_are_run_over_the_port(folder, capsys):
    """`vouchd selftest run --url` has the instance try itself, and its exit code tells how that went."""
    ran = json.loads(said(capsys, "selftest", "run", "OCSPPresence", "--json"))
    assert [(one["name"], one["ok"]) for one in ran] == [("OCSPPresence", True)]
    assert main(["selftest", "run", "NoSuchTest"]) == 66


def test_certificate_is_requested_and_tried_out_over_the_port(folder, api, capsys):
    """The request comes back as PEM; what a CA made of it is tried out there."""
    lines = said(capsys, "certs", "request", "sslserver", "--name", "DNS:localhost")
    request = x509.load_pem_x509_csr(lines[lines.index("-----BEGIN") :].encode())
    assert request.is_signature_valid
    wrong = api.port.ca.issue("not of this request")
    (folder / "wrong.pem").write_bytes(wrong.pem)
    assert main(["certs", "install", "sslserver", str(folder / "wrong.pem"), "--dry-run"]) == 65
    assert "-----BEGIN" not in capsys.readouterr().err


def test_certificate_is_renewed_over_the_port(folder, api, capsys, monkeypatch):
    """`vouchd certs renew --url` certifies here what the instance asks for there, and has it restart with that."""
    monkeypatch.chdir(folder)
    assert main(["ca", "create", "--subject", "CN=Staff CA of our own"]) == 0
    before = api.port.running.restarts_asked_for
    done = json.loads(said(capsys, "certs", "renew", "subsystem", "--json"))
    assert [(one["name"], one["state"]) for one in done] == [("subsystem", "in use")]
    assert api.port.running.restarts_asked_for == before + 1
    said(capsys, "certs", "renew", "subsystem", "--no-restart")
    assert api.port.running.restarts_asked_for == before + 1


def test_restart_is_asked_for_over_the_port(folder, api, capsys):
    """`vouchd restart --url` needs no access to the folder."""
    before = api.port.running.restarts_asked_for
    assert json.loads(said(capsys, "restart", "--json"))["state"] == "running"
    assert api.port.running.restarts_asked_for == before + 1


def test_status_tells_of_the_instance_behind_the_port(folder, capsys):
    """`vouchd status --url` needs no access to the folder."""
    assert json.loads(said(capsys, "status", "--json"))["ocsp"] == "http://127.0.0.1:1/"


def test_url_without_certificate_is_refused_with_the_remedy(folder, monkeypatch, capsys):
    """Nobody is let in without a certificate, so none is asked for in vain."""
    monkeypatch.delenv("VOUCHD_CERT")
    assert main(["ca", "list"]) == 78
    assert "--cert FILE" in capsys.readouterr().err


def _pkcs12(issued, ca: x509.Certificate, encryption: BestAvailableEncryption) -> bytes:
    return serialize_key_and_certificates(b"me", issued.key, issued.certificate, [ca], encryption)


def _pem(issued, _: x509.Certificate, encryption: BestAvailableEncryption) -> bytes:
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return key + issued.certificate.public_bytes(Encoding.PEM)


@pytest.fixture(params=[_pkcs12, _pem], ids=["PKCS #12", "encrypted PEM"])
def keys(folder, api, monkeypatch, request):
    """A folder with the user's certificate and key in one file under a password, and the password in another."""
    data = request.param(api.port.users[EVERYBODY], api.port.ca.certificate, BestAvailableEncryption(b"correct horse"))
    for name, content in (("me", data), ("right", b"correct horse\n"), ("wrong", b"battery staple\n")):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    monkeypatch.setenv("VOUCHD_CERT", str(folder / "me"))
    return folder


def test_keys_under_a_password_are_a_client_certificate_as_they_are(keys, capsys):
    """With its password the file opens the port, and the key is on no disk else."""
    before = set(keys.iterdir())
    listed = json.loads(said(capsys, "ca", "list", "--json", "--password-file", str(keys / "right")))
    assert [one["label"] for one in listed] == ["Site"]
    assert set(keys.iterdir()) == before


def test_password_of_the_keys_has_a_name_of_its_own_where_a_verb_has_one(keys, capsys, monkeypatch):
    """The password of what is written and that of the certificate are not confused."""
    monkeypatch.setenv("VOUCHD_CERT_PASSWORD_FILE", str(keys / "right"))
    said(capsys, "backup", "--out", str(keys / "keys.p12"), "--password-file", str(keys / "wrong"))
    assert (keys / "keys.p12").stat().st_size > 0


@pytest.mark.parametrize(("arguments", "word"), [(["--password-file", "wrong"], "password"), ([], "--password-file")])
def test_keys_without_their_password_are_refused_with_the_remedy(keys, capsys, monkeypatch, arguments, word):
    """A wrong password is said to be one; without any it is said how to give it."""
    monkeypatch.chdir(keys)
    assert main(["ca", "list", *arguments]) != 0
    assert word in capsys.readouterr().err


def test_server_that_is_not_trusted_is_refused(folder, monkeypatch, capsys):
    """The server's certificate is verified; the way to trust its CA is told."""
    monkeypatch.delenv("VOUCHD_TRUST")
    assert main(["ca", "list"]) == 69
    assert "--trust" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (b'{"error":"CRLStale","title":"old","hint":"h"}', CRLStale),
        (b'{"error":"OUTCOMES","title":"x"}', ClientError),
        (b'{"error":"Outcome","title":"x"}', ClientError),
        (b'{"error":"NoSuchError","title":"x"}', ClientError),
    ],
)
def test_problem_becomes_the_error_that_it_was(problem, kind):
    """The exit code is the one that the verb has on the folder; what is no error of ours is a client error."""
    assert type(error_of(problem)) is kind
