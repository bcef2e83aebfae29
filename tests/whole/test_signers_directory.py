"""A new signer in a set on directory servers: the key passes through them sealed, and nothing else does."""

from __future__ import annotations

import pytest
from tests.processes.running import eventually
from tests.whole.directory_sets import clone, directory_set
from tests.whole.key_search import places_of
from tests.whole.test_signers_of_a_set import SIGNER, key_of, ring, until_signs

from vouchd.core.facts import Transport

pytestmark = [pytest.mark.process, pytest.mark.directory]


def test_new_signer_passes_through_directory_servers_sealed(tmp_path):
    """Both members switch, alike to the last byte; no entry, log or database of any server has the key in clear."""
    with directory_set(tmp_path, Transport.STARTTLS) as (site, servers):
        site.revoke("bad")
        site.publish("m")
        site.run(*clone(site, "c", servers["c"], Transport.STARTTLS))
        site.run("signer", "renew", SIGNER, "--instance", "m", "--ca", "lab")
        until_signs(site, ("m", "c"), 2)
        for certificate in ("good", "bad"):
            site.until_says("c", certificate, site.says("m", certificate))
            assert site.said("c", certificate) == site.said("m", certificate)
        key = key_of(site, "m", 2)
        assert key_of(site, "c", 2).private_numbers() == key.private_numbers()
        assert places_of(key, site.folder, *(server.folder for server in servers.values())) == []
        eventually(lambda: all(not one.sealed for one in ring(site, "c").versions), "no sealed copy is left")
