"""`vouchd ca publish` to the agent port of a responder that is reached over the network only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.agent.agent_port import LOCAL, agent_port

from vouchd.cli.main import main
from vouchd.client import publishing
from vouchd.errors import ClientError, CRLRejected, CRLStale, RefusedForNow, StoreUnavailable


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with agent_port(tmp_path_factory.mktemp("agent") / "instance") as port:
        yield port


@pytest.fixture
def target(port, tmp_path, monkeypatch) -> str:
    """The port as a target, with the files of a publisher; the CA in ./ca is answered for there."""
    monkeypatch.chdir(tmp_path)
    assert main(["ca", "create", "--subject", f"CN=Publishing CA {tmp_path.name}"]) == 0
    port.services.authorities.add(Path("ca/ca.crt").read_bytes(), LOCAL, label=tmp_path.name)
    issued = port.users["publisher"]
    Path("publisher.key").write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path("publisher.crt").write_bytes(issued.pem)
    Path("trust.pem").write_bytes(port.ca.pem)
    return f"ocsp:https://localhost:{port.port},cert=publisher.crt,key=publisher.key,trust=trust.pem"


def delivery(capsys, *arguments: str) -> dict[str, object]:
    """What is told of the one delivery."""
    capsys.readouterr()
    main(["ca", "publish", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)[0]


def test_crl_reaches_the_responder_through_its_agent_port(port, target, tmp_path, monkeypatch, capsys):
    """The target is taken, remembered with absolute paths, and told apart when it holds the CRL already."""
    assert delivery(capsys, "--to", target)["delivered"] is True
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = delivery(capsys, "--ca", str(tmp_path / "ca"), "--current")
    assert (again["delivered"], again["detail"]) == (True, "held already")
    newer = delivery(capsys, "--ca", str(tmp_path / "ca"))
    assert (newer["delivered"], newer["detail"], newer["crl"]) == (True, "taken", 2)
    label = {one.id: one.label for one in port.services.store.authorities()}
    numbers = {
        label[epoch.issuing_point.authority_id]: epoch.newest.crl_number for epoch in port.services.store.epochs()
    }
    assert numbers[tmp_path.name] == 2


def test_refusal_of_the_responder_is_told_with_its_reason(port, target, tmp_path, capsys):
    """A CA that is not answered for there is told so, and the target is not remembered."""
    port.services.authorities.remove(tmp_path.name, LOCAL)
    refused = delivery(capsys, "--to", target)
    assert refused["delivered"] is False
    assert "refused the CRL" in str(refused["detail"])
    assert main(["ca", "publish", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_refusal_for_the_moment_is_told_apart_and_the_same_crl_is_taken_later(port, target, monkeypatch, capsys):
    """With its store away the responder is asked again with the same CRL: another exit code than a CRL that is refused."""

    def away(*_):
        raise StoreUnavailable("ldap://ds1.example: Can't contact LDAP server")

    assert main(["ca", "publish", "--to", target]) == 0
    with monkeypatch.context() as broken:
        broken.setattr(port.services.store, "commit_epochs", away)
        capsys.readouterr()
        assert main(["ca", "publish", "--json"]) == 75
        said = capsys.readouterr()
    [refused] = json.loads(said.out)
    assert (refused["delivered"], refused["retry"]) == (False, True)
    assert "Can't contact LDAP server" in refused["detail"]
    assert "vouchd ca publish --current" in said.err
    again = delivery(capsys, "--current")
    assert (again["delivered"], again["retry"], again["crl"]) == (True, False, refused["crl"])


def test_crl_that_is_refused_for_good_outranks_one_that_is_refused_for_now(port, target, monkeypatch, capsys):
    """Trying again does not help while one target refuses the CRL itself, so the exit code says that."""
    assert main(["ca", "publish", "--to", target]) == 0
    assert main(["ca", "publish", "--to", "dir:web"]) == 0
    Path("web/ca.crl").unlink()
    Path("web").rmdir()
    Path("web").write_text("no folder")
    monkeypatch.setattr(
        port.services.store, "commit_epochs", lambda *_: (_ for _ in ()).throw(StoreUnavailable("away"))
    )
    capsys.readouterr()
    assert main(["ca", "publish", "--json"]) == 65
    assert {row["retry"] for row in json.loads(capsys.readouterr().out)} == {True, False}


@pytest.mark.parametrize("wrong", ["ocsp:https://localhost:1", "ocsp:https://localhost:1,cert=x,spare=y"])
def test_target_without_a_client_certificate_is_refused(target, wrong, capsys):
    """Nobody may publish without a certificate, so none is tried without."""
    assert main(["ca", "publish", "--to", wrong]) == 78
    assert "cert=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("status=1\nerror=Sent CRL is older than the current CRL\n", CRLStale),
        ("status=1\nerror=Temporarily unable to take CRLs, publish it again later: no store\n", RefusedForNow),
        ("status=1\nerror=Delta CRLs are not supported.\n", CRLRejected),
        ("status=1\n", CRLRejected),
        ("<html>Invalid Credential.</html>", ClientError),
        ("", ClientError),
    ],
)
def test_answer_other_than_status_0_is_a_failure(answer, error):
    """Only a line `status=0` says that a CRL was taken, whatever the product."""
    with pytest.raises(error):
        publishing._judge(answer, "https://ocsp.example.org")
