"""An instance whose signing key is on a token: made, answering through faults of the token, never telling the PIN."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.faults.page import FaultTable
from tests.processes.running import eventually
from tests.softhsm import MODULE, PIN, meddling_module
from tests.whole.token_sets import TokenSet

from vouchd.cloning.client import PeerClient, address_of
from vouchd.errors import BadInput
from vouchd.instance.lifecycle import status
from vouchd.signing.sealing import SealingKey

pytestmark = pytest.mark.process
TABLE = FaultTable.of("a token")


@pytest.fixture
def tokens(tmp_path, hsm) -> TokenSet:
    """A CA and a token, no instance yet."""
    made = TokenSet(tmp_path)
    yield made
    for name in ("m", "c"):
        if made.layout(name).pid_file.exists():
            made.done("stop", "--instance", name, code=None)


def test_instance_with_a_key_on_a_token_is_made_and_answers(tokens, hsm):
    """One command makes key and instance; the key is on the token alone, and CS.cfg says so as the Certificate System does."""
    tokens.make_master("m", *tokens.on_token(), "--algorithm", "SHA256withRSA")
    tokens.revoke("bad")
    tokens.publish("m")
    eventually(tokens.says_revoked, "an answer")
    layout = tokens.layout("m")
    assert "ocsp.signing.tokenname=hardware-ocsp\n" in layout.cs_cfg.read_text()
    assert b"PRIVATE KEY" not in (layout.alias / "ocspSigningCert.key").read_bytes()
    shown = tokens.json("token", "show", "ocsp", "--instance", "m")
    assert [key["label"] for key in shown["keys"]] == ["ocspSigningCert"]
    assert shown["named"] == {"ocspSigningCert": True}
    (tested,) = tokens.json("token", "test", "ocsp", "--instance", "m")
    assert (tested["key"], tested["result"]) == ("ocspSigningCert", "good")

    def listed() -> tuple[str, str]:
        (token,) = tokens.json("token", "list", "--instance", "m")
        return token["token"], token["state"]

    eventually(lambda: listed() == ("hardware-ocsp", "good"), listed)
    (present,) = tokens.json("selftest", "run", "OCSPPresence", "--instance", "m")
    assert "ocspSigningCert on hardware-ocsp" in present["detail"]
    assert {one["label"] for one in tokens.json("token", "list", "--module", str(MODULE))} == {"ocsp"}
    kept = [path for path in layout.root.rglob("*") if path.is_file() and PIN.encode() in path.read_bytes()]
    assert kept == [layout.password_conf]


def test_instance_is_made_for_a_key_that_is_there_by_its_certificate(tokens, hsm):
    """A key that somebody has made on the token is found by the public key of its certificate."""
    tokens.run("create", "--instance", "first", *tokens.on_token(), "--ca", "lab", "--nickname", "old")
    certificate = tokens.layout("first").alias / "old.pem"
    command = ["create", "--instance", "m", *tokens.on_token(), "--signer-cert", str(certificate)]
    tokens.run(*command, "--ca-cert", "lab/ca.crt", "--nickname", "old")
    assert tokens.json("token", "show", "ocsp", "--instance", "m")["named"] == {"old": True}


def test_creation_that_fails_leaves_no_key_on_the_token(tokens, hsm):
    """What was made for an instance that did not come about is taken back."""
    tokens.run("create", "--instance", "m", *tokens.on_token(), "--ca", "lab")
    before = tokens.json("token", "show", "ocsp", "--instance", "m")["keys"]
    tokens.run("ca", "create", "--ca", "other", "--subject", "CN=Other CA")
    wrong = ["create", "--instance", "n", *tokens.on_token(), "--ca", "lab", "--ca-cert", "other/ca.crt"]
    assert "Other CA" in tokens.refused(*wrong)
    assert tokens.json("token", "show", "ocsp", "--instance", "m")["keys"] == before


def test_backup_of_a_key_on_a_token_tells_what_to_do_instead(tokens, hsm):
    """A PKCS #12 file cannot hold it: the command says so by name, and writes nothing."""
    tokens.run("create", "--instance", "m", *tokens.on_token(), "--ca", "lab")
    tokens.write("password", "secret")
    words = ["pkcs12", "export", "ocspSigningCert", "--out", "out.p12", "--password-file", "password"]
    said = tokens.refused(*words, "--instance", "m")
    assert "the key ocspSigningCert is on hardware-ocsp and does not leave it" in said
    assert "needs no file" in said
    assert not (tokens.folder / "out.p12").exists()


def test_new_key_of_a_signer_on_a_token_is_made_there(tokens, hsm):
    """A request makes its key where the present one is; the certificate is installed by it and the instance goes on."""
    tokens.make_master("m", *tokens.on_token())
    shown = {one["name"]: one["key"] for one in tokens.json("certs", "list", "--instance", "m")}
    assert (shown["ocspSigningCert"], shown["sslserver"]) == ("hardware-ocsp", "file")
    made = tokens.json("certs", "request", "ocspSigningCert", "--instance", "m")
    assert len(tokens.json("token", "show", "ocsp", "--instance", "m")["keys"]) == 2
    tokens.run("ca", "issue", "--ca", "lab", "--csr", made["request"], "--profile", "ocsp-signing", "--out", "new.pem")
    tokens.run("certs", "install", "ocspSigningCert", "new.pem", "--instance", "m")
    alias = tokens.layout("m").alias
    assert b"PRIVATE KEY" not in (alias / "ocspSigningCert-2.key").read_bytes()
    eventually(lambda: tokens.query("m", "good") == "good", "an answer by the new key")
    assert {one["result"] for one in tokens.json("token", "test", "ocsp", "--instance", "m")} == {"good"}


@pytest.mark.parametrize("fault", ["hang", "wrong", "locked"])
def test_instance_whose_token_fails_answers_try_later_and_goes_on_by_itself(tokens, hsm, fault):
    """Whatever the token does there is no wrong answer and no HTTP 5xx, and when it works again it is used again."""
    tokens.make_master("m", *tokens.on_token(meddling_module()), "--algorithm", "SHA256withRSA")
    tokens.revoke("bad")
    tokens.publish("m")
    eventually(lambda: tokens.says_revoked("m"), "an answer")
    eventually(lambda: tokens.says_revoked(nonce=False), "an answer that is kept")
    hsm.order(fault)
    for session in sessions_of(tokens, "m"):
        os.kill(session, 9)
    eventually(lambda: tokens.query("m", "good") == "tryLater", "tryLater")
    assert tokens.says_revoked(nonce=False)  # from the cache, at once
    eventually(tokens.tells, "the state of the token")
    assert "token ocsp" in tokens.run("status", "--instance", "m")
    hsm.order()
    eventually(tokens.says_revoked, "an answer")
    eventually(lambda: not tokens.tells(), "the token in use")
    assert "token ocsp" not in tokens.run("status", "--instance", "m")
    log = tokens.layout("m").log.read_text()
    assert PIN not in log


@TABLE.fault(
    "what starts the sessions of a worker is killed",
    "tryLater for its CAs where it was the only worker, else by the others",
    "the log; `vouchd_worker_restarts_total`",
    "by itself: the worker gives way to another one",
)
def test_worker_that_can_open_no_session_any_more_gives_way_to_another_one(tokens, hsm):
    """A confined worker can start no program: one whose launcher was killed would answer tryLater for ever."""
    tokens.make_master("m", *tokens.on_token(), "--algorithm", "SHA256withRSA")
    tokens.revoke("bad")
    tokens.publish("m")
    eventually(tokens.says_revoked, "an answer")
    (worker,) = (one.pid for one in status(tokens.layout("m")).report.workers)
    for launcher in launchers_of(worker):
        for pid in (*children(launcher), launcher):
            os.kill(pid, 9)
    eventually(tokens.says_revoked, "an answer")
    eventually(lambda: worker not in [one.pid for one in status(tokens.layout("m")).report.workers], "another worker")
    assert "gives way to another one" in tokens.layout("m").log.read_text()


def launchers_of(pid: int) -> list[int]:
    """The processes that start sessions of tokens for that one."""
    return [child for child in children(pid) if b"token.launcher" in command_line(child)]


def sessions_of(tokens: TokenSet, name: str) -> list[int]:
    """The processes that those of an instance have sessions of the token in."""
    report = status(tokens.layout(name)).report
    parents = [report.pid, *(worker.pid for worker in report.workers)]
    return [child for pid in parents for launcher in launchers_of(pid) for child in children(launcher)]


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# A clone on the same token.


def make_clone(tokens: TokenSet, algorithm: str) -> dict:
    """A master on the token that revokes `bad`, and a clone that finds the keys there; the verdict of `clone verify`."""
    tokens.make_master("m", *tokens.on_token(), "--algorithm", algorithm)
    tokens.revoke("bad")
    tokens.publish("m")
    tokens.create_on_token("c")
    return verified(tokens)


def verified(tokens: TokenSet) -> dict:
    """The verdict of `clone verify`, once it finds the members alike: on a busy host two answers differ by a second."""
    done = eventually(
        lambda: (one := tokens.done("clone", "verify", "--instance", "c", "--json", code=None)).returncode == 0 and one,
        "members are alike",
    )
    (verdict,) = json.loads(done.stdout)
    return verdict


def test_clone_finds_the_keys_on_the_token_and_answers_byte_for_byte(tokens, hsm):
    """The documented way: keys on an HSM that the clone reaches are picked up, no file is carried; lists and answers agree.

    So they are when the signer is renewed: both members change to a new key that one of them makes there.
    """
    verdict = make_clone(tokens, "SHA256withRSA")
    assert verdict["differences"] == 0
    assert verdict["bytes"] == verdict["bytes_asked"] > 0
    eventually(lambda: tokens.says_revoked("m"), "an answer")
    eventually(lambda: tokens.says_revoked("c"), "an answer")
    assert not list(tokens.folder.glob("*.p12"))
    clone, master = tokens.layout("c"), tokens.layout("m")
    assert "ocsp.signing.tokenname=hardware-ocsp\n" in clone.cs_cfg.read_text()
    assert b"PRIVATE KEY" not in (clone.alias / "ocspSigningCert.key").read_bytes()
    for name in ("subsystem", "audit_signing"):
        assert (clone.alias / f"{name}.pem").read_bytes() == (master.alias / f"{name}.pem").read_bytes()
    assert len(tokens.json("token", "show", "ocsp", "--instance", "c")["keys"]) == 1
    exported = [json.loads(line) for line in master.audit_log.read_text().splitlines()]
    (handed,) = [one for one in exported if one["event"] == "PRIVATE_KEY_EXPORT"]
    assert handed["detail"]["certificates"] == "subsystem,audit_signing"
    renew_on_the_token(tokens)


def renew_on_the_token(tokens: TokenSet) -> None:
    """A new key is made on the token by one member, found there by the other, and both change to it; no key is sealed."""
    tokens.run("signer", "renew", "ocspSigningCert", "--ca", "lab", "--instance", "m")

    def switched(name: str) -> bool:
        (shown,) = tokens.json("signer", "list", "--instance", name)
        newest = shown["versions"][-1]
        return (newest["number"], newest["key"], newest["state"]) == (2, "ocsp", "current")

    eventually(lambda: switched("m") and switched("c"), "both members sign with the new key")
    for name in ("m", "c"):
        keys = list(tokens.layout(name).alias.glob("ocspSigningCert*.key"))
        assert len(keys) == 2
        assert all(b"PRIVATE KEY" not in path.read_bytes() for path in keys)
        eventually(lambda name=name: tokens.says_revoked(name), "an answer by the new key")
    assert len(tokens.json("token", "show", "ocsp", "--instance", "m")["keys"]) == 2
    verified(tokens)


def test_clone_with_ecdsa_on_the_token_agrees_in_all_that_is_signed(tokens, hsm):
    """ECDSA of a token is not deterministic: members agree in ResponseData, each answer verifies, and the ETag is one, weak."""
    verdict = make_clone(tokens, "SHA256withEC")
    assert verdict["differences"] == 0
    assert verdict["ResponseData"] == verdict["asked"] > 0
    for certificate in ("good", "bad"):
        (tag,) = eventually(
            lambda name=certificate: len(tags := tokens.etags(("m", "c"), name)) == 1 and tags, "one ETag of both"
        )
        assert tag.startswith('W/"')


def test_clone_that_does_not_reach_the_key_is_refused_before_anything_is_made(tokens, hsm):
    """A token of another set is told by the keys that it lacks; the master hands nothing out."""
    tokens.make_master("m", *tokens.on_token())
    hsm.add("other")
    prepare = ["clone", "prepare", "--instance", "m", "--host", tokens.host("m")[0], "--token-out", "token"]
    prepared = tokens.json(*prepare)
    said = tokens.refused(
        *("clone", "create", "--instance", "c", "--host", tokens.host("c")[0], "--token-file", "token", "--ca", "lab"),
        *("--master", prepared["master"], "--fingerprint", prepared["fingerprint"]),
        *("--token", "other", "--module", str(MODULE), "--pin-file", "pin"),
        *tokens.ports_of("c"),
    )
    assert "the token other does not have the key of" in said
    host, port = address_of(prepared["master"])
    stranger = PeerClient(host, port, prepared["fingerprint"])
    with pytest.raises(BadInput, match="not signed by the key that it names"):
        stranger.keys((tokens.folder / "token").read_text().strip(), SealingKey().public, lambda _: b"a guess")
    assert not tokens.layout("c").root.exists()
    assert "PRIVATE_KEY_EXPORT" not in tokens.layout("m").audit_log.read_text()
