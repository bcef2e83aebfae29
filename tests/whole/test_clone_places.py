"""The place of a clone: it is taken by one command that stops and goes on, given up, and taken again."""

from __future__ import annotations

import shutil

import pytest
from tests.processes.running import eventually
from tests.whole.clones import clone_set

from vouchd.instance.pidfile import running_pid

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A running master that is ready to be cloned."""
    with clone_set(tmp_path_factory.mktemp("set")) as made:
        made.make_prepared()
        yield made


@pytest.fixture
def site(master):
    """That one without a clone, and a token for one; so it is again after the test."""
    (master.folder / "token").unlink()
    master.run("domain", "token", "--instance", "m", "--out", "token")
    yield master
    if master.id_of("c") in master.members("m"):
        master.run("clone", "destroy", "--instance", "c", "--remove")
    shutil.rmtree(master.layout("c").root, ignore_errors=True)
    assert master.members("m") == {master.id_of("m"): False}


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


def test_running_clone_is_destroyed_over_its_port(site):
    """It leaves the set, answers who has ordered it, and stops; its folder stays."""
    site.run(*site.create("c"))
    keys, layout = site.administrator_s_keys(), site.layout("c")
    place = ["--url", f"https://{site.id_of('c')}", "--cert", str(keys), "--trust", "lab/ca.crt"]
    assert "--remove takes a folder" in site.refused("clone", "destroy", "--remove", *place)
    assert site.json("clone", "destroy", *place) == {"left": site.id_of("c"), "removed": None}
    eventually(lambda: running_pid(layout.pid_file) is None, "the clone stops")
    assert site.members("m") == {site.id_of("m"): False}
    assert layout.cs_cfg.exists()
