"""`vouchd signer`: from a request over any CA to the facts of the set; a refusal changes nothing."""

from __future__ import annotations

import json

import pytest
from cryptography import x509
from tests.cli.test_certs import certified
from tests.pki import CA, shared_key
from tests.sites import Site

from vouchd.cli.main import main
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

SIGNER = "ocspSigningCert"


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    """An instance that does not run, with the signer of its site's CA."""
    site = Site.make(tmp_path)
    assert site.create("--instance", str(site.instance), "--listen", "127.0.0.1", "--port", "0") == 0
    monkeypatch.setenv("VOUCHD_INSTANCE", str(site.instance))
    return site


def shown(capsys, *arguments: str):
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments: str) -> str:
    """What a command says that refuses."""
    capsys.readouterr()
    assert main([*arguments]) != 0
    return capsys.readouterr().err


def ring(site: Site):
    with wiring.services(Layout(site.instance)) as services:
        return services.store.keyring()


def states(signer) -> list[str]:
    return [one["state"] for one in signer["versions"]]


def test_list_of_an_instance_without_a_keyring_shows_the_signer_of_its_settings(site, capsys):
    """What CS.cfg names is shown as what signs; looking keeps nothing."""
    (signer,) = shown(capsys, "signer", "list")
    assert (signer["nickname"], signer["default"], states(signer)) == (SIGNER, True, ["current"])
    assert signer["authorities"] == ["CN=Site CA"]
    assert ring(site).versions == ()


def test_request_keeps_the_present_signer_and_waits_for_a_certificate(site, capsys):
    """The request is for a key of its own, and the signer from before goes on."""
    signer = shown(capsys, "signer", "request", SIGNER, "--subject", "CN=next")
    assert states(signer) == ["current", "requested"]
    csr = x509.load_pem_x509_csr(signer["versions"][1]["request"].encode())
    assert csr.subject.rfc4514_string() == "CN=next"
    assert csr.public_key() != site.signer.certificate.public_key()
    assert ring(site).current == ring(site).target == ((SIGNER, 1),)


def test_install_stages_the_certificate_and_aims_at_it(site, capsys):
    """A certificate of our CA is taken in; from then on the set is to sign with it."""
    main(["signer", "request", SIGNER])
    done = shown(capsys, "signer", "install", SIGNER, certified(site, f"{SIGNER}-2.csr"))
    assert (states(done)[0], done["versions"][1]["wanted"]) == ("current", True)
    assert ring(site).target == ((SIGNER, 2),)


def test_install_for_later_does_not_aim_at_it(site, capsys):
    """With --stage-only the switch is another act."""
    main(["signer", "request", SIGNER])
    shown(capsys, "signer", "install", SIGNER, certified(site, f"{SIGNER}-2.csr"), "--stage-only")
    assert ring(site).target == ((SIGNER, 1),)
    shown(capsys, "signer", "switch", SIGNER, "2")
    assert ring(site).target == ((SIGNER, 2),)


def test_install_of_what_clients_would_refuse_changes_nothing(site, capsys):
    """A certificate of another CA, or for a key that nobody asked for, stays out."""
    main(["signer", "request", SIGNER])
    before = ring(site)
    other = certified(site, f"{SIGNER}-2.csr", ca=CA.create("Other", key=shared_key("EC", 5)))
    assert "not known" in refused(capsys, "signer", "install", SIGNER, other)
    assert "none of the certificates is for a key" in refused(
        capsys, "signer", "install", SIGNER, site.file("signer.pem")
    )
    assert ring(site) == before


def test_same_key_is_requested_for_again(site, capsys):
    """--same-key asks for another certificate of the key that signs, and writes no key."""
    signer = shown(capsys, "signer", "request", SIGNER, "--same-key")
    csr = x509.load_pem_x509_csr(signer["versions"][1]["request"].encode())
    assert csr.public_key() == site.signer.certificate.public_key()


def test_add_makes_a_second_signer_that_nobody_waits_for(site, capsys):
    """A CA may name it before its certificate has come, and the first one goes on as it was."""
    signer = shown(capsys, "signer", "add", "tier2", "--algorithm", "SHA384withEC")
    assert states(signer) == ["requested"]
    other = CA.create("Tier 2")
    site.folder.joinpath("tier2.pem").write_bytes(other.pem)
    assert main(["authority", "add", site.file("tier2.pem"), "--signer", "tier2"]) == 0
    (named,) = (one for one in shown(capsys, "signer", "list") if one["nickname"] == "tier2")
    assert named["authorities"] == ["CN=Tier 2"]
    assert "there is a signer" in refused(capsys, "signer", "add", "tier2")


@pytest.mark.parametrize("nickname", ["../x", "a b", "sslserver", ""])
def test_add_of_what_is_no_nickname_is_refused(site, capsys, nickname):
    """A nickname becomes the name of files and of settings."""
    refused(capsys, "signer", "add", nickname)
    assert ring(site).versions == ()


def test_switch_and_retire_of_what_cannot_be_are_refused(site, capsys):
    """Nothing signs without a certificate, and what signs is not retired."""
    main(["signer", "request", SIGNER])
    assert "has not come" in refused(capsys, "signer", "switch", SIGNER, "2")
    assert "no signer" in refused(capsys, "signer", "switch", SIGNER, "3")
    assert "signs, or is to" in refused(capsys, "signer", "retire", SIGNER, "1")
    assert states(shown(capsys, "signer", "retire", SIGNER, "2")) == ["current", "retired"]
    assert "no request" in refused(capsys, "signer", "install", SIGNER, site.file("signer.pem"))


def test_certs_leaves_what_is_in_the_keyring_alone(site, capsys):
    """One member alone would make answers differ: `vouchd certs` says which command switches all."""
    main(["signer", "request", SIGNER])
    assert "vouchd signer" in refused(capsys, "certs", "request", SIGNER)


def test_authority_added_with_a_new_signer_has_its_request_at_once(site, capsys):
    """One command makes the key, prints the request, registers the CA under it, and says what to do with it."""
    other = CA.create("Tier 2", key=shared_key("EC", 5))
    site.folder.joinpath("tier2.pem").write_bytes(other.pem)
    capsys.readouterr()
    assert main(["authority", "add", site.file("tier2.pem"), "--new-signer", "tier2"]) == 0
    printed = capsys.readouterr()
    assert "BEGIN CERTIFICATE REQUEST" in printed.out
    assert "vouchd signer install tier2 FILE" in printed.err
    done = shown(capsys, "signer", "install", "tier2", certified(site, "tier2.csr", ca=other), "--stage-only")
    assert (done["authorities"], states(done)) == (["CN=Tier 2"], ["staged"])


def test_authority_with_a_signer_and_a_new_one_is_refused(site, capsys):
    """Which of the two is meant is not guessed, and no key is made."""
    again = ["authority", "add", site.file("ca.pem"), "--signer", SIGNER, "--new-signer", "tier2"]
    assert "exclude each other" in refused(capsys, *again)
    assert ring(site).versions == ()


def test_key_that_waits_for_its_certificate_is_followed_by_another_one(site, capsys):
    """Who lost a request makes the next one, with the same key or a new one, before the first is certified."""
    first = shown(capsys, "signer", "add", "tier2")
    again = shown(capsys, "signer", "request", "tier2", "--same-key")
    other = shown(capsys, "signer", "request", "tier2")
    keys = [
        x509.load_pem_x509_csr(one["versions"][-1]["request"].encode()).public_key() for one in (first, again, other)
    ]
    assert keys[0] == keys[1] != keys[2]
