"""The steps of docs/set/stolen-member.md for a member in wrong hands, walked on real directory servers.

The thief has its whole folder, with its own key and the keys of the set, its directory server, and the password of the
manager of another one besides.
"""

from __future__ import annotations

import shutil
from contextlib import closing, suppress
from dataclasses import replace

import pytest
from tests.ds389 import PASSWORD, ROOT_DN, SUFFIX, Directory
from tests.processes.running import eventually
from tests.whole.clones import CloneSet
from tests.whole.directory_sets import clone, directory_set
from tests.whole.test_directory_thief import refused
from tests.whole.test_renewed_set import SIGNER, key, renews, waits

from vouchd.audit.search import AuditReader
from vouchd.cloning.believing import MemberSeals
from vouchd.cloning.client import PeerClient, connector
from vouchd.core.facts import Transport
from vouchd.directory import replica
from vouchd.directory.config_entries import REPLICATION_DN
from vouchd.directory.connection import Connection, Credentials
from vouchd.errors import NotFound, PermissionDenied, StoreUnavailable
from vouchd.instance.certificates.places import AUDIT_SIGNING, SUBSYSTEM
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import REPLICATIONDB, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.stores.ldap.store import DirectoryStore
from vouchd.wiring.services import open_store, seals_of

pytestmark = pytest.mark.process


def password_of(site: CloneSet, name: str) -> str:
    return read_passwords(site.layout(name).password_conf)[REPLICATIONDB]


def takes(server: Directory, password: str) -> bool:
    """Whether a server lets in who comes to it as the replication account with that password."""
    with suppress(StoreUnavailable):
        Connection(server.server(), Credentials(REPLICATION_DN, password)).close()
        return True
    return False


def stolen_seals(layout: Layout) -> MemberSeals:
    """What seals with the key in a stolen folder."""
    with closing(open_store(layout, read_settings(layout))) as store:
        seals = seals_of(store)
    assert seals is not None
    return seals


def test_steps_after_a_member_with_a_directory_server_fell_into_wrong_hands(tmp_path):
    """After each step what it was to end has ended, and those who stay go on."""
    with directory_set(tmp_path, Transport.PLAIN, 3) as (site, servers):
        for name in ("c", "d"):
            site.run(*clone(site, name, servers[name], Transport.PLAIN))
            site.prepare()
        stolen = Layout(site.folder / "stolen")
        shutil.copytree(site.layout("d").root, stolen.root, ignore=shutil.ignore_patterns(".*.part"))  # it runs
        before = password_of(site, "d")
        assert before == password_of(site, "m")
        assert takes(servers["m"], before)
        with closing(DirectoryStore(servers["m"].server(), ROOT_DN, PASSWORD)) as store:
            master = next(member for member in store.members() if not member.clone)
        thief = connector(stolen, read_settings(stolen))(master)
        assert thief.info().told_by.id == site.id_of("m")
        token = (site.folder / "token").read_text().strip()
        stranger = PeerClient(master.host, master.secure_port, master.tls_sha256)
        assert stranger.check(token)

        for name in ("m", "c"):
            renews(site, name, SIGNER, SUBSYSTEM, AUDIT_SIGNING)
        had = {name: key(stolen, name) for name in (SIGNER, SUBSYSTEM, AUDIT_SIGNING)}
        site.run("domain", "leave", site.id_of("d"), "--renew", "--instance", "m")  # step 1
        for ask in (thief.info, thief.replication_password):
            with pytest.raises(PermissionDenied):
                ask()
        with pytest.raises(NotFound):
            stranger.check(token)
        kept = ("m", "c")
        eventually(
            lambda: (
                before not in {password_of(site, name) for name in kept}
                and len(set(map(password_of, [site] * 2, kept))) == 1
            ),
            "both members have one new password",
        )
        now = password_of(site, "m")
        for name in kept:
            eventually(lambda name=name: takes(servers[name], now), f"{name} takes the new password")
            eventually(lambda name=name: not takes(servers[name], before), f"{name} refuses the one before")
        with closing(servers["m"].admin()) as admin:
            assert [one.host for one in replica.agreements(admin, SUFFIX)] == [servers["c"].host]
        site.revoke("bad")
        site.publish("m")
        site.until_says("c", "bad", "revoked")
        site.revoke("good")
        site.publish("c")
        site.until_says("m", "good", "revoked")

        # What it seals is believed no more, even where it can still write.
        forged = DirectoryStore(servers["c"].server(), ROOT_DN, PASSWORD, seals=stolen_seals(stolen))
        with closing(forged):
            (authority,) = forged.authorities()
            forged.put_authority(replace(authority, label="stolen"))
        for name in kept:
            eventually(lambda name=name: f"CA {authority.id}" in refused(site, name), f"{name} does not believe it")
            assert [one["label"] for one in site.json("ca", "list", "--instance", name)] == [authority.label]

        recorded = AuditReader(site.layout("m").audit_log).search(limit=10_000)  # step 3
        removals = [one for one in recorded if one.event == "SECURITY_DOMAIN_UPDATE"]
        assert site.id_of("d") in {one.detail.get("host") for one in removals}
        assert len(site.json("directory", "doubts", "--instance", "m")) == 1
        site.run("directory", "doubts", "--restore", "--instance", "m")
        assert site.json("directory", "doubts", "--instance", "m") == []
        for step in ("request", "certify", "switch", "own"):  # what --renew does
            eventually(lambda step=step: step not in waits(site, "m"), f"{step} is done")
        eventually(lambda: site.json("domain", "renewal", "--instance", "m") == [], "all that it knew is renewed")
        for name in kept:
            layout = site.layout(name)
            eventually(lambda layout=layout: key(layout, SIGNER) != had[SIGNER], f"{name} signs with the new key")
            assert all(key(layout, own) != had[own] for own in (SUBSYSTEM, AUDIT_SIGNING))
        site.run("clone", "verify", "--instance", "c")
