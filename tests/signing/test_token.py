"""Keys on tokens of SoftHSM and NSS: made, found by public key, used through faults, never out of the token."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.faults.page import FaultTable
from tests.pki import shared_key
from tests.processes.running import eventually
from tests.softhsm import MODULE, PIN, SO_PIN, SoftHSM, meddling_module, write_pin

from vouchd.errors import NotFound, SigningError, TokenUnavailable
from vouchd.instance.certificates.requests import certificate_request
from vouchd.pkix.purposes import Purpose
from vouchd.pkix.signatures import ALGORITHMS, verify
from vouchd.signing.keys import read_key, write_key
from vouchd.signing.token import pool as pool_module
from vouchd.signing.token.keys import TokenKey, Tokens
from vouchd.signing.token.pool import LOT_BYTES, MOST_TOGETHER, Limits, SessionPool
from vouchd.signing.token.reference import KeyReference, TokenPlace
from vouchd.signing.token.session import Launcher, Session

pytestmark = pytest.mark.process

TABLE = FaultTable.of("a token")
SHOWN = 'by name in `status`, `/readyz` (`parts`), `vouchd_hindrance{cause="part"}`, the page *Tokens*'
LATER = "tryLater for its CAs; all others, and what is cached, are answered"
ITSELF = "by itself within seconds when it works again"
TBS = b"to be signed"
ON_TOKENS = [name for name in ALGORITHMS if not name.startswith("ML-DSA")]
KIND = {"SHA384withEC": "P-384", "SHA512withEC": "P-521", "SHA256withEC": "EC"}
PATIENT = Limits(sessions=2, sign_seconds=60.0)
BRIEF = Limits(sessions=1, sign_seconds=1.0, open_seconds=0)


def far() -> float:
    return time.monotonic() + 60


@pytest.fixture
def hsm(tmp_path, monkeypatch) -> SoftHSM:
    """SoftHSM with a token `ocsp`."""
    softhsm = SoftHSM(tmp_path / "softhsm")
    for name, value in softhsm.environment.items():
        monkeypatch.setenv(name, value)
    softhsm.add("ocsp")
    return softhsm


def key_on(*places: TokenPlace, kind: str = "RSA", limits: Limits = PATIENT) -> TokenKey:
    """A key of ours as it is on these tokens."""
    reference = KeyReference(shared_key(kind, 1).public_key(), "ocspSigningCert", places)
    return Tokens(limits).key(reference)


def check(key: TokenKey, algorithm: str) -> bytes:
    signature = key.make(algorithm, TBS)
    verify(key.reference.public_key, ALGORITHMS[algorithm].identifier_der, signature, TBS)
    return signature


def session_pids(launcher_pid: int) -> set[int]:
    """The processes of the sessions that a launcher has started."""
    return {int(pid) for pid in Path(f"/proc/{launcher_pid}/task/{launcher_pid}/children").read_text().split()}


def objects_of(hsm: SoftHSM) -> list[Path]:
    """What is on the tokens: a file for each half of a key."""
    return [path for path in hsm.tokens.rglob("*.object") if path.name != "token.object"]


def pool_of(key: TokenKey) -> SessionPool:
    return key.pools[0]


@pytest.mark.parametrize("algorithm", ON_TOKENS)
def test_generate_every_algorithm_of_the_module_signs(hsm, algorithm):
    """A key made on the token signs what verifies with each algorithm, may do nothing else, and cannot be taken out."""
    session = Launcher(hsm.place()).open(60, writable=True)
    public_der = session.generate(algorithm, "signer", 2048, far())
    signature = session.sign(public_der, algorithm, TBS, far())
    verify(load_der_public_key(public_der), ALGORITHMS[algorithm].identifier_der, signature, TBS)
    (described,) = session.keys(far())
    assert described["label"] == "signer"
    assert described["signs"]
    assert described["sensitive"]
    assert not described["extractable"]
    assert not described["decrypts"]
    assert not described["unwraps"]


def test_generate_extractable_is_only_made_when_asked_for(hsm):
    """A key that is to be backed up by wrapping may be extractable; it is sensitive all the same."""
    session = Launcher(hsm.place()).open(60, writable=True)
    session.generate("SHA256withEC", "signer", 2048, far(), extractable=True)
    (described,) = session.keys(far())
    assert described["extractable"]
    assert described["sensitive"]


@pytest.mark.parametrize("kind", ["RSA", "EC", "P-384", "P-521", "Ed25519", "Ed448"])
def test_find_among_many_keys_by_the_public_key_alone(hsm, kind):
    """The key of a certificate is found by its public key, whatever else is on the token under the same label and id."""
    for other in ("RSA", "EC", "P-384"):
        hsm.keep("ocsp", shared_key(other, 9))
    hsm.keep("ocsp", shared_key(kind, 1))
    key = key_on(hsm.place(), kind=kind)
    check(key, next(name for name in ON_TOKENS if KIND.get(name, ALGORITHMS[name].key_type) == kind))


def test_find_token_that_is_not_there_when_the_module_is_loaded(hsm):
    """SoftHSM passes over a token that another process is just logging in to: it is looked for once more."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    hsm.order("late")
    check(key_on(hsm.place(meddling=True)), "SHA256withRSA")


@TABLE.fault(
    "logging in takes longer than a signature may",
    "by the workers of before a restart, until those of after it have a session",
    "nothing: trials wait for the log-in",
    "nothing to mend",
)
def test_first_session_that_takes_long_is_not_counted_for_who_tries_a_key_out(hsm, monkeypatch):
    """A log-in that takes longer than a signature may fails no trial: the signature has its whole time afterwards."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(), limits=Limits(sessions=1, sign_seconds=60))
    pool, ahead, deadlines = pool_of(key), [0.0], []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], sleep=time.sleep)
    monkeypatch.setattr(pool_module, "time", clock)

    def slow(*words, **named):
        session = Launcher.open(pool.launcher, *words, **named)
        ahead[0] += 100
        return session

    def sign_lot(session, public_der, algorithm, lot, until, original=Session.sign_lot):
        deadlines.append(until)
        return original(session, public_der, algorithm, lot, until)

    monkeypatch.setattr(pool.launcher, "open", slow)
    monkeypatch.setattr(Session, "sign_lot", sign_lot)
    begun = time.monotonic()
    check(key, "SHA256withRSA")
    assert deadlines[0] >= begun + 160


def test_sign_with_rsa_by_two_processes_gives_the_octets_of_software(hsm):
    """RSA PKCS #1 is deterministic: master and clone give one answer from one token, the one a key file would give."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    first, second = (key_on(hsm.place()) for _ in range(2))
    assert check(first, "SHA256withRSA") == check(second, "SHA256withRSA")


@pytest.fixture
def lots(monkeypatch) -> list[tuple[int, int]]:
    """Of each lot that a session is asked for: how many signatures were wanted, and how many it made."""
    noted = []

    def sign_lot(session, public_der, algorithm, lot, until, original=Session.sign_lot):
        signatures = original(session, public_der, algorithm, lot, until)
        noted.append((len(lot), len(signatures)))
        return signatures

    monkeypatch.setattr(Session, "sign_lot", sign_lot)
    return noted


def check_all(key: TokenKey, algorithm: str, wanted: list[bytes]) -> None:
    for signature, data in zip(key.make_all(algorithm, wanted), wanted, strict=True):
        verify(key.reference.public_key, ALGORITHMS[algorithm].identifier_der, signature, data)


def test_sign_all_goes_to_the_token_at_once(hsm, lots):
    """Who wants many signatures of one key waits for the token once for each lot, whose octets are bounded."""
    hsm.keep("ocsp", shared_key("EC", 1))
    key = key_on(hsm.place(meddling=True), kind="EC")
    assert key.together == 1, "it has not signed yet"
    check_all(key, "SHA256withEC", [b"%d" % number for number in range(3)])
    assert lots[0][0] == 3
    assert 1 <= key.together <= MOST_TOGETHER
    lots.clear()
    check_all(key, "SHA256withEC", [bytes(LOT_BYTES // 2 - 1) for _ in range(3)])
    assert lots[0][0] == 2
    assert sum(made for _, made in lots) == 3


@pytest.mark.parametrize("kept", [0, 2], ids=["none", "more than were asked for"])
def test_session_that_counts_wrong_is_ended(hsm, monkeypatch, kept):
    """As many signatures as cannot be are no answer: the session ends, and another one makes them."""
    hsm.keep("ocsp", shared_key("EC", 1))
    key, lies = key_on(hsm.place(), kind="EC"), [kept]

    def sign_lot(session, public_der, algorithm, lot, until, original=Session.sign_lot):
        signatures = original(session, public_der, algorithm, lot, until)
        return signatures * lies.pop() if lies else signatures

    monkeypatch.setattr(Session, "sign_lot", sign_lot)
    check_all(key, "SHA256withEC", [b"data"])
    assert "signatures for 1 asked for" in pool_of(key).state.failure


def test_sign_all_by_a_token_that_is_slow_has_a_time_for_each(hsm, lots):
    """A token that takes long makes one signature of a lot; the rest is asked for again, with a time of its own."""
    hsm.keep("ocsp", shared_key("EC", 1))
    key = key_on(hsm.place(meddling=True), kind="EC")
    hsm.order("slow")
    check_all(key, "SHA256withEC", [b"%d" % number for number in range(3)])
    assert lots == [(3, 1), (2, 1), (1, 1)]
    assert key.together == 1


def test_sign_by_many_threads_with_one_session_gives_each_its_own_signature(hsm):
    """Two lots may be with one session: each thread gets what it asked for, in whatever order they come."""
    hsm.keep("ocsp", shared_key("EC", 1))
    key = key_on(hsm.place(), kind="EC", limits=Limits(sessions=1, sign_seconds=60))
    with ThreadPoolExecutor(8) as threads:
        wanted = [[b"%d-%d" % (lot, number) for number in range(lot % 5 + 1)] for lot in range(60)]
        for done in [threads.submit(check_all, key, "SHA256withEC", lot) for lot in wanted]:
            done.result(timeout=300)
    assert pool_of(key).burden == (False, 0)
    assert len(pool_of(key)._idle) == 1


def test_sign_after_its_deadline_costs_no_session(hsm):
    """Whose time is over before a session is free gets none: one that is asked in vain would be ended for it."""
    hsm.keep("ocsp", shared_key("EC", 1))
    key = key_on(hsm.place(), kind="EC", limits=Limits(sessions=1, sign_seconds=60, open_seconds=10))
    check(key, "SHA256withEC")
    pool = pool_of(key)
    (session,) = pool._idle
    with pytest.raises(TokenUnavailable, match="no session was free in time"):
        pool.sign(key._public_der, "SHA256withEC", b"late", time.monotonic() - 1)
    assert pool._idle == [session]


def test_sign_all_by_a_token_that_fails_after_some_is_ended_by_the_next_one(hsm, monkeypatch):
    """What a token has signed stays, and the next one has its full time for the rest, however long the first took."""
    hsm.keep("ocsp", shared_key("EC", 1))
    first, second = hsm.place(meddling=True), hsm.place()
    key = key_on(first, second, kind="EC", limits=Limits(sessions=1, sign_seconds=60, open_seconds=10))
    now, limits = [time.monotonic()], []
    one, other = key.pools

    def lots(*_: object):
        yield [b"one"]
        now[0] += 500  # of further signatures, each in time
        yield [b"two"]
        raise TokenUnavailable("it is gone")

    def rest(_: bytes, __: str, wanted: list[bytes], until: float):
        limits.append((wanted, until - now[0]))
        yield wanted

    monkeypatch.setattr("vouchd.signing.token.keys.time.monotonic", lambda: now[0])
    monkeypatch.setattr(one, "sign_in_lots", lots)
    monkeypatch.setattr(other, "sign_in_lots", rest)
    monkeypatch.setattr(SessionPool, "burden", (False, 0))
    assert key.make_all("SHA256withEC", [b"1", b"2", b"3"]) == [b"one", b"two", b"3"]
    assert limits == [([b"3"], 60)]


def test_request_with_a_key_on_a_token_is_signed_by_it(hsm):
    """A certificate request is made with the token's key as with any other."""
    hsm.keep("ocsp", shared_key("EC", 1))
    pem = certificate_request(Purpose.OCSP_SIGNING, key_on(hsm.place(), kind="EC"), x509.Name([]))
    assert x509.load_pem_x509_csr(pem).is_signature_valid


def test_key_file_of_a_token_names_it_and_is_read_back(hsm, tmp_path):
    """The file in alias/ says where the key is: it holds no key and no PIN, and the key read from it signs there."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    alias = tmp_path / "instance" / "alias"
    alias.mkdir(parents=True)
    write_pin(tmp_path / "instance" / "password.conf", "ocsp", PIN)
    write_key(alias / "signer.key", key_on(hsm.place()), "")
    text = (alias / "signer.key").read_text()
    assert "PRIVATE KEY" not in text
    assert PIN not in text
    key = read_key(alias / "signer.key", None)
    assert isinstance(key, TokenKey)
    check(key, "SHA256withRSA")


def test_key_of_a_token_taken_out_is_refused_with_what_to_do(hsm):
    """A key never leaves its token: who asks for its octets is told what to do instead."""
    key = key_on(hsm.place())
    with pytest.raises(SigningError, match="does not leave it") as caught:
        key.private_bytes()
    assert "a clone that reaches the token needs no file" in caught.value.hint


def test_sign_key_that_the_token_has_not_is_refused(hsm):
    """A token that holds another key than the certificate's signs nothing."""
    hsm.keep("ocsp", shared_key("RSA", 9))
    with pytest.raises(TokenUnavailable, match="no key of the public key"):
        key_on(hsm.place()).make("SHA256withRSA", TBS)


@pytest.mark.parametrize(("place", "words"), [("nowhere", "does not reach it"), ("module", "cannot be loaded")])
def test_open_token_or_module_that_is_not_there_tells_which(hsm, tmp_path, place, words):
    """A wrong label and a wrong module are told apart."""
    right = hsm.place()
    wrong = {
        "nowhere": TokenPlace(MODULE, "nowhere", right.passwords, pin_file=hsm.folder / "pin"),
        "module": TokenPlace(tmp_path / "none.so", "ocsp", right.passwords),
    }
    (hsm.folder / "pin").touch(0o600)
    (hsm.folder / "pin").write_text(PIN)
    with pytest.raises(TokenUnavailable, match=words):
        Launcher(wrong[place]).open(60)


# PINs.


@TABLE.fault(
    "its PIN is wrong",
    LATER,
    SHOWN,
    "the right one in `password.conf`; the wrong one is not tried again, since that would lock the token",
)
def test_pin_that_is_wrong_is_tried_once_until_another_one_is_there(hsm):
    """A wrong PIN is not tried again, since that locks tokens; the right one is taken without a restart."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    place = hsm.place(pin="wrong")
    launcher = Launcher(place)
    with pytest.raises(TokenUnavailable, match="the PIN is wrong"):
        launcher.open(60)
    hsm.util("--init-token", "--token", "ocsp", "--label", "ocsp", "--pin", "wrong", "--so-pin", SO_PIN)
    with pytest.raises(TokenUnavailable, match="not tried again until another one is there"):
        launcher.open(60)  # it would be right now: so it was not tried
    hsm.util("--init-token", "--token", "ocsp", "--label", "ocsp", "--pin", PIN, "--so-pin", SO_PIN)
    write_pin(place.passwords, "ocsp", PIN)
    assert launcher.open(60).description["label"] == "ocsp"


def test_pin_that_was_refused_is_tried_again_and_forgotten_by_the_word_of_somebody(hsm):
    """Where the token was given the PIN that stands here `--last-try` takes it, and so does everybody afterwards."""
    launcher = Launcher(hsm.place(pin="wrong"))
    with pytest.raises(TokenUnavailable, match="the PIN is wrong"):
        launcher.open(60)
    with pytest.raises(TokenUnavailable, match="the PIN is wrong"):
        launcher.open(60, last_try=True)  # it was tried, and is as wrong as before
    hsm.util("--init-token", "--token", "ocsp", "--label", "ocsp", "--pin", "wrong", "--so-pin", SO_PIN)
    with pytest.raises(TokenUnavailable, match="not tried again") as caught:
        launcher.open(60)
    assert "vouchd token test ocsp --last-try" in caught.value.hint
    assert launcher.open(60, last_try=True).description["label"] == "ocsp"
    assert launcher.open(60).description["label"] == "ocsp"


def test_pin_is_not_tried_by_itself_where_a_wrong_one_would_lock_the_token(hsm):
    """The last try is left to somebody who knows that the PIN is right."""
    launcher = Launcher(hsm.place(meddling=True))
    hsm.order("final")
    with pytest.raises(TokenUnavailable, match="one more wrong PIN locks it") as caught:
        launcher.open(60)
    assert "vouchd token test ocsp --last-try" in caught.value.hint
    assert launcher.open(60, last_try=True).description["label"] == "ocsp"


def test_remove_is_tried_again_where_the_token_fails_without_a_reason(hsm):
    """A key that nothing came of is removed with its public half, though another process works on the token meanwhile."""
    session = Launcher(hsm.place(meddling=True)).open(60, writable=True)
    public_der = session.generate("SHA256withEC", "signer", 2048, far())
    hsm.order("busy")
    assert len(objects_of(hsm)) == 2
    session.remove(public_der, far())
    assert objects_of(hsm) == []


def test_pin_from_a_command_is_used_and_shown_nowhere(hsm, tmp_path):
    """A command may print the PIN; it is in no argument, no environment and no message."""
    command = tmp_path / "pin.sh"
    command.write_text(f"#!/bin/sh\necho {PIN}\n")
    command.chmod(0o700)
    place = TokenPlace(MODULE, "ocsp", tmp_path / "none", pin_command=str(command))
    launcher = Launcher(place)
    session = launcher.open(60)
    assert session.description["label"] == "ocsp"
    for pid in {launcher.pid, *session_pids(launcher.pid)}:
        for what in ("cmdline", "environ"):
            assert PIN.encode() not in Path(f"/proc/{pid}/{what}").read_bytes()
    command.write_text(f"#!/bin/sh\necho {PIN} >&2\nexit 1\n")
    with pytest.raises(TokenUnavailable, match="the command that prints the PIN failed") as caught:
        launcher.open(60)
    assert PIN not in f"{caught.value} {caught.value.hint}"


def test_pin_missing_in_password_conf_tells_the_line_to_add(hsm, tmp_path):
    """Who has not given the PIN is told where it belongs."""
    with pytest.raises(TokenUnavailable, match="no PIN of the token ocsp") as caught:
        Launcher(TokenPlace(MODULE, "ocsp", tmp_path / "password.conf")).open(60)
    assert "hardware-ocsp=PIN" in caught.value.hint


# Faults.


@TABLE.fault("the process of a session ends", "by another session", "nothing", "by itself: another one is opened")
def test_session_that_is_killed_is_replaced_within_the_signature(hsm):
    """A session's process that ends costs nobody an answer: the signature is made by another one."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(), limits=Limits(sessions=1, sign_seconds=60))
    check(key, "SHA256withRSA")
    for pid in session_pids(pool_of(key).launcher.pid):
        os.kill(pid, signal.SIGKILL)
    check(key, "SHA256withRSA")


@TABLE.fault(
    "what starts the sessions of the manager process is killed",
    "by the workers, which have their own",
    SHOWN,
    "by itself: it is started again",
)
def test_launcher_that_is_killed_is_started_again_where_programs_may_be(hsm):
    """What starts the sessions may end, too: a process that is not confined starts another one."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(), limits=Limits(sessions=1, sign_seconds=60))
    check(key, "SHA256withRSA")
    launcher = pool_of(key).launcher.pid
    for pid in (*session_pids(launcher), launcher):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: signs(key), "a signature")
    assert pool_of(key).launcher.pid != launcher


def test_session_whose_owner_is_gone_ends_even_in_a_call_that_hangs(hsm):
    """Nobody who hangs in a module is left behind: the kernel ends it when its lifeline is closed."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(meddling=True), limits=BRIEF)
    eventually(lambda: signs(key), "a signature")
    launcher = pool_of(key).launcher.pid
    hanging = session_pids(launcher)
    hsm.order("hang")
    with pytest.raises(TokenUnavailable):
        key.make("SHA256withRSA", TBS)
    eventually(lambda: not hanging & session_pids(launcher), "no session left")


@pytest.mark.parametrize(
    "fault",
    [
        TABLE.case("hang", "its module hangs in a signature", LATER, SHOWN, ITSELF),
        TABLE.case("crash", "its module crashes", LATER, SHOWN, ITSELF),
        TABLE.case("wrong", "it returns wrong signatures", f"{LATER}: none of them is given away", SHOWN, ITSELF),
        TABLE.case("error", "it refuses to sign", LATER, SHOWN, ITSELF),
    ],
)
def test_token_that_fails_gives_no_signature_and_is_used_again_when_it_works(hsm, fault):
    """A module that hangs, crashes, lies or refuses costs signatures, never makes a wrong one, and comes back."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(meddling=True), limits=BRIEF)
    eventually(lambda: signs(key), "a signature")
    hsm.order(fault)
    with pytest.raises(TokenUnavailable):
        key.make("SHA256withRSA", TBS)
    hsm.order()
    eventually(lambda: signs(key), "a signature")


@pytest.mark.parametrize("fault", ["hang", "crash", "error"])
def test_session_that_fails_with_two_lots_gives_neither_and_is_replaced_once(hsm, fault):
    """Who waits behind somebody whose signature fails is told at once, and one session stands in for the one that broke."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(meddling=True), limits=BRIEF)
    eventually(lambda: signs(key), "a signature")
    pool, barrier = pool_of(key), threading.Barrier(2)
    hsm.order(fault)

    def refused() -> bool:
        barrier.wait(timeout=60)
        return not signs(key)

    with ThreadPoolExecutor(2) as threads:
        tries = [threads.submit(refused) for _ in range(2)]
        assert [done.result(timeout=120) for done in tries] == [True, True]
    hsm.order()
    eventually(lambda: signs(key), "a signature")
    eventually(lambda: pool.state.sessions == 1 and pool.burden == (False, 0), "one session")


@TABLE.fault("its PIN is locked", LATER, SHOWN, "its security officer sets the PIN anew; then by itself")
def test_token_whose_pin_is_locked_is_used_again_when_it_is_unlocked(hsm):
    """A locked PIN costs the token as long as it is locked, and no longer."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(meddling=True), limits=Limits(sessions=1, sign_seconds=60))
    hsm.order("locked")
    with pytest.raises(TokenUnavailable, match="its PIN is locked"):
        key.make("SHA256withRSA", TBS)
    assert key.problems == {"ocsp": "token ocsp: its PIN is locked"}
    hsm.order()
    eventually(lambda: signs(key), "a signature")
    assert key.problems == {}


@TABLE.fault(
    "it is taken away, and comes back in another slot",
    f"while it is away: {LATER}",
    SHOWN,
    "by itself: it is known by its label",
)
def test_token_that_is_taken_away_and_comes_back_in_another_slot_is_used_again(hsm):
    """The token is known by its label: slots may be numbered anew, and its place be empty for a while."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    key = key_on(hsm.place(), limits=BRIEF)
    eventually(lambda: signs(key), "a signature")
    slot = pool_of(key)._idle[0].description["slot"]
    away = hsm.tokens.rename(hsm.folder / "away")
    for pid in session_pids(pool_of(key).launcher.pid):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(TokenUnavailable):
        key.make("SHA256withRSA", TBS)
    hsm.tokens.mkdir()
    hsm.add("another")
    hsm.add("ocsp")
    hsm.keep("ocsp", shared_key("RSA", 1))
    eventually(lambda: signs(key), "a signature")
    assert pool_of(key)._idle[0].description["slot"] != slot
    assert away.exists()


@TABLE.fault("one of several tokens with the key fails", "by the others", "the page *Tokens*", ITSELF)
def test_two_tokens_with_one_key_go_on_with_either(hsm):
    """Of several tokens that hold the key any will do; one that fails is left aside."""
    hsm.add("second")
    for label in ("ocsp", "second"):
        hsm.keep(label, shared_key("RSA", 1))
    passwords = hsm.place().passwords
    passwords.write_text(f"hardware-ocsp={PIN}\nhardware-second={PIN}\n")
    key = key_on(hsm.place(meddling=True), hsm.place("second"))
    check(key, "SHA256withRSA")
    hsm.order("error")
    for _ in range(3):
        check(key, "SHA256withRSA")
    assert list(key.problems) == ["ocsp"]
    hsm.order()
    eventually(lambda: signs(key) and not key.problems, "both tokens in use")


def signs(key: TokenKey) -> bool:
    """Whether it does; for whoever waits."""
    try:
        key.make("SHA256withRSA", TBS)
    except TokenUnavailable:
        return False
    return True


class TokenProcess:
    """The token of SoftHSM served by a process of its own, as a network HSM's client sees it."""

    def __init__(self, hsm: SoftHSM) -> None:
        self._socket = hsm.folder / "p11-kit.sock"
        self.start()

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        words = ["p11-kit", "server", "--foreground", "--name", str(self._socket), "--provider", str(MODULE)]
        self._process = subprocess.Popen(
            [*words, "pkcs11:token=ocsp"], stdout=subprocess.DEVNULL, start_new_session=True
        )
        eventually(self._socket.exists, "the server of the token")

    def signal(self, number: int) -> None:
        """Send a signal to the server and to what it has started for each session."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def token_process(hsm, monkeypatch):
    """The process, running; the key is on its token."""
    hsm.keep("ocsp", shared_key("RSA", 1))
    monkeypatch.setenv("P11_KIT_SERVER_ADDRESS", f"unix:path={hsm.folder / 'p11-kit.sock'}")
    process = TokenProcess(hsm)
    yield process
    process.kill()


def remote_place(hsm: SoftHSM) -> TokenPlace:
    (module,) = Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so")
    return TokenPlace(module, "ocsp", hsm.place().passwords)


@TABLE.fault("its own process is killed", LATER, SHOWN, ITSELF)
def test_token_whose_own_process_is_killed_is_used_again_when_it_is_back(hsm, token_process):
    """A token that dies costs signatures until it is back, and nothing is to be restarted here."""
    key = key_on(remote_place(hsm), limits=BRIEF)
    eventually(lambda: signs(key), "a signature")
    token_process.kill()
    with pytest.raises(TokenUnavailable):
        key.make("SHA256withRSA", TBS)
    token_process.start()
    eventually(lambda: signs(key), "a signature")


@TABLE.fault(
    "its own process stands still",
    "tryLater for its CAs after `vouchd.token.deadlineInMs`; all others, and what is cached, are answered",
    SHOWN,
    ITSELF,
)
def test_token_whose_own_process_stands_still_is_left_at_the_deadline(hsm, token_process):
    """A token that does not answer is waited for until the deadline of the signature, and used again when it goes on."""
    key = key_on(remote_place(hsm), limits=BRIEF)
    eventually(lambda: signs(key), "a signature")
    token_process.signal(signal.SIGSTOP)
    with pytest.raises(TokenUnavailable, match="no answer in time"):
        key.make("SHA256withRSA", TBS)
    token_process.signal(signal.SIGCONT)
    eventually(lambda: signs(key), "a signature")


# Another module.


@pytest.mark.parametrize("algorithm", ["SHA256withRSA", "SHA256withRSA/PSS", "SHA256withEC", "SHA384withEC"])
def test_generate_on_the_token_of_nss_signs(tmp_path, monkeypatch, algorithm):
    """The module of another maker does: NSS's, which is the Certificate System's own token."""
    (library,) = Path("/usr/lib").glob("*/libsoftokn3.so")
    (tmp_path / "pin").touch(0o600)
    (tmp_path / "pin").write_text(PIN)
    subprocess.run(["certutil", "-N", "-d", f"sql:{tmp_path}", "-f", str(tmp_path / "pin")], check=True)
    monkeypatch.setenv("MEDDLING_MODULE", str(library))
    monkeypatch.setenv("MEDDLING_ORDERS", str(tmp_path / "orders"))
    monkeypatch.setenv("MEDDLING_NSS", f"configdir='sql:{tmp_path}' certPrefix='' keyPrefix='' secmod='' flags=")
    place = TokenPlace(meddling_module(), "NSS Certificate DB", tmp_path / "none", pin_file=tmp_path / "pin")
    session = Launcher(place).open(60, writable=True)
    public_der = session.generate(algorithm, "signer", 2048, far())
    signature = session.sign(public_der, algorithm, TBS, far())
    verify(load_der_public_key(public_der), ALGORITHMS[algorithm].identifier_der, signature, TBS)
    session.close()
    again = Launcher(place).open(60, writable=True)
    verify(
        load_der_public_key(public_der),
        ALGORITHMS[algorithm].identifier_der,
        again.sign(public_der, algorithm, TBS, far()),
        TBS,
    )
    again.remove(public_der, far())
    with pytest.raises(NotFound):
        again.find(public_der, far())
