"""Verbs with `--url`: the same results over the agent port as on the folder."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.http.agent_port import crl
from tests.http.rest.conftest import EVERYBODY, opened
from tests.pki import CA, shared_key

from vouchd.cli.main import main
from vouchd.client.admin import told
from vouchd.errors import ClientError, CRLStale


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("remote") / "vouchd") as found:
        yield found


@pytest.fixture
def there(api, tmp_path, monkeypatch):
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


@pytest.mark.parametrize(
    "command", [["ca", "list"], ["crl", "list"], ["user", "list"], ["crl", "list", "--json"]], ids=" ".join
)
def test_list_is_the_same_over_the_port_and_on_the_folder(there, capsys, monkeypatch, command):
    """A script need not know where its answer comes from."""
    over_the_port = said(capsys, *command)
    monkeypatch.delenv("VOUCHD_URL")
    assert said(capsys, *command) == over_the_port


def test_ca_is_added_and_removed_over_the_port(there, api, capsys):
    """`vouchd ca add --url` and `remove` act on the instance behind the port."""
    (there / "other.pem").write_bytes(CA.create("Other CA", key=shared_key("EC", 23)).pem)
    made = json.loads(said(capsys, "ca", "add", str(there / "other.pem"), "--label", "Other", "--json"))
    assert {one.label for one in api.port.services.store.authorities()} == {"Site", "Other"}
    assert json.loads(said(capsys, "ca", "remove", "Other", "--json")) == made[0]
    assert {one.label for one in api.port.services.store.authorities()} == {"Site"}


def test_crl_is_added_and_fetched_over_the_port(there, api, capsys):
    """What was sent is served and comes back byte for byte; sent again it is refused with the same exit code."""
    newer = crl(api.site, {12: None, 13: None}, age=60)
    (there / "new.crl").write_bytes(newer)
    done = json.loads(said(capsys, "crl", "add", str(there / "new.crl"), "--json"))
    assert [(one["CA"], one["entries"], one["served"]) for one in done] == [("Site", 2, True)]
    said(capsys, "crl", "show", "Site", "--out", str(there / "out.crl"))
    assert (there / "out.crl").read_bytes() == newer
    assert main(["crl", "add", str(there / "new.crl")]) == 65


def test_status_tells_of_the_instance_behind_the_port(there, capsys):
    """`vouchd status --url` needs no access to the folder."""
    assert json.loads(said(capsys, "status", "--json"))["OCSP_port"] == 1


def test_url_without_certificate_is_refused_with_the_remedy(there, monkeypatch, capsys):
    """Nobody is let in without a certificate, so none is asked for in vain."""
    monkeypatch.delenv("VOUCHD_CERT")
    assert main(["ca", "list"]) == 78
    assert "--cert FILE" in capsys.readouterr().err


def test_server_that_is_not_trusted_is_refused(there, monkeypatch, capsys):
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
    assert type(told(problem)) is kind
