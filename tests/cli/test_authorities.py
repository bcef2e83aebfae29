"""`vouchd ca add | list | remove | set`."""

from __future__ import annotations

import json

import pytest
from cryptography import x509
from tests.pki import CA, shared_key

from vouchd.cli.main import main


def listed(capsys):
    capsys.readouterr()
    assert main(["ca", "list", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def policy(capsys, name="Site CA"):
    return listed(capsys)[0]["policy"]


def test_list_shows_the_ca_of_create(instance, capsys):
    """What `create` registered is there, without a CRL yet."""
    (shown,) = listed(capsys)
    assert (shown["label"], shown["subject"]) == ("CN=Site CA", "CN=Site CA")
    assert (shown["crls"], shown["revoked"], shown["next_update"]) == (0, 0, None)


def test_add_ca_that_the_signer_cannot_answer_for_is_refused(instance, capsys):
    """A CA that did not issue the signer needs a signer of its own: nothing is added."""
    other = instance.folder / "other.pem"
    other.write_bytes(CA.create("Other CA").pem)
    assert main(["ca", "add", str(other), "--label", "other"]) == 78
    assert "no signer of this instance may answer for it: signer ocspSigningCert" in capsys.readouterr().err
    assert [ca["label"] for ca in listed(capsys)] == ["CN=Site CA"]


def test_add_again_keeps_label_and_policy(instance, capsys):
    """Adding a CA twice changes nothing but the label that is given."""
    main(["ca", "set", "CN=Site CA", "--not-found-as-good", "false"])
    assert main(["ca", "add", instance.file("ca.pem"), "--label", "site"]) == 0
    (shown,) = listed(capsys)
    assert shown["label"] == "site"
    assert shown["policy"]["not_found_as_good"] is False


def test_add_from_stdin_and_not_a_certificate(instance, capsys, monkeypatch):
    """`-` reads standard input; what is no certificate is refused."""
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nonsense")))
    assert main(["ca", "add", "-"]) == 78
    assert "not a certificate" in capsys.readouterr().err


@pytest.mark.parametrize("reference", ["CN=Site CA", "id"])
def test_remove_by_label_or_id(instance, capsys, reference):
    """A CA is named by its label or by the beginning of its id."""
    reference = listed(capsys)[0]["id"][:12] if reference == "id" else reference
    assert main(["ca", "remove", reference]) == 0
    assert listed(capsys) == []


def test_remove_unknown_ca_is_told(instance, capsys):
    """A name that is not there is exit code 66 and the way to the list."""
    assert main(["ca", "remove", "nobody"]) == 66
    assert "vouchd authority list" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, field, value",
    [
        (["--not-found-as-good", "false"], "not_found_as_good", False),
        (["--include-next-update", "true"], "include_next_update", True),
        (["--reasons", "false"], "reasons", False),
        (["--expired-crl", "serve"], "expired_crl", "serve"),
        (["--invalidity-date"], "invalidity_date", True),
        (["--crl-reference"], "crl_reference", True),
        (["--archive-cutoff", "86400"], "archive_cutoff_seconds", 86400),
        (["--extended-revoke"], "extended_revoke", True),
        (["--signer", "ocspSigningCert"], "signer", "ocspSigningCert"),
        (["--expected-scope", "complete"], "expected_scopes", ["complete"]),
        (["--quarantine-percent", "12.5"], "quarantine_percent", 12.5),
        (["--quarantine-entries", "10"], "quarantine_entries", 10),
        (["--quarantine-gains"], "quarantine_gains", True),
        (["--named-point-covers-all"], "named_point_covers_all", True),
        (["--expired-delta", "expired"], "expired_delta", "expired"),
        (["--live-times"], "live_times", True),
        (["--live-this-update"], "live_this_update", True),
        (["--slot", "10"], "slot_seconds", 10),
        (["--trusted-responder"], "trusted_responder", True),
    ],
)
def test_set_each_option_changes_its_field_alone(instance, capsys, options, field, value):
    """Each option sets one field of the CA's policy and leaves the others."""
    before = policy(capsys)
    assert main(["ca", "set", "CN=Site CA", *options]) == 0
    assert policy(capsys) == before | {field: value}


def test_set_default_takes_the_own_setting_away(instance, capsys):
    """`default` means: as CS.cfg says."""
    main(["ca", "set", "CN=Site CA", "--not-found-as-good", "false", "--archive-cutoff", "5"])
    main(["ca", "set", "CN=Site CA", "--not-found-as-good", "default", "--archive-cutoff", "default"])
    values = policy(capsys)
    assert (values["not_found_as_good"], values["archive_cutoff_seconds"]) == (None, None)


def test_set_without_options_shows_the_policy(instance, capsys):
    """Nothing given, nothing changed, everything shown."""
    assert main(["ca", "set", "CN=Site CA", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policy"]["extended_revoke"] is False


@pytest.mark.parametrize(
    "options, code",
    [
        (["--not-found-as-good", "perhaps"], 78),
        (["--expired-crl", "never"], 78),
        (["--archive-cutoff", "-1"], 78),
        (["--archive-cutoff", "a day"], 78),
        (["--quarantine-percent", "all"], 78),
        (["--quarantine-percent", "nan"], 65),
        (["--quarantine-entries", "-1"], 78),
        (["--expired-delta", "never"], 78),
        (["--slot", "0"], 65),
        (["--signer", "nobody"], 78),
        (["--expected-scope", "users"], 78),
    ],
)
def test_set_malformed_value_is_refused_and_changes_nothing(instance, capsys, options, code):
    """A wrong value is told by the exit code, and the policy stays."""
    before = policy(capsys)
    assert main(["ca", "set", "CN=Site CA", *options]) == code
    assert policy(capsys) == before


def test_set_issued_serials_are_taken_and_taken_away(instance, capsys):
    """The list of issued serials is kept by its hash; `default` removes it."""
    (instance.folder / "serials").write_text("1f\n0x20\n")
    assert main(["ca", "set", "CN=Site CA", "--issued-serials", instance.file("serials"), "--yes"]) == 0
    assert len(policy(capsys)["issued_serials"]) == 64
    assert main(["ca", "set", "CN=Site CA", "--issued-serials", "default"]) == 0
    assert policy(capsys)["issued_serials"] is None


def test_set_issued_serials_without_our_own_certificates_is_refused_and_names_them(instance, capsys):
    """A list that would have our own certificates refused is none that anybody meant; with them in it, it is taken."""
    signer = x509.load_pem_x509_certificate((instance.folder / "signer.pem").read_bytes())
    (instance.folder / "serials").write_text("1f\n")
    command = ["ca", "set", "CN=Site CA", "--issued-serials", instance.file("serials")]
    assert main(command) == 78
    refusal = capsys.readouterr().err
    assert f"{signer.serial_number:x}" in refusal
    assert "ocspSigningCert" in refusal
    assert policy(capsys)["issued_serials"] is None
    (instance.folder / "serials").write_text(f"1f\n{signer.serial_number:x}\n")
    assert main(command) == 0
    assert len(policy(capsys)["issued_serials"]) == 64


def test_signer_of_another_ca_is_refused_without_the_word(instance, capsys, tmp_path):
    """A CA that did not issue the signer is taken only as one whose clients trust it; then that shows with the CA."""
    (tmp_path / "other.pem").write_bytes(CA.create("Other", key=shared_key("EC", 5)).pem)
    assert main(["authority", "add", str(tmp_path / "other.pem")]) != 0
    assert "was not issued by" in capsys.readouterr().err
    assert main(["authority", "add", str(tmp_path / "other.pem"), "--trusted-responder"]) == 0
    assert "clients have to be configured to trust it" in capsys.readouterr().err
    assert main(["authority", "list"]) == 0
    assert "trusted responder" in capsys.readouterr().out
    assert main(["authority", "set", "CN=Other", "--no-trusted-responder"]) != 0


def test_compromised_ca_is_declared_shown_and_taken_back(instance, capsys):
    """The moment and what is answered show with the CA; the declaration ends by the same command."""
    since = "2026-01-02T03:04:05Z"
    assert main(["authority", "compromised", "CN=Site CA", "--since", since]) == 0
    assert policy(capsys)["compromised_at"] == since
    assert main(["authority", "compromised", "CN=Site CA", "--answer", "tryLater"]) == 0
    assert policy(capsys)["compromised_answer"] == "tryLater"
    assert main(["authority", "list"]) == 0
    assert "compromised since" in capsys.readouterr().out
    assert main(["authority", "compromised", "CN=Site CA", "--withdraw"]) == 0
    assert policy(capsys)["compromised_at"] is None


@pytest.mark.parametrize("options", [["--since", "2999-01-01T00:00:00Z"], ["--since", "x"], ["--answer", "good"]])
def test_compromised_of_what_cannot_be_changes_nothing(instance, capsys, options):
    """A moment in the future, none at all, and an answer that there is not are refused."""
    assert main(["authority", "compromised", "CN=Site CA", *options]) != 0
    assert policy(capsys)["compromised_at"] is None
