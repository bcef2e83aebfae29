"""A set on directory servers whose signing key is on a token that all its hosts reach."""

from __future__ import annotations

import pytest
from tests.processes.running import eventually
from tests.whole.test_clone_directory import require_alike
from tests.whole.test_signers_of_a_set import SIGNER, until_signs
from tests.whole.token_sets import TokenSet, directory_of, token_set

from vouchd.core.facts import Transport

pytestmark = [pytest.mark.process, pytest.mark.directory]

MEMBERS = ("m", "c")


def require_one_set(site: TokenSet) -> None:
    """The lists, the bytes and the ETags of all members are the same, and the members find so themselves."""
    for certificate in ("good", "bad"):
        site.until_says("c", certificate, site.says("m", certificate))
    require_alike(site, *MEMBERS)
    assert all(len(site.etags(MEMBERS, certificate)) == 1 for certificate in ("good", "bad"))
    eventually(lambda: site.done("clone", "verify", "--instance", "c", code=None).returncode == 0, "members are alike")


def test_set_on_directory_servers_signs_with_one_token_and_renews_there(tmp_path, hsm):
    """Master and clone each have a server of their own and the token in common; no key is in a file, an entry or PKCS #12.

    A new signer is made on the token by the master, found there by the clone, and switched to by both.
    """
    with token_set(tmp_path, Transport.STARTTLS) as (site, servers):
        on_directory = {name: directory_of(server, Transport.STARTTLS) for name, server in servers.items()}
        site.make_master("m", *site.on_token(), "--algorithm", "SHA256withRSA", *on_directory["m"])
        site.revoke("bad")
        site.publish("m")
        site.create_on_token("c", *on_directory["c"])
        site.until_says("c", "bad", "revoked")
        require_one_set(site)
        before = site.etags(MEMBERS, "good")
        site.run("signer", "renew", SIGNER, "--instance", "m", "--ca", "lab")
        until_signs(site, MEMBERS, 2)
        require_one_set(site)
        assert site.etags(MEMBERS, "good") != before
        assert len(site.json("token", "show", "ocsp", "--instance", "c")["keys"]) == 2
        for name in MEMBERS:
            files = list(site.layout(name).alias.glob(f"{SIGNER}*.key"))
            assert len(files) == 2
            assert all(b"PRIVATE KEY" not in path.read_bytes() for path in files)
        assert {path.name for path in site.folder.rglob("*.p12")} == {"admin.p12"}  # a person's, not of the set
