"""Private keys are where docs/set/keyring.md has them and nowhere else: those of files, tokens, CAs and servers."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.ds389 import HOSTS, identity
from tests.pki import DAY
from tests.ports import free_port
from tests.whole import key_table
from tests.whole.clones import PASSWORD, CloneSet, clone_set
from tests.whole.key_search import keys_in, places_of
from tests.whole.key_table import of_keys
from tests.whole.test_signers_of_a_set import SIGNER
from tests.whole.token_sets import TokenSet

from vouchd.directory import server
from vouchd.directory.nss import NICKNAME
from vouchd.directory.plan import ServerPlan, config_folder
from vouchd.instance.archive import open_archive
from vouchd.signing.pkcs12 import read_key_file
from vouchd.signing.sealing import public_key_hash

pytestmark = pytest.mark.process

SHARED = ("ocspSigningCert", "subsystem", "audit_signing")


def test_every_line_of_the_table_of_keys_is_shown_by_a_test():
    """The page names no key whose whereabouts no test looks at, and no test names a line that is not there."""
    assert set(key_table.lines()) == key_table.named()


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[CloneSet]:
    """A running master and its clone, and one file of each kind that keys are carried in."""
    with clone_set(tmp_path_factory.mktemp("set")) as made:
        made.make_prepared()
        made.run(*made.create("c"))
        words = ("--instance", "m", "--password-file", "keys.password")
        made.run("backup", "--out", "backup.p12", *words)
        made.run("pkcs12", "export", *SHARED, "sslserver", "admin", "--out", "all.p12", *words)
        made.run("backup", "--all", "--out", "whole.backup", *words)
        made.run("ca", "issue", "--ca", "lab", "--subject", "CN=www", "--out", "www.crt", "--key-out", "www.key")
        yield made


def hashes(keys) -> set[str]:
    """The public keys of these."""
    return {public_key_hash(key) for key in keys}


@of_keys("in `vouchd backup`, for a new clone", "subsystem and audit signing")
def test_keys_are_in_backups_and_pkcs12_files_encrypted_alone(pair):
    """A backup has the keys that all members have, none of a host or a person; whoever has no password finds no key."""
    ours = {name: keys_in(pair.layout(name)) for name in ("m", "c")}
    for file in ("keys.p12", "backup.p12"):
        bags = read_key_file(pair.folder / file, PASSWORD).bags
        assert hashes(bag.key for bag in bags) == hashes(ours["m"][f"{name}.key"] for name in SHARED)
    assert hashes(bag.key for bag in read_key_file(pair.folder / "all.p12", PASSWORD).bags) == hashes(
        ours["m"].values()
    )
    assert hashes(ours["m"].values()) & hashes(ours["c"].values()) == hashes(
        ours["m"][f"{name}.key"] for name in SHARED
    )
    sealed = open_archive(pair.folder / "whole.backup", PASSWORD).secret
    for name in ours["m"]:
        assert sealed[f"alias/{name}"] == (pair.layout("m").alias / name).read_bytes()
    for name, keys in ours.items():
        for file, key in keys.items():
            assert places_of(key, pair.folder) == [], f"{file} of {name} lies in clear"


@of_keys("of our own CA")
def test_key_of_our_ca_is_in_its_folder_alone(pair):
    """In clear nowhere, and no instance that it has certified has a file that opens to it."""
    key = pair.lab.key
    assert places_of(key, pair.folder) == []
    for name in ("m", "c"):
        assert public_key_hash(key) not in hashes(keys_in(pair.layout(name)).values())


@of_keys("made by `vouchd ca issue`")
def test_key_made_for_a_person_or_a_server_is_in_the_file_named_alone(pair):
    """It is handed out in clear, to its file, which is private."""
    file = pair.folder / "www.key"
    key = load_pem_private_key(file.read_bytes(), None)
    assert {Path(place.partition(": ")[0]) for place in places_of(key, pair.folder)} == {file}
    assert file.stat().st_mode & 0o077 == 0


@of_keys("on a token")
def test_key_on_a_token_is_in_no_file(tmp_path, hsm):
    """An instance signs with a key that the test knows: none of its files has it, nor its backup, nor those of the token."""
    with clone_set(tmp_path, TokenSet) as site:
        key = ec.generate_private_key(ec.SECP256R1())
        hsm.keep("ocsp", key)
        (tmp_path / "signer.pem").write_bytes(site.lab.issue_signer(key=key, not_after=int(time.time()) + 90 * DAY).pem)
        named = ("--signer-cert", "signer.pem", "--ca-cert", "lab/ca.crt")
        site.make_master("m", *site.on_token(), *named)
        (signer, *_) = site.answer("m", "good").certificates
        assert signer.public_key() == key.public_key()
        site.run("backup", "--all", "--out", "whole.backup", "--instance", "m", "--password-file", "keys.password")
        assert f"{SIGNER}.key" in {path.name for path in site.layout("m").alias.iterdir()}
        assert places_of(key, site.folder) == []


@of_keys("TLS server's of a directory server that `vouchd directory create` made")
def test_key_of_a_directory_server_is_in_its_database_alone():
    """Its NSS database opens with the password beside it, and no file of the server has the key in clear."""
    host, address = next(iter(HOSTS.items()))
    own = identity(host)
    key = load_pem_private_key(own.key_pem, None)
    with tempfile.TemporaryDirectory(prefix="ds") as parent:
        folder, user = Path(parent) / "d", pwd.getpwuid(os.geteuid()).pw_name
        ports = (free_port(address), free_port(address))
        plan = ServerPlan(host, "o=ocsp.example", *ports, listen=address, user=user, small=True, durable=False)
        server.create(folder, plan, "a password", own)
        assert places_of(key, folder) == []
        etc = config_folder(folder)
        assert (etc / "pwdfile.txt").stat().st_mode & 0o077 == 0
        (Path(parent) / "word").write_text("word")
        out = ["-o", f"{parent}/out.p12", "-n", NICKNAME, "-w", f"{parent}/word"]
        command = ["pk12util", "-d", f"sql:{etc}", "-k", etc / "pwdfile.txt", *out]
        subprocess.run(command, check=True, capture_output=True)
        (bag,) = read_key_file(Path(parent) / "out.p12", "word").bags
        assert public_key_hash(bag.key) == public_key_hash(key)
