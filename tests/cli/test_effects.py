"""Every command that adds or changes says so when what it was to make is there already; its exit code is 0."""

from __future__ import annotations

import pytest
from tests.cli.test_certs import certified
from tests.pki import CA, shared_key

SAID = "it was there already, just so: nothing was changed"


def install(instance) -> list[str]:
    root = CA.create("TLS root", key=shared_key("EC", 34))
    (instance.folder / "root.pem").write_bytes(root.pem)
    return ["sslserver", certified(instance, "sslserver.csr", ca=root), "--chain", instance.file("root.pem")]


VERBS = {
    "authority add": lambda site: [site.file("ca.pem"), "--label", "site"],
    "authority set": lambda _: ["CN=Site CA", "--expired-crl", "unknown"],
    "user add": lambda site: ["grace", "--group", "auditors", "--cert", site.file("signer.pem")],
    "user certs": lambda site: ["alice", "--add", site.file("signer.pem")],
    "user groups": lambda _: ["alice", "--add", "agents"],
    "user enable": lambda _: ["alice"],
    "user disable": lambda _: ["alice"],
    "certs install": install,
}


@pytest.mark.parametrize("verb", VERBS)
def test_command_done_twice_says_that_nothing_was_changed(instance, run, verb):
    """The first time it says nothing of the kind, the second time it does, and both end with exit code 0."""
    run("user", "add", "alice", "--group", "auditors")
    if verb == "user enable":
        run("user", "disable", "alice")
    command = [*verb.split(), *VERBS[verb](instance)]
    code, _, err = run(*command)
    assert (code, SAID in err) == (0, False), err
    code, _, err = run(*command)
    assert (code, SAID in err) == (0, True), err


def test_crl_added_twice_says_that_it_is_held_already(instance, run):
    """A CRL that is held already is told as what it is, with exit code 0."""
    crl = instance.crl("site.crl", {5: None})
    assert run("crl", "add", crl)[0] == 0
    code, _, err = run("crl", "add", crl)
    assert code == 0
    assert "already" in err
