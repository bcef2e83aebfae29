"""Master and clones with a real 389 Directory Server each, which replicate; every command is a process of its own."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from tests.ds389 import HOSTS, PASSWORD, SUFFIX, Directory, directories
from tests.whole.clones import CloneSet, clone_set

from vouchd.core.facts import Transport

pytestmark = pytest.mark.process

NAMES = ("m", "c", "d")


@contextmanager
def directory_set(folder, transport: Transport, count: int = 2):
    """A master that is ready to be cloned, and directory servers for it and for `count - 1` clones."""
    hosts = list(HOSTS)[:count]
    with directories(*hosts, tls=transport is not Transport.PLAIN) as servers, clone_set(folder) as made:
        made.hosts = {name: (host, HOSTS[host]) for name, host in zip(NAMES, hosts, strict=False)}
        made.write("manager.password", PASSWORD)
        made.make_master()
        url, *rest = reached(servers[0], transport)
        made.run("directory", "use", "--instance", "m", "--url", url, *rest, "--password-file", "manager.password")
        made.prepare()
        yield made, dict(zip(NAMES, servers, strict=False))


def reached(server: Directory, transport: Transport, prefix: str = "") -> list[str]:
    """The URL of a server in that transport and the options that belong to it."""
    url = f"{server.secure_url if transport is Transport.TLS else server.url}/{SUFFIX}"
    starttls = ["--starttls"] if transport is Transport.STARTTLS else []
    trust = [f"--{prefix}trust", str(server.trust)] if transport is not Transport.PLAIN else []
    return [url, *starttls, *trust]


def clone(site: CloneSet, name: str, server: Directory, transport: Transport) -> list[str]:
    """The words of `clone create` with that server."""
    url, *rest = reached(server, transport, "directory-")
    return site.create(name, "--directory", url, *rest, "--directory-password-file", "manager.password")


def require_alike(site: CloneSet, *names: str) -> None:
    """The documented test: the same lists, and the same answers to the last byte."""
    first, *others = names
    for other in others:
        assert site.lists(other) == site.lists(first)
        for certificate in ("good", "bad"):
            assert site.said(other, certificate) == site.said(first, certificate)


@pytest.mark.parametrize("transport", list(Transport), ids=str)
def test_clone_gets_what_is_published_to_the_master_and_gives_what_it_gets(tmp_path, transport):
    """A CRL that is given to either member is answered from by both, in each of the three kinds of connection."""
    with directory_set(tmp_path, transport) as (site, servers):
        site.run(*clone(site, "c", servers["c"], transport))
        require_alike(site, "m", "c")
        site.revoke("bad")
        site.publish("m")
        site.until_says("c", "bad", "revoked")
        require_alike(site, "m", "c")
        site.revoke("good")
        site.publish("c")
        site.until_says("m", "good", "revoked")
        require_alike(site, "m", "c")
        assert site.setting("c", "ocsp.store.defStore.refreshInSec") == "21600"


def test_clone_of_a_clone_replicates_with_all(tmp_path):
    """A third member is made from the clone; what it is given reaches the master and the clone."""
    plain = Transport.PLAIN
    with directory_set(tmp_path, plain, 3) as (site, servers):
        site.run(*clone(site, "c", servers["c"], plain))
        site.prepare("c")
        site.run(*clone(site, "d", servers["d"], plain))
        site.revoke("bad")
        site.publish("d")
        for name in ("m", "c"):
            site.until_says(name, "bad", "revoked")
        require_alike(site, "m", "c", "d")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--directory", f"ldap://localhost:389/{SUFFIX}"), "localhost"),
        (("--directory", "ldap://ds2.vouchd.test:389/o=other.example"), "suffix"),
        (("--directory", f"ldaps://ds2.vouchd.test:636/{SUFFIX}"), "kind of connection"),
        (("--directory", f"ldap://ds2.vouchd.test:1/{SUFFIX}"), "is the directory server running"),
        ((), "directory server"),
    ],
    ids=["localhost", "another suffix", "another transport", "nobody there", "embedded store"],
)
def test_mistake_about_the_directory_is_told_before_anything_is_done(prepared, words, said):
    """Each documented mistake is an error that names it; nothing is left behind and the master serves."""
    site, _ = prepared
    before = site.members("m")
    more = (*words, "--directory-password-file", "manager.password") if words else ()
    assert said in site.refused(*site.create("c", *more))
    assert not site.layout("c").root.exists()
    assert site.members("m") == before
    assert site.says("m", "good") == "good"


def test_directory_of_the_master_is_refused_for_the_clone(prepared):
    """Two members on one server would be no copy."""
    site, servers = prepared
    assert "of its own" in site.refused(*clone(site, "c", servers["m"], Transport.PLAIN))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A master with a directory server, ready to be cloned; tests only fail to."""
    with directory_set(tmp_path_factory.mktemp("set"), Transport.PLAIN, 1) as made:
        made[0].hosts["c"] = ("ds2.vouchd.test", HOSTS["ds2.vouchd.test"])
        yield made
