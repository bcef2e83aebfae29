"""Somebody has the manager's password of one member's directory server, and writes into it what he likes."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import pytest
from tests.ds389 import PASSWORD, ROOT_DN
from tests.pki import CA, shared_key
from tests.processes.running import eventually
from tests.whole.directory_sets import clone, directory_set

from vouchd.audit.search import AuditReader
from vouchd.core.facts import Group, Transport, User
from vouchd.directory.connection import Change
from vouchd.directory.schema import EPOCH
from vouchd.stores.ldap.store import DirectoryStore

pytestmark = pytest.mark.process


def checked(site, name: str, check: str) -> tuple[int, dict]:
    """The status of /readyz, and one of its checks."""
    status, body = site.health(name, "/readyz")
    [one] = [one for one in json.loads(body)["checks"] if one["name"] == check]
    return status, one


def refused(site, name: str) -> set[str]:
    """What the audit log of a member says that it does not believe."""
    records = AuditReader(site.layout(name).audit_log).search(limit=10_000)
    return {str(record.detail["target"]) for record in records if record.event == "SEAL_VALIDATION"}


def at_first_sight(site, name: str) -> list[str]:
    """What a member has believed because it knew nothing yet."""
    records = AuditReader(site.layout(name).audit_log).search(limit=10_000)
    return [str(one.detail["target"]) for one in records if (one.event, one.outcome) == ("SEAL_VALIDATION", "success")]


def test_what_a_thief_of_one_directory_server_writes_is_believed_by_no_member(tmp_path):
    """A CRL issuer, an administrator and a member of his own change no answer and let nobody in, on any member."""
    with directory_set(tmp_path, Transport.PLAIN) as (site, servers):
        site.run(*clone(site, "c", servers["c"], Transport.PLAIN))
        assert not at_first_sight(site, "c")
        site.revoke("bad")
        site.publish("m")
        site.until_says("c", "bad", "revoked")
        lists = [site.lists(name) for name in ("m", "c")]
        thief = DirectoryStore(servers["c"].server(), ROOT_DN, PASSWORD)
        with closing(thief):
            (authority,) = thief.authorities()
            foreign = CA.create("Thief CA", key=shared_key(number=1))
            policy = replace(authority.policy, crl_issuers=(foreign.der,), not_found_as_good=True)
            thief.put_authority(replace(authority, policy=policy))
            thief.put_user(User("mallory", "Mallory", frozenset({Group.ADMINISTRATORS}), (foreign.der,)), None)
            (master,) = [member for member in thief.members() if not member.clone]
            thief.put_member(replace(master, host="ds4.vouchd.test", clone=True, directory=None), None)
            planted = {f"CA {authority.id}", "user mallory", f"member ds4.vouchd.test:{master.secure_port}"}
        for name in ("m", "c"):
            eventually(lambda name=name: refused(site, name) >= planted, lambda name=name: refused(site, name))
            eventually(lambda name=name: checked(site, name, "verified")[0] == 503, "not ready")
            assert "mallory" in checked(site, name, "verified")[1]["detail"]
            assert [user["id"] for user in site.json("user", "list", "--instance", name)] == ["admin", "subsystem"]
            assert site.members(name) == {site.id_of("m"): False, site.id_of("c"): True}
            assert site.says(name, "bad") == "revoked"
        assert [site.lists(name) for name in ("m", "c")] == lists
        assert "users are kept by the master" in site.refused("user", "add", "x", "--instance", "c")

        shown = site.json("directory", "doubts", "--instance", "m")
        assert {f"{one['kind']} {one['name']}" for one in shown} == planted
        site.run("directory", "doubts", "--restore", "--instance", "m")
        for name in ("m", "c"):
            eventually(lambda name=name: checked(site, name, "verified")[0] == 200, "ready again")
        assert site.json("directory", "doubts", "--instance", "c") == []

        # What he deletes is believed and answered from all the same, after a restart too, until it is put back.
        with closing(DirectoryStore(servers["c"].server(), ROOT_DN, PASSWORD)) as thief:
            thief.remove_authority(authority.id)
            thief.remove_user("subsystem")
            thief.remove_member(site.id_of("m"))
        gone = {f"CA {authority.id}", "user subsystem", f"member {site.id_of('m')}"}
        site.run("restart", "--instance", "c")
        for name in ("m", "c"):
            eventually(lambda name=name: refused(site, name) >= gone, lambda name=name: refused(site, name))
            eventually(lambda name=name: checked(site, name, "verified")[0] == 503, "not ready")
            assert site.says(name, "bad") == "revoked"
            assert site.members(name) == {site.id_of("m"): False, site.id_of("c"): True}
            assert [user["id"] for user in site.json("user", "list", "--instance", name)] == ["admin", "subsystem"]
        site.run("directory", "doubts", "--restore", "--instance", "m")
        for name in ("m", "c"):
            assert site.says(name, "bad") == "revoked"
        site.publish("m")
        for name in ("m", "c"):
            eventually(lambda name=name: checked(site, name, "verified")[0] == 200, "ready again")

        # A value that nobody can read costs the CA nothing but what it stood for, and no other CA anything.
        with closing(servers["c"].admin()) as admin:
            [entry] = admin.search("o=ocsp.example", scope="one", query=f"({EPOCH}=*)", attributes=["cn"])
            admin.modify(entry.dn, [Change("replace", EPOCH, (b"{",))])
        eventually(lambda: checked(site, "m", "verified")[0] == 503, "said")
        assert "lost the CRL" in checked(site, "m", "verified")[1]["detail"]
        assert [site.says(name, "bad") for name in ("m", "c")] == ["revoked", "revoked"]
        site.publish("m")
        for name in ("m", "c"):
            eventually(lambda name=name: checked(site, name, "verified")[0] == 200, "ready again")
