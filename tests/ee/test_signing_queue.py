"""Turns for signatures are fair between groups of clients, and the greediest gives way."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ee.ee_fakes import GOOD, INTERNAL, LATER, FakeResponder, connect, get, make_server, post, until
from tests.ee.test_connection import answers, settle

from vouchd.ee.client_groups import MAX_HOPS, ClientGroups
from vouchd.ee.counted_responder import MAX_LOSERS, OTHERS
from vouchd.ee.counters import whole
from vouchd.ee.signing_queue import TOGETHER, FairQueue, SigningQueue
from vouchd.errors import SigningError
from vouchd.service.assembling import Draft
from vouchd.service.terms import Answer


class Turns:
    """A queue whose waiters note in which order they got their turns, and who lost one."""

    def __init__(self, limit: int) -> None:
        self.taken: list[str] = []
        self.lost: list[str] = []
        self.queue: FairQueue[Named] = FairQueue(limit)

    @classmethod
    def on_the_loop(cls, limit: int) -> Turns:
        """One in which turns come by themselves."""
        turns = cls(limit)
        turns.queue = SigningQueue(limit, turns.serve)
        return turns

    def serve(self, waiters: Sequence[Named]) -> None:
        self.taken += [waiter.name for waiter in waiters]

    def enter(self, name: str, group: str) -> str | None:
        return self.queue.enter(Named(name, self.lost), group)


class Named:
    """A waiter with a name."""

    def __init__(self, name: str, lost: list[str]) -> None:
        self.name, self._lost = name, lost

    def lose_turn(self) -> None:
        self._lost.append(self.name)


async def test_queue_one_request_waits_for_one_of_each_other_group():
    """Whoever has queued two hundred: who comes with one is next but one."""
    turns = Turns.on_the_loop(256)
    for number in range(200):
        assert turns.enter(f"greedy-{number}", "greedy") is None
    assert turns.enter("modest", "modest") is None
    await until(lambda: not len(turns.queue))
    assert turns.taken[:3] == ["greedy-0", "modest", "greedy-1"]
    assert len(turns.taken) == 201


async def test_queue_groups_take_turns_each_in_its_own_order():
    """Between groups it goes round, within a group first come is first served."""
    turns = Turns.on_the_loop(256)
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.enter(name, name[0])
    await until(lambda: not len(turns.queue))
    assert turns.taken == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_queue_full_takes_the_place_of_the_greediest_newest():
    """When no place is left the greediest group loses its newest request to one that has less."""
    turns = Turns(6)
    for number in range(4):
        turns.enter(f"greedy-{number}", "greedy")
    for number in range(2):
        turns.enter(f"other-{number}", "other")
    assert turns.enter("modest", "modest") == "greedy"
    assert turns.lost == ["greedy-3"]
    assert turns.enter("greedy-4", "greedy") == "greedy", "the greediest takes nobody's place"
    assert turns.lost == ["greedy-3"]
    assert len(turns.queue) == 6


async def test_queue_that_who_lost_a_turn_enters_again_at_once_forgets_nobody():
    """A connection that loses its turn may ask its next question in that moment, as another group: all get their turn."""
    turns = Turns.on_the_loop(3)

    class Pipelining(Named):
        def lose_turn(self) -> None:
            super().lose_turn()
            turns.enter("next", "modest")

    turns.queue.enter(Named("greedy-0", turns.lost), "greedy")
    turns.queue.enter(Named("greedy-1", turns.lost), "greedy")
    turns.queue.enter(Pipelining("greedy-2", turns.lost), "greedy")
    assert turns.enter("modest", "modest") == "greedy"
    assert turns.lost == ["greedy-2"]
    assert len(turns.queue) == 3
    await until(lambda: not len(turns.queue))
    assert sorted(turns.taken) == ["greedy-0", "greedy-1", "modest"]
    turns.enter("later", "modest")
    await until(lambda: turns.taken[-1] == "later")


def test_queue_full_of_equals_takes_nobodys_place():
    """Groups with as many places as the newcomer would have do not push each other out."""
    turns = Turns(3)
    for group in "abc":
        turns.enter(group, group)
    assert turns.enter("d", "d") == "d"
    assert turns.lost == []


@settings(max_examples=200)
@given(st.lists(st.sampled_from("aaaaaabbbcd"), max_size=60), st.integers(1, 12))
def test_queue_any_arrivals_share_the_places_fairly(arrivals, limit):
    """Whoever comes in whatever order: no place beyond the limit, and who lost one had no fewer than the newcomer."""
    turns, places = Turns(limit), Counter()
    for group in arrivals:
        full = len(turns.queue) == limit
        loser = turns.enter(group, group)
        assert (loser is not None) == full
        if loser != group:
            places[group] += 1
            if loser is not None:
                places[loser] -= 1
                assert places[loser] >= places[group]
                assert turns.lost[-1] == loser
        else:
            assert places[group] + 2 > max(places.values())
        assert len(turns.queue) == sum(places.values()) <= limit
        assert turns.queue.group_count == sum(count > 0 for count in places.values())


@given(st.lists(st.sampled_from("aaab"), max_size=40), st.lists(st.integers(0, 12), max_size=10))
def test_queue_turns_taken_together_are_those_taken_one_by_one(arrivals, counts):
    """However many turns are taken at once: the same waiters in the same order, and the same places left."""
    together, single = Turns(64), Turns(64)
    for number, group in enumerate(arrivals):
        for turns in (together, single):
            turns.enter(f"{group}{number}", group)
    for count in counts:
        one_by_one = [single.queue.next_waiter() for _ in range(min(count, len(single.queue)))]
        assert [one.name for one in together.queue.next_waiters(count)] == [one.name for one in one_by_one]
        assert (len(together.queue), together.queue.group_count) == (len(single.queue), single.queue.group_count)
        for turns in (together, single):
            turns.enter("late", "late")


async def test_queue_serves_few_together_and_lets_the_loop_run_in_between():
    """Whatever waits, no more turns are served in a row than the bound says."""
    rows: list[int] = []
    queue: SigningQueue[Named] = SigningQueue(4096, lambda waiters: rows.append(len(waiters)))
    for _ in range(1000):
        queue.enter(Named("x", []), "group")
    await until(lambda: queue.is_idle)
    assert sum(rows) == 1000
    assert rows[0] == 1
    assert max(rows) <= TOGETHER


async def test_queue_one_slice_that_took_long_halves_the_next_one(monkeypatch):
    """A slice in which others had the processor does not make turns come one by one, and slow ones soon come singly."""
    now = 0.0
    monkeypatch.setattr("vouchd.ee.signing_queue.perf_counter", lambda: now)
    sizes: list[int] = []

    def serve(waiters: Sequence[Named]) -> None:
        nonlocal now
        sizes.append(len(waiters))
        now += 1.0 if len(sizes) in {5, *range(8, 20)} else 0.00001 * len(waiters)

    queue: SigningQueue[Named] = SigningQueue(1000, serve)
    for number in range(150):
        queue.enter(Named(f"{number}", []), "one")
    await until(lambda: queue.is_idle)
    assert sizes[:12] == [1, 2, 4, 8, 16, 8, 16, 32, 16, 8, 4, 2]
    assert set(sizes[12:19]) == {1}


async def test_queue_steps_do_not_grow_with_its_length(monkeypatch):
    """A newcomer to a full queue costs the same, whether sixteen or four thousand wait in as many groups."""

    def steps(limit: int) -> int:
        turns = Turns(limit)
        for number in range(limit - 3):
            turns.enter("x", f"group {number}")
        for _ in range(3):
            turns.enter("x", "greedy")
        return count_calls(lambda: turns.enter("x", "modest"))

    assert steps(16) == steps(4096)


def count_calls(call) -> int:
    """How many calls the queue makes and takes meanwhile; others, as of the collector of garbage, are not its own."""
    count = 0

    def profile(frame, event, _argument) -> None:
        nonlocal count
        count += event in ("call", "c_call") and frame.f_globals["__name__"] == SigningQueue.__module__

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


async def test_port_greedy_client_makes_another_wait_for_one_signature():
    """One client with two hundred connections that wait, another with one: it is answered after one signature."""
    responder = FakeResponder()
    server = make_server(responder)
    greedy = [connect(server, "192.0.2.1") for _ in range(200)]
    for number, (connection, _) in enumerate(greedy):
        connection.data_received(post(b"0nonce-greedy-%d" % number))
    modest, transport = connect(server, "198.51.100.1")
    modest.data_received(post(b"0nonce-modest"))
    await settle(server)
    assert [der for der, _ in responder.calls].index(b"0nonce-modest") == 1
    assert answers(transport) == [b"200 answer to 0nonce-modest"]


async def test_port_full_queue_is_cut_where_most_wait_and_metrics_say_so():
    """The greediest client's newest is told tryLater in place of others, and the metrics name it by a hash."""
    server = make_server(max_in_flight=8)
    greedy = [connect(server, f"192.0.2.{number}") for number in range(1, 13)]
    for number, (connection, _) in enumerate(greedy):
        connection.data_received(post(b"0nonce-%d" % number))
    others = [connect(server, f"198.51.{number}.1") for number in range(3)]
    for connection, _ in others:
        connection.data_received(post(b"0nonce-other"))
    told_later = [answers(transport) == [b"200 " + LATER] for _, transport in greedy]
    assert told_later == [False] * 5 + [True] * 7  # four found no place, and three gave way
    await settle(server)
    assert all(answers(transport) == [b"200 answer to 0nonce-other"] for _, transport in others)
    counters = whole(server.summing())["counters"]
    assert counters["lost_turns"] == {server.state.groups.hashed("4:c00002"): 7}
    assert "c00002" not in str(counters)
    assert counters["errors"] == {"overloaded": 7}


async def test_port_cached_answers_and_known_requests_need_no_turn():
    """A client whose queue is full still gets what is cached, also what another's turn has made meanwhile."""
    responder = FakeResponder()
    server = make_server(responder, max_in_flight=2)
    clients = [connect(server) for _ in range(4)]
    clients[0][0].data_received(post(b"0nonce"))
    clients[1][0].data_received(post(GOOD))
    clients[2][0].data_received(get(GOOD))
    clients[3][0].data_received(post(b"0nonce-beyond"))
    assert answers(clients[2][1]) == answers(clients[3][1]) == [b"200 " + LATER]
    await settle(server)
    assert [der for der, _ in responder.calls] == [b"0nonce", GOOD]
    for connection, _ in clients[:2]:
        connection.data_received(post(b"0nonce"))
    clients[3][0].data_received(post(GOOD))
    assert answers(clients[3][1])[1:] == [b"200 answer to 0good"]


@pytest.mark.parametrize(("peer", "place"), [("10.0.0.1", 1), ("192.0.2.1", 10)], ids=["trusted", "stranger"])
async def test_port_clients_behind_a_trusted_proxy_are_told_apart(peer, place):
    """What a trusted proxy says of its clients decides whose turn it is; what anybody else says does not."""
    responder = FakeResponder()
    server = make_server(responder, trusted_proxies=(ip_network("10.0.0.0/8"),))
    for number in range(10):
        connection, _ = connect(server, peer)
        connection.data_received(post(b"0nonce-%d" % number, headers="X-Forwarded-For: 203.0.113.1\r\n"))
    connection, _ = connect(server, peer)
    connection.data_received(post(b"0nonce-modest", headers="X-Forwarded-For: 203.0.114.1\r\n"))
    await settle(server)
    assert [der for der, _ in responder.calls].index(b"0nonce-modest") == place


def groups(*proxies: str) -> ClientGroups:
    return ClientGroups(24, 56, tuple(map(ip_network, proxies)))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:0:1ff::1", "2001:db8:0:100::2", True),
        ("2001:db8:0:1ff::1", "2001:db8:0:200::1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::c0:2", "192.0.2.1", False),
        ("", "/run/socket", True),
    ],
)
def test_client_group_is_the_network_of_the_address(one, other, same):
    """IPv4 by its first 24 bits and IPv6 by its first 56, unless set otherwise."""
    assert (groups().of(one) == groups().of(other)) is same


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"203.0.113.1", "203.0.113.1"),
        (b"198.51.100.7, 203.0.113.1", "203.0.113.1"),
        (b"203.0.113.1, 10.9.9.9", "203.0.113.1"),
        (b"203.0.113.1,10.9.9.9 , 10.8.8.8", "203.0.113.1"),
        (b"10.9.9.9", "10.9.9.9"),
        (b"unknown", "10.0.0.1"),
        (b"203.0.113.1, junk, 10.9.9.9", "10.9.9.9"),
        (b"2001:db8::1", "2001:db8::1"),
        (b"", "10.0.0.1"),
        (b"\xff\xfe", "10.0.0.1"),
        (None, "10.0.0.1"),
        (b"203.0.113.1" + b", 10.9.9.9" * (MAX_HOPS + 1), "10.9.9.9"),
    ],
)
def test_client_behind_trusted_proxies_is_the_nearest_stranger(header, client):
    """Read from the right, as far as those who wrote it are trusted: what a client claims of itself is not believed."""
    with_proxies = groups("10.0.0.0/8")
    assert with_proxies.of("10.0.0.1", header) == with_proxies.of(client)
    assert groups().of("10.0.0.1", header) == groups().of("10.0.0.1")


def test_lost_turns_are_told_of_few_clients():
    """However many networks a stranger has, the metric has a bounded number of labels."""
    counters = make_server().state.counters
    for number in range(1000):
        counters.lost_turn(f"{number}")
    counters.lost_turn("0")
    assert len(counters.lost_turns) == MAX_LOSERS + 1
    assert (counters.lost_turns["0"], counters.lost_turns[OTHERS]) == (2, 1000 - MAX_LOSERS)


class Recorded:
    """What the audit log would be told of, by client."""

    clients = wanted = True

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, *_: object) -> tuple:
        return (("CA", "0x01", "good"),)

    def count(self, _note: tuple, client: str) -> None:
        self.counts[client] += 1


@pytest.mark.parametrize("proxied", [True, False])
async def test_record_of_an_answer_names_the_client_and_the_proxy_that_asked_for_it(proxied):
    """Behind a trusted proxy the audit log has whom it asks for and the proxy, kept answers included; else the peer."""
    records = Recorded()
    proxies = (ip_network("10.0.0.0/8"),) if proxied else ()
    server = make_server(FakeResponder(), records=records, trusted_proxies=proxies)
    connection, _ = connect(server, "10.0.0.1")
    for client in ("203.0.113.1", "203.0.113.2", "203.0.113.2"):
        connection.data_received(post(b"the same", headers=f"X-Forwarded-For: {client}\r\n"))
        await settle(server)
    named = {"203.0.113.1 via 10.0.0.1": 1, "203.0.113.2 via 10.0.0.1": 2}
    assert records.counts == (named if proxied else {"10.0.0.1": 3})


class OneKeyFails(FakeResponder):
    """Answers of which those to requests that say so have a signer whose key fails."""

    def draft(self, request_der: bytes, at: int) -> Draft | Answer:
        draft = super().draft(request_der, at)
        if b"unsigned" in request_der:
            draft.template.signing.signer.sign = fail
        return draft


def fail(_tbs: bytes, _algorithm: str) -> bytes:
    raise SigningError("the key is gone")


async def test_port_key_that_fails_costs_its_own_answers_alone():
    """Of those whose turns come together, who wants a signature that cannot be made takes none from another."""
    server = make_server(OneKeyFails())
    waiters = [connect(server) for _ in range(3)]
    for (connection, _), der in zip(waiters, (b"0nonce-a", b"0nonce-unsigned", b"0nonce-b"), strict=True):
        connection.data_received(post(der))
    server.state.answer_all([connection for connection, _ in waiters])
    replies = [answers(transport) for _, transport in waiters]
    assert replies == [[b"200 answer to 0nonce-a"], [b"200 " + INTERNAL], [b"200 answer to 0nonce-b"]]
    assert whole(server.summing())["counters"]["errors"] == {"signing": 1}
