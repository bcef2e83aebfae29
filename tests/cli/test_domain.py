"""`vouchd domain`: the registry seen and changed on the instance's folder."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.agent.domain_site import HOST, a_clone, a_master

from vouchd.cli.main import main


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    """A master whose folder the commands work on."""
    with a_master(tmp_path_factory.mktemp("cli-domain") / "vouchd") as master:
        yield master


@pytest.fixture(autouse=True)
def here(domain, monkeypatch):
    monkeypatch.setenv("VOUCHD_INSTANCE", str(domain.services.layout.root))
    yield
    for member in domain.services.store.members():
        if member.host != HOST:
            domain.services.store.remove_member(member.id)


def said(capsys, *arguments: str):
    """The JSON that a command prints when it succeeds."""
    capsys.readouterr()
    assert main(["domain", *arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_info_shows_the_domain_and_the_place_in_it(domain, capsys):
    """Name, master, own role and the fingerprint that others compare."""
    info = said(capsys, "info")
    assert (info["domain"], info["members"], info["master"]) == ("vouchd", 1, f"{HOST}:8443")
    assert (info["role"], info["fingerprint"]) == ("master", domain.fingerprint)


def test_domain_is_told_the_same_over_the_port(domain, capsys, monkeypatch, tmp_path):
    """An administrator away from the folder sees what stands in it."""
    domain.joining().join(a_clone(), domain.token())
    on_the_folder = [said(capsys, "info"), said(capsys, "members")]
    issued = domain.users["administrator"]
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client.pem").write_bytes(key + issued.pem)
    (tmp_path / "trust.pem").write_bytes(domain.ca.pem)
    access = {
        "URL": f"https://localhost:{domain.port}",
        "CERT": tmp_path / "client.pem",
        "TRUST": tmp_path / "trust.pem",
    }
    for name, value in access.items():
        monkeypatch.setenv(f"VOUCHD_{name}", str(value))
    assert [said(capsys, "info"), said(capsys, "members")] == on_the_folder


def test_info_outside_a_domain_tells_how_to_begin_one(instance, capsys, monkeypatch):
    """An instance that was never prepared is in no domain, which is no error."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(instance.instance))
    assert main(["domain", "info"]) == 0
    assert "vouchd clone prepare" in capsys.readouterr().err
    assert main(["domain", "members"]) == 0
    assert main(["domain", "token"]) == 66


def test_token_lets_an_instance_in_and_members_shows_it(domain, capsys):
    """What is shown once is good once."""
    answer = said(capsys, "token", "--seconds", "60")
    domain.joining().join(a_clone(), answer["token"])
    rows = {row["member"]: row for row in said(capsys, "members")}
    assert [rows[name]["role"] for name in sorted(rows)] == ["master", "clone"]
    assert main(["domain", "members"]) == 0
    assert "ocsp2.example.org:8443" in capsys.readouterr().out


def test_token_in_a_file_is_for_its_owner_alone(domain, capsys, tmp_path):
    """With --out the token is not on the screen."""
    path = tmp_path / "join.token"
    answer = said(capsys, "token", "--out", str(path))
    assert answer["token"] is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert domain.client().check(path.read_text().strip())


def test_leave_takes_a_clone_out_and_not_the_master(domain, capsys):
    """The master's role has to be moved before it can go."""
    domain.joining().join(a_clone(), domain.token())
    assert main(["domain", "leave", HOST]) == 78
    assert "is the master" in capsys.readouterr().err
    assert said(capsys, "leave", "ocsp2.example.org")["left"] == "ocsp2.example.org:8443"
    assert main(["domain", "leave", "ocsp2.example.org"]) == 66


def test_on_an_embedded_clone_the_master_is_named(domain, capsys):
    """A change of a copy of the registry would be gone with the next one at the master."""
    store = domain.services.store
    (me,) = store.members()
    store.put_member(replace(a_clone(), clone=False, term=me.term + 1), None)
    for arguments in (["token"], ["leave", "ocsp2.example.org"]):
        assert main(["domain", *arguments]) == 78
        assert "ask the master: https://ocsp2.example.org:8443" in capsys.readouterr().err


def test_destroy_of_the_master_is_refused_before_it_is_stopped(domain, capsys, monkeypatch):
    """A command that comes to nothing stops no master."""
    monkeypatch.setattr("vouchd.cli.clone.commands.lifecycle.stop", lambda _: pytest.fail("it was stopped"))
    domain.joining().join(a_clone(), domain.token())
    assert main(["clone", "destroy"]) == 78
    assert "is the master" in capsys.readouterr().err
