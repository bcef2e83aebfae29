"""`vouchd create --directory`: an instance that keeps its facts in a directory server from the start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.ds389 import PASSWORD, SUFFIX, directories

from vouchd.cloning import directory_move
from vouchd.cloning.moving import copy_facts
from vouchd.directory.suffix import holds_facts
from vouchd.errors import StoreUnavailable
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.stores.ldap.store import DirectoryStore
from vouchd.wiring import instance
from vouchd.wiring import services as wiring

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def server():
    """A directory server with TLS and nothing in it."""
    with directories() as [directory]:
        yield directory


@pytest.fixture
def words(site, server) -> list[str]:
    """The options that name the server, and how it is reached."""
    secret = site.folder / "manager.password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    where = ["--directory", f"{server.url}/{server.suffix}", "--starttls", "--trust", str(server.trust)]
    return [*where, "--directory-password-file", str(secret)]


def empty(server) -> bool:
    """Whether no instance keeps facts in the server."""
    admin = server.admin()
    try:
        return not holds_facts(admin, server.suffix)
    finally:
        admin.close()


def left(site) -> list[str]:
    """What is in the folder but the files of the site."""
    return sorted({path.name for path in site.folder.iterdir()} - {"ca.pem", "signer.key", "signer.pem"})


def test_directory_that_refuses_leaves_nothing_behind(run, site, server, words):
    """A wrong password, a server that is away, no TLS name: no folder, no draft, no certificate, nothing in the server."""
    lab = site.folder / "lab"
    assert run("ca", "create", "--ca", lab, "--subject", "CN=Lab CA")[0] == 0
    before = left(site)
    (site.folder / "manager.password").write_text("not this one\n")
    assert run("create", "--ca", lab, *words)[0] == 75
    (site.folder / "manager.password").write_text(PASSWORD + "\n")
    words[1] = f"ldap://{server.host}:1/{server.suffix}"
    code, _, err = run("create", "--ca", lab, *words)
    assert (code, "is the directory server running?" in err) == (75, True)
    assert json.loads(run("ca", "certs", "--ca", lab, "--json")[1]) == []
    assert left(site) == before
    assert empty(server)


def test_password_of_the_manager_crosses_no_network_in_clear(run, site, words):
    """A plain connection to another host is refused before it is opened, with the two ways out."""
    plain = ["--directory", f"ldap://elsewhere.vouchd.test:389/{SUFFIX}", *words[-2:]]
    files = ["--signer-key", site.file("signer.key"), "--signer-cert", site.file("signer.pem")]
    code, _, err = run("create", *files, "--ca-cert", site.file("ca.pem"), *plain)
    assert (code, "would cross the network in clear" in err, "--starttls" in err) == (78, True, True)
    assert not site.instance.exists()


def test_signer_that_is_refused_leaves_nothing_in_the_directory(run, site, server, words):
    """What is wrong with the instance itself is found before the directory gets a fact of it."""
    stranger = site.folder / "stranger.pem"
    stranger.write_bytes(site.ca.pem)
    signer = ["--signer-key", site.folder / "signer.key", "--signer-cert", stranger, "--ca-cert", stranger]
    assert run("create", *signer, *words)[0] == 70
    assert not site.instance.exists()
    assert empty(server)


def test_copy_that_is_cut_short_is_taken_away_again(site, server, words, monkeypatch):
    """When the directory fails while facts are copied, the next attempt finds it as it was."""

    def cut(facts, source, target):
        copy_facts(facts, source, target)
        assert not empty(server)
        raise StoreUnavailable("cut short")

    monkeypatch.setattr(directory_move, "copy_facts", cut)
    assert site.create(*words) == 75
    assert not site.instance.exists()
    assert empty(server)


def test_instance_keeps_its_facts_there_and_the_server_is_taken(run, site, server, words, tmp_path):
    """One command makes it; CAs and users are in the server alone, and no second instance gets into its way."""
    assert site.create(*words) == 0
    layout = Layout(site.instance)
    settings = read_settings(layout)
    assert settings.directory is not None
    assert settings.directory.server.address == f"{server.host}:{server.port}"
    assert not settings.store.exists()
    instance.check_instance(layout, warn=pytest.fail)
    with wiring.services(layout) as services:
        assert isinstance(services.store, DirectoryStore)
        assert len(services.store.authorities()) == 1
    second = tmp_path / "second"
    code, _, err = run("create", "--instance", second, *words)
    assert (code, "vouchd clone create" in err) == (73, True)
    assert not second.exists()
    with wiring.services(layout) as services:  # the account's password is still the first one's
        assert len(services.store.authorities()) == 1
    assert PASSWORD not in Path(layout.cs_cfg).read_text() + Path(layout.password_conf).read_text()


def test_half_of_a_directory_is_refused(run, site):
    """Options about a directory server that none names are a mistake."""
    code, _, err = run("create", "--starttls")
    assert (code, "--directory" in err) == (78, True)
    assert not site.instance.exists()
