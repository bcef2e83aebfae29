"""The domain's routes: who is told what, who may join, and what becomes of nonsense."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.agent_port import LOCAL, SECONDS, crl
from tests.agent.domain_site import HOST, Master, a_clone, a_master
from tests.pki import CA

from vouchd.agent.domain.filling import Filling
from vouchd.agent.domain.routes import DomainRoutes
from vouchd.cloning import joining
from vouchd.core.changes import Concerned
from vouchd.core.facts import Member
from vouchd.core.records import member_record
from vouchd.errors import (
    AlreadyExists,
    ClientError,
    ConfigError,
    NotFound,
    PermissionDenied,
    StoreUnavailable,
    TryLater,
)
from vouchd.pkix import certs
from vouchd.settings.passwords import REPLICATIONDB, read_passwords, replace_passwords

PREFIX = "/domain/v1"
POSTS = ("join/check", "join", "rejoin", "replicate", "leave", "promote")


def unsigned(_member: Member, _term: int) -> str:
    """An appointment that nobody looks at here."""
    return ""


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Master:
    with a_master(tmp_path_factory.mktemp("domain") / "instance") as master:
        yield master


@pytest.fixture(autouse=True)
def fresh(master, monkeypatch):
    """Each test begins with the master alone, and no wrong attempts."""
    monkeypatch.setattr(joining, "LIMIT", 10**6)
    yield
    for member in master.services.store.members():
        if member.host != HOST:
            master.services.store.remove_member(member.id)


def test_check_tells_a_token_holder_what_it_needs_and_keeps_the_token(master):
    """Before anything is changed: domain, clock, refreshInSec, members, public certificates, shared settings."""
    token = master.token()
    info = master.client().check(token)
    again = master.client().check(token)
    assert again == replace(info, now=again.now)
    assert (info.domain, info.refresh_seconds, info.told_by.host) == ("vouchd", 600, HOST)
    assert [member.id for member in info.members] == [f"{HOST}:8443"]
    assert all(der.startswith(b"\x30") for der in info.certificates.values())
    assert info.certificates
    assert not {key for key in info.values if {"port", "host", "password"} & set(key.lower().split("."))}
    assert "ocsp.store.defStore.refreshInSec" not in info.values


def test_join_registers_a_clone_once(master):
    """The token is used up by a join, and the member is in the registry."""
    token = master.token()
    joined = master.joining().join(a_clone(), token)
    assert (joined.member.clone, joined.replication_password) == (True, "")
    assert joined.member in master.services.store.members()
    with pytest.raises(NotFound, match="not valid"):
        master.joining().join(a_clone(3), token)


@pytest.mark.parametrize(
    "member, error",
    [
        (a_clone(host=HOST), AlreadyExists),
        (a_clone(subsystem="CA"), ConfigError),
        (a_clone(host="a b"), ConfigError),
    ],
)
def test_join_refused_tells_why_and_keeps_the_token(master, member, error):
    """The error is the same at both ends, and the next attempt may use the token."""
    token, before = master.token(), master.services.store.members()
    with pytest.raises(error):
        master.joining().join(member, token)
    assert master.services.store.members() == before
    assert master.client().check(token)


def test_wrong_token_is_told_nothing_and_leaves_a_record(master):
    """Nobody learns of the set by guessing; the guess is on record."""
    for who, attempt in (
        ("anyone", lambda: master.client().check("guess")),
        ("enterprise", lambda: master.joining().join(a_clone(), "guess")),
        ("enterprise", lambda: master.joining().join(a_clone(host=HOST), "guess")),
    ):
        with pytest.raises(NotFound, match="this join token is not valid"):
            attempt()
        assert master.records()[-1] == ("AUTHZ", "failure", who)


def test_guessing_is_stopped_and_the_records_with_it(master, monkeypatch):
    """After some wrong tokens an address is told to wait, before anything is looked up or written."""
    monkeypatch.setattr(joining, "LIMIT", 3)
    monkeypatch.setattr(joining, "SECONDS", 3600.0)
    outcomes = []
    for _ in range(9):
        with pytest.raises((NotFound, TryLater)) as caught:
            master.client().check("guess")
        outcomes.append(caught.type)
    assert outcomes[-3:] == [TryLater] * 3
    count = len(master.records())
    with pytest.raises(TryLater):
        master.client().check("guess")
    assert len(master.records()) == count


def test_rejoin_is_for_members_and_keeps_the_role(master):
    """With its own key a member renews what is known of it, also that key; the registry decides who may."""
    members = master.joining()
    with pytest.raises(PermissionDenied):
        members.rejoin(a_clone())
    joined = master.joining().join(a_clone(), master.token()).member
    renewed = members.rejoin(replace(a_clone(), tls_sha256="cd" * 32, clone=False, term=7)).member
    assert renewed == replace(joined, tls_sha256="cd" * 32)


@pytest.mark.parametrize("user", [None, "administrator", "domain", "agent", "publisher"])
def test_replication_password_is_told_to_members_alone(master, user):
    """An administrator over the port has no more business with it than a stranger."""
    with pytest.raises(PermissionDenied):
        master.client(user).rejoin(a_clone())


def test_join_with_a_directory_is_told_the_replication_password(master):
    """One password for the set, handed over inside the pinned connection of the join, and to nobody without one."""
    layout = master.services.layout
    replace_passwords(layout.password_conf, read_passwords(layout.password_conf) | {REPLICATIONDB: "strong"})
    assert master.services.membership.joined(a_clone()).replication_password == ""
    server = object()  # any directory server at all
    membership = master.services.membership.joined(replace(a_clone(), directory=server))
    assert membership.replication_password == "strong"
    assert "strong" not in repr(membership)


def test_info_needs_a_user_and_no_token(master):
    """Whoever may read may look; a stranger may not."""
    assert master.client("auditor").info().told_by.host == HOST
    with pytest.raises(PermissionDenied):
        master.client().info()


def test_leave_takes_out_and_promote_moves_the_role(master):
    """Administrators of the domain may do both over the port."""
    domain = master.client("domain")
    master.joining().join(a_clone(), master.token())
    domain.leave("ocsp2.example.org:8443")
    assert len(master.services.store.members()) == 1
    with pytest.raises(NotFound):
        domain.leave("ocsp2.example.org:8443")


def test_copy_of_the_registry_sends_changes_to_the_master(master):
    """An embedded clone's registry is the master's: a change of it would be gone with the next one there."""
    master.joining().join(a_clone(), master.token())
    token = master.token()
    assert master.client("domain").promote("ocsp2.example.org").term == 2
    try:
        for attempt in (
            lambda: master.client().check(token),
            lambda: master.joining().join(a_clone(3), token),
            lambda: master.client("domain").leave("ocsp2.example.org"),
        ):
            with pytest.raises(ConfigError, match=r"follows ocsp2.example.org:8443") as caught:
                attempt()
            assert "https://ocsp2.example.org:8443" in caught.value.hint
        assert len(master.services.store.members()) == 2
    finally:
        master.services.domain.promote(HOST, LOCAL, unsigned)


def test_state_tells_all_facts_and_then_waits_for_a_change(master):
    """Long poll: nothing while nothing changes, the new facts as soon as something does."""
    members = master.member()
    digest, facts, _ = members.state("", 0)
    assert {user.id for user in facts.users} >= {"agent", "enterprise"}
    assert [member.host for member in facts.members] == [HOST, "ocsp2.example.org"]
    assert members.state(digest, 0) is None
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(members.state, digest, 30) for _ in range(4)]
        master.joining(3).join(a_clone(3), master.token())
        master.publish()
        answers = [future.result(SECONDS) for future in waiting]
    assert len({one[0] for one in answers}) == 1
    assert "ocsp3.example.org" in {member.host for member in answers[0][1].members}


def test_state_tells_what_changed_after_a_version(master):
    """Who has taken a version over is told of the CAs and issuing points that changed since, and of none of the others."""
    ca = CA.create("Changed CA")
    for one in (ca, CA.create("Another CA")):
        master.services.authorities.add(one.der, LOCAL)
    master.publish()
    members = master.member()
    whole = members.state("", 0)
    assert (whole.concerned, len(whole.facts.authorities) >= 2) == (None, True)
    master.services.ingesting.accept_crl(crl(ca, {5: None}), "test", LOCAL, master.services.audit._clock.now())
    master.publish()
    news = members.state(whole.version, SECONDS)
    (epoch,) = news.facts.epochs
    assert (news.facts.authorities, news.concerned) == ((), Concerned(points=frozenset({epoch.issuing_point})))
    assert members.state(news.version, 0) is None
    assert members.state("of another run:1:x", 0).concerned is None
    document = epoch.base.sha256
    assert len(set(members.documents([document, document], 1 << 20))) == 1


def test_state_waiting_ends_when_the_port_closes(tmp_path):
    """A restart does not wait for those who wait for a change."""
    with a_master(tmp_path / "instance") as closing, ThreadPoolExecutor() as pool:
        members = closing.member()
        digest, *_ = members.state("", 0)
        begun = threading.Event()
        newer_than = closing.running.newer_than

        async def waits(revision: int) -> None:
            begun.set()
            await newer_than(revision)

        closing.running.newer_than = waits
        waiting = pool.submit(members.state, digest, 60)
        assert begun.wait(SECONDS)
        closing.run(closing.server.stop(SECONDS))
        assert waiting.result(SECONDS) is None


@pytest.mark.parametrize("user", [None, "administrator", "agent", "auditor", "domain"])
def test_facts_are_told_to_members_alone(master, user):
    """What a clone follows holds users and certificates: for members only."""
    client = master.client(user)
    for ask in (lambda: client.state("", 0), client.epochs, lambda: client.document("0" * 64, 10)):
        with pytest.raises(PermissionDenied):
            ask()


def test_member_that_has_asked_is_told_what_changed_since(master):
    """Of all CAs first, then of those alone of which something changed, and of all to who names another's version."""
    members = master.member()
    whole = members.epochs()
    assert whole.concerned is None
    assert members.epochs(whole.version).concerned == frozenset()
    ca = CA.create("CA that came later")
    master.services.authorities.add(ca.der, LOCAL)
    master.services.ingesting.accept_crl(crl(ca, {5: None}), "test", LOCAL, master.services.audit._clock.now())
    master.publish()
    part = members.epochs(whole.version)
    each = certs.authority_id(ca.certificate)
    assert (part.concerned, [epoch.issuing_point.authority_id for epoch in part.epochs]) == ({each}, [each])
    assert members.epochs(part.version).epochs == ()
    for version in ("other:1", "x", f"{part.version}0", part.version.partition(":")[0] + ":" + "9" * 5000):
        again = members.epochs(version)
        assert again.concerned is None
        assert {*whole.epochs, *part.epochs} <= set(again.epochs)


def test_document_and_epochs_are_what_the_master_has(master):
    """A member gets the CRL that the facts name, byte for byte, and sees what is answered from."""
    ca = CA.create("Followed CA")
    der = crl(ca, {5: None})
    master.services.authorities.add(ca.der, LOCAL)
    master.services.ingesting.accept_crl(der, "test", LOCAL, master.services.audit._clock.now())
    master.publish()
    members = master.member()
    _, facts, _ = members.state("", 0)
    (epoch,) = [one for one in facts.epochs if one.issuing_point.authority_id == certs.authority_id(ca.certificate)]
    assert members.document(epoch.base.sha256, 1 << 20) == der
    peer = members.epochs()
    assert epoch.index_name in [one.index_name for one in peer.epochs]
    assert peer.master == master.services.store.members()[0]
    with pytest.raises(ClientError, match="larger than"):
        members.document(epoch.base.sha256, len(der) - 1)
    with pytest.raises(NotFound):
        members.document("0" * 64, 10)


def test_replicate_of_an_embedded_member_is_refused_in_its_stream(master):
    """The end of the work is told like any error, whatever it was; who asked for it is on record."""
    master.joining().join(a_clone(), master.token())
    before = len(master.records())
    with pytest.raises(ConfigError):
        master.member().replicate("ocsp2.example.org:8443", lambda _: None, SECONDS)
    assert ("AUTHZ", "success", "enterprise") in master.records()[before:]
    with pytest.raises(NotFound):
        master.member().replicate("ocsp9.example.org:8443", lambda _: None, SECONDS)


@pytest.fixture
def filled(tmp_path) -> Master:
    """A master whose filling of a directory server the test can hold up and end: `calls`, `go`, `error`."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor():
        calls: list[Member] = []
        go, outcome = threading.Event(), []

        def replicate(member, _caller, say):
            calls.append(member)
            say("agreement")
            assert go.wait(SECONDS)
            say("initialised")
            for error in outcome:
                raise error

        patch.setattr("vouchd.agent.domain.filling.replicating", lambda *_: replicate)
        with a_master(tmp_path / "filled") as master:
            master.joining().join(a_clone(), master.token())
            master.calls, master.go, master.outcome = calls, go, outcome
            yield master


def test_replicate_asked_twice_is_one_piece_of_work_told_to_both(filled):
    """Who was killed in the middle and asks again hears all steps of the work that went on."""
    steps: list[list[str]] = [[], []]
    first_heard = threading.Event()

    def hear(number: int):
        def say(step: str) -> None:
            steps[number].append(step)
            first_heard.set()

        return lambda: filled.member().replicate("ocsp2.example.org:8443", say, SECONDS)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(hear(0))
        assert first_heard.wait(SECONDS)
        first_heard.clear()
        second = pool.submit(hear(1))
        assert first_heard.wait(SECONDS)
        filled.go.set()
        for future in (first, second):
            future.result(SECONDS)
    assert steps == [["agreement", "initialised"]] * 2
    assert len(filled.calls) == 1


@pytest.mark.parametrize(
    "error, message", [(StoreUnavailable("away", hint="start it"), "away"), (OSError("x"), "internal")]
)
def test_replicate_that_fails_tells_so_and_can_be_begun_again(filled, error, message):
    """Also a bug of ours ends the waiting; the next request begins anew."""
    filled.outcome.append(error)
    filled.go.set()
    client = filled.member()
    with pytest.raises(Exception, match=message):
        client.replicate("ocsp2.example.org:8443", lambda _: None, SECONDS)
    filled.outcome.clear()
    client.replicate("ocsp2.example.org:8443", lambda _: None, SECONDS)
    assert len(filled.calls) == 2


def test_silence_is_filled(filled, monkeypatch):
    """A long step is no broken connection: something is sent now and then."""
    monkeypatch.setattr("vouchd.agent.domain.filling._SILENCE_SECONDS", 0.01)
    beyond, quiet = Filling.beyond, []

    async def counted(self, count):
        progress = await beyond(self, count)
        quiet.append(progress)
        if quiet.count(False) > 2:
            filled.go.set()
        return progress

    monkeypatch.setattr(Filling, "beyond", counted)
    filled.member().replicate("ocsp2.example.org:8443", lambda _: None, SECONDS)
    assert quiet.count(False) > 2


def test_domain_info_is_public_in_the_documented_shapes(master):
    """What tools of the Certificate System read is there, under both names, for everybody."""
    for kind in ("ocsp", "ca"):
        answer = master.ask("GET", f"/{kind}/v2/securityDomain/domainInfo")
        host = json.loads(answer.text)["Subsystem"]["OCSP"]["Host"][f"OCSP {HOST} 8443"]
        assert (host["Clone"], host["SecurePort"], host["DomainManager"]) == ("FALSE", "8443", "TRUE")
        xml = master.ask("GET", f"/{kind}/admin/{kind}/getDomainXML")
        assert xml.status == 200
        assert f"&lt;Host&gt;{HOST}&lt;/Host&gt;" in xml.text
    assert "ab" * 10 not in answer.text


def test_other_fingerprint_is_refused_before_anything_is_sent(master):
    """With something in between, neither token nor client certificate leaves this host."""
    heard = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DomainRoutes, "check", lambda *_: heard.append(1))
        with pytest.raises(ClientError, match="another one than was said"):
            master.client(fingerprint="00" * 32).check(master.token())
    assert not heard


@pytest.mark.parametrize("text", ["", "00", "zz" * 32])
def test_fingerprint_that_is_none_is_refused(master, text):
    """A typing error is found before a connection is made."""
    with pytest.raises(ConfigError, match="64 hex digits"):
        type(master.client())("localhost", 1, text)


def test_fingerprint_with_colons_and_capitals_is_the_same(master):
    """As other programs show it."""
    text = master.fingerprint.upper()
    spelt = ":".join(text[at : at + 2] for at in range(0, 64, 2))
    assert master.client(fingerprint=spelt).check(master.token())


def test_removed_member_is_refused_from_the_next_request_on(master):
    """Identity is asked for each request: taking a member out ends the following."""
    client = master.member()
    assert client.state("", 0)
    master.services.domain.leave(a_clone().id, LOCAL)
    for ask in (lambda: client.state("", 0), client.info, client.epochs, lambda: client.rejoin(a_clone())):
        with pytest.raises(PermissionDenied):
            ask()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
RECORD = member_record(replace(a_clone(), directory=None))
MEMBERS = st.fixed_dictionaries({}, optional={name: JSON | st.just(value) for name, value in RECORD.items()})
BODIES = st.one_of(
    st.binary(max_size=64),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries({}, optional={"token": JSON, "member": JSON | MEMBERS}).map(
        lambda value: json.dumps(value).encode()
    ),
    st.just(b"[" * 10000),
    st.just(b'{"token": "\\ud800", "member": {}}'),
)


@given(body=BODIES, path=st.sampled_from(POSTS))
def test_nonsense_is_refused_as_the_senders_fault(master, body, path):
    """Whatever is sent: never a 5xx, always a problem document, and the registry as it was."""
    master.member()
    before = master.services.store.members()
    answer = master.ask_as(2, "POST", f"{PREFIX}/{path}", body)
    assert 400 <= answer.status < 500, (answer.status, answer.text)
    assert json.loads(answer.text)["title"]
    assert master.services.store.members() == before


@given(member=MEMBERS)
def test_nonsense_with_a_good_token_is_no_member(master, member):
    """A token is no way around the reading of what comes with it."""
    token = master.token()
    answer = master.ask_as(3, "POST", f"{PREFIX}/join", json.dumps({"token": token, "member": member}).encode())
    assert answer.status < 500, answer.text
    for known in master.services.store.members():
        if known.host != HOST:
            assert (known.clone, known.term, len(known.tls_sha256)) == (True, 0, 64)
            master.services.store.remove_member(known.id)


@pytest.mark.parametrize("query", ["wait=x", "wait=", "wait=1e"])
def test_wait_that_is_no_number_is_refused(master, query):
    """As any other nonsense."""
    master.member()
    assert master.ask_as(2, "GET", f"{PREFIX}/state?{query}").status == 400


@pytest.mark.parametrize("wait", ["-1", "nan", "0"])
def test_wait_of_nothing_answers_at_once(master, wait):
    """What is no time to wait is none."""
    digest, *_ = master.member().state("", 0)
    assert master.ask_as(2, "GET", f"{PREFIX}/state?after={digest}&wait={wait}").status == 204


def test_body_too_large_is_refused_unread(master):
    """No stranger makes this host hold more than a page of text."""
    assert master.ask("POST", f"{PREFIX}/join/check", body=b" " * 20000).status == 413
