"""Master and clones with a real 389 Directory Server each, which replicate; every command is a process of its own."""

from __future__ import annotations

import json
import re

import pytest
from tests.ds389 import Directory
from tests.processes.running import eventually
from tests.whole.clones import CloneSet
from tests.whole.directory_sets import clone, directory_set

from vouchd.core.facts import Transport

pytestmark = pytest.mark.process

STATE = r'vouchd_replication_state\{member="([^"]+)",server="[^"]+",state="(\w+)"\} (\S+)'


def require_alike(site: CloneSet, *names: str) -> None:
    """The documented test: the same lists, and the same answers to the last byte, once every worker has the last CRL."""
    first, *others = names
    for other in others:
        assert site.lists(other) == site.lists(first)
        for certificate in ("good", "bad"):
            eventually(
                lambda other=other, certificate=certificate: (
                    site.said(other, certificate) == site.said(first, certificate)
                ),
                lambda other=other, certificate=certificate: f"{other} and {first} say the same of {certificate}",
            )


@pytest.mark.parametrize("transport", list(Transport), ids=str)
def test_master_clone_and_clone_of_the_clone_are_alike_whoever_is_given_a_crl(tmp_path, transport):
    """A CRL that is given to any member is answered from by all, in each of the three kinds of connection."""
    with directory_set(tmp_path, transport, 3, running=transport is Transport.STARTTLS) as (site, servers):
        site.run(*clone(site, "c", servers["c"], transport))
        require_alike(site, "m", "c")
        site.revoke("bad")
        site.publish("m")
        site.until_says("c", "bad", "revoked")
        require_alike(site, "m", "c")
        site.prepare("c")
        by_certificate = ["--client-certificate", "subsystem"] if transport is Transport.STARTTLS else []
        if by_certificate:  # one of the three binds so, whose server trusts the CA of the set's certificates
            servers["d"].also_trust(site.folder / "lab" / "ca.crt")
        site.run(*clone(site, "d", servers["d"], transport), *by_certificate)
        assert ("authtype=SslClientAuth" in site.layout("d").cs_cfg.read_text()) == bool(by_certificate)
        site.revoke("good")
        site.publish("c")
        for name in ("m", "d"):
            site.until_says(name, "good", "revoked")
        require_alike(site, "m", "c", "d")
        site.publish("d")
        for name in ("m", "c"):
            eventually(lambda name=name: site.lists(name) == site.lists("d"), lambda: "the lists alike")
        require_alike(site, "m", "c", "d")
        site.run("clone", "verify", "--instance", "d")
        assert [site.setting(name, "ocsp.store.defStore.refreshInSec") for name in ("c", "d")] == ["21600", "21600"]
        require_replication_told(site, servers["d"])


def require_replication_told(site: CloneSet, server: Directory) -> None:
    """The master tells of each server, and within seconds that the one of `d`, which is killed here, is cut off."""

    def states() -> dict[str, str]:
        rows = re.findall(STATE, site.health("m", "/metrics")[1])
        return {member: state for member, state, on in rows if on == "1.0"}

    others = [site.id_of(name) for name in ("c", "d")]

    def why() -> str:
        checks = json.loads(site.health("m", "/readyz")[1])["checks"]
        return f"{states()}: {[check['detail'] for check in checks if check['name'] == 'replication']}"

    eventually(lambda: states() == dict.fromkeys(others, "green"), lambda: f"all green: {why()}")
    server.kill()
    eventually(lambda: states() == {others[0]: "green", others[1]: "red"}, lambda: f"one red: {why()}")
    status, body = site.health("m", "/readyz")
    [check] = [check for check in json.loads(body)["checks"] if check["name"] == "replication"]
    assert (status, check["ok"], check["required"]) == (200, False, False)
    assert server.host in check["detail"]
    assert "is the directory server running?" in check["detail"]
    page = site.ask("m", "GET", "/agent/clones")[1]
    assert (page.count("Not replicating"), page.count("Replicating</span>")) == (1, 1)
