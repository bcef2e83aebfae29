"""A clone that keeps its facts in a file: made by one command, the same answers, taken away, made the master."""

from __future__ import annotations

import pytest
from tests.http.running import eventually
from tests.whole.clones import clone_set

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A running master and its clone, which tests only look at."""
    with clone_set(tmp_path_factory.mktemp("pair")) as made:
        made.make_prepared()
        made.run(*made.create("c"))
        yield made


@pytest.fixture
def site(tmp_path):
    """A running master that is ready to be pair."""
    with clone_set(tmp_path) as made:
        made.make_prepared()
        yield made


def test_clone_lists_and_answers_what_the_master_does(pair):
    """The documented test: the lists of CAs are the same, and so are the answers to the last byte."""
    assert pair.lists("c") == pair.lists("m")
    assert [pair.says("c", name) for name in ("good", "bad")] == ["good", "revoked"]
    for name in ("good", "bad"):
        assert pair.said("c", name) == pair.said("m", name)


def test_clone_is_marked_by_its_refresh(pair):
    """refreshInSec is 21600 on the clone and another number, not 0, on the master."""
    assert pair.setting("c", "ocsp.store.defStore.refreshInSec") == "21600"
    assert pair.setting("m", "ocsp.store.defStore.refreshInSec") == "600"


def test_both_members_know_each_other(pair):
    """The registry is the same on both: one master, one clone."""
    wanted = {pair.id_of("m"): False, pair.id_of("c"): True}
    assert pair.members("m") == pair.members("c") == wanted


def test_keys_and_journal_are_the_owners_alone(pair):
    """Whatever `clone create` writes of keys, passwords and progress is readable by its owner alone."""
    layout = pair.layout("c")
    secret = [layout.password_conf, layout.cs_cfg, layout.root / "clone.json", *layout.alias.glob("*.key")]
    assert len(secret) > 5
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    token = (pair.folder / "token").read_text().strip()
    assert not [path for path in layout.root.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


def test_create_again_changes_nothing(pair):
    """The same command once more finds everything done."""
    before = pair.layout("c").cs_cfg.read_bytes(), pair.members("m")
    pair.run(*pair.create("c"))
    assert (pair.layout("c").cs_cfg.read_bytes(), pair.members("m")) == before


def test_certificate_request_stops_and_goes_on(site):
    """Without a CA at hand the command stops with the request, and goes on once the certificate is there."""
    words = site.create("c")
    without_ca = [word for word in words if word not in {"--ca", "lab"}]
    said = site.refused(*without_ca)
    assert "vouchd certs install sslserver" in said
    request = next(site.layout("c").alias.glob("sslserver*.csr"))
    site.run("ca", "issue", "--ca", "lab", "--csr", str(request), "--profile", "server", "--out", "tls.crt")
    site.run("certs", "install", "sslserver", "tls.crt", "--instance", "c", "--no-restart")
    site.run(*without_ca)
    assert site.said("c", "bad") == site.said("m", "bad")


def test_destroy_leaves_the_master_and_the_place(site):
    """After destroy the registry knows the master alone, the folder is gone, and the place may be taken again."""
    site.run(*site.create("c"))
    site.run("clone", "destroy", "--instance", "c", "--remove")
    assert site.members("m") == {site.id_of("m"): False}
    assert not site.layout("c").root.exists()
    assert site.says("m", "bad") == "revoked"
    site.prepare()
    site.run(*site.create("c"))
    assert site.said("c", "bad") == site.said("m", "bad")


def until_clone(site, name: str) -> None:
    """The member takes itself for a clone, in its CS.cfg and in its registry."""
    refresh = "ocsp.store.defStore.refreshInSec"
    eventually(lambda: site.setting(name, refresh) == "21600", f"{name} marks itself a clone")
    eventually(lambda: site.members(name).get(site.id_of(name)), f"{name} knows that it is a clone")


def test_promote_moves_the_role(site):
    """The clone becomes the master and the master a clone; refreshInSec says so on both, and CRLs flow the other way."""
    site.run(*site.create("c"))
    site.run("clone", "promote", "--instance", "c")
    until_clone(site, "m")
    wanted = {site.id_of("m"): True, site.id_of("c"): False}
    assert site.members("m") == site.members("c") == wanted
    assert site.setting("c", "ocsp.store.defStore.refreshInSec") == "600"
    site.revoke("good")
    site.publish("c")
    site.until_says("m", "good", "revoked")
    assert site.said("c", "good") == site.said("m", "good")


def test_master_that_comes_back_takes_itself_for_a_clone(site):
    """The role of a dead master moves only by force; back again it follows the new one, with the CRLs it has missed."""
    site.run(*site.create("c"))
    site.kill("m")
    assert "--force" in site.refused("clone", "promote", "--instance", "c")
    assert site.members("c")[site.id_of("c")]
    site.run("clone", "promote", "--instance", "c", "--force")
    assert not site.members("c")[site.id_of("c")]
    site.revoke("good")
    site.publish("c")
    site.run("start", "--instance", "m")
    until_clone(site, "m")
    site.until_says("m", "good", "revoked")
    assert site.members("m") == site.members("c")


def test_second_clone_is_prepared_by_the_master(pair):
    """A clone without a directory sends the administrator to the master; the clone made there answers the same."""
    assert pair.id_of("m") in pair.refused(
        *("clone", "prepare", "--instance", "c", "--out", "k.p12", "--password-file", "keys.password")
    )
    assert not (pair.folder / "k.p12").exists()
    pair.prepare()
    pair.run(*pair.create("d"))
    assert pair.said("d", "bad") == pair.said("m", "bad")
    assert pair.members("m") == {pair.id_of("m"): False, pair.id_of("c"): True, pair.id_of("d"): True}
