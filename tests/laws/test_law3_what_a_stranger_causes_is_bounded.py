"""Law 3: what a stranger can cause is bounded, in bytes, in steps, in descriptors and in share.

Three tables, one row a resource. LINEAR: the work for what was sent grows with its length and no faster. BOUNDED: however
much a stranger does, no more than a limit is taken. SHARED: however much a stranger holds, another client is served.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from tests.ee.ee_fakes import AT, GOOD, FakeResponder, cached_answer, connect, get, make_server, post
from tests.ee.test_connection import answers, settle
from tests.faults.page import FaultTable
from tests.pkix import crls
from tests.pkix.test_ocsp import CRITICAL, cert_id, extension, request

from fuzz.bounds import cost
from vouchd.agent.certsystem.forms import FormReader, parse_form
from vouchd.agent.places import Places
from vouchd.agent.uploads import CRLUpload
from vouchd.audit.answer_records import MAX_ROWS, AnsweredRecords
from vouchd.core.policy import AnswerRecords
from vouchd.ee import getpath
from vouchd.ee.cache import MAX_HEADS_BYTES, ResponseCache
from vouchd.ee.client_groups import ClientGroups
from vouchd.ee.counted_responder import MAX_LOSERS
from vouchd.ee.http_request import HTTPRequest, RequestReader
from vouchd.ee.in_process import MAX_WAITING, InProcessAnswers
from vouchd.errors import VouchdError
from vouchd.pkix import der, names, pem
from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.ocsp import parse_request
from vouchd.processes.control import encode
from vouchd.settings.tcp_ports import AgentPort, KeyFiles
from vouchd.sockets import SPARE_DESCRIPTORS, connection_room

# What is sent, of about that many bytes, and who reads it.
Reader = Callable[[bytes], object]
NAME = der.tlv(0x31, der.tlv(0x30, der.oid_tlv("2.5.4.3"), der.tlv(0x0C, b"a")))


def http(data: bytes) -> None:
    """The HTTP reader without limits of its own: what is left is what it does for each byte."""
    reader = RequestReader(1 << 30, 1 << 30)
    for start in range(0, len(data), 1000):
        reader.feed(data[start : start + 1000])


def whole_crl(data: bytes) -> None:
    """Header and entries of a CRL, before its signature is looked at."""
    for _ in entries(data, read_header(data)):
        pass


def conditional(data: bytes) -> None:
    """A conditional GET."""
    entry = cached_answer(b"answer")
    entry.matches(HTTPRequest(b"GET", if_none_match=data))
    entry.matches(HTTPRequest(b"GET", if_modified_since=data))


def form_by_octets(data: bytes) -> None:
    """A form that comes in octet by octet."""
    reader = FormReader(lambda _: bytearray().extend)
    for at in range(len(data)):
        reader.add(data[at : at + 1])
    reader.close()


def upload_by_octets(data: bytes) -> None:
    """A CRL that does."""
    upload = CRLUpload()
    for at in range(len(data)):
        upload.add(data[at : at + 1])
    upload.crl.object()


def offered(size: int) -> bytes:
    """A POST that offers h2c, with a body of many chunks."""
    offer = "Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n"
    head = f"POST / HTTP/1.1\r\nHost: a\r\n{offer}\r\n".encode()
    return head + b"1\r\nx\r\n" * (size // 6) + b"0\r\n\r\n"


LINEAR: dict[str, tuple[Reader, Callable[[int], bytes]]] = {
    "OCSP, OID of a critical extension": (
        parse_request,
        lambda size: request(extensions=[extension(b"\x2a" + b"\xff" * size + b"\x01", b"", critical=CRITICAL)]),
    ),
    "OCSP, OID of a CertID's digest": (
        parse_request,
        lambda size: request(cert_id(algorithm=der.tlv(0x30, der.tlv(6, b"\xff" * size + b"\x01")))),
    ),
    "OCSP, CertIDs": (lambda data: parse_request(data, max_cert_ids=10**6), lambda size: request(*[cert_id()] * (size // 70))),
    "OCSP, elements of two bytes": (parse_request, lambda size: request(b"\x05\x00" * (size // 2))),
    "OCSP, acceptable responses": (
        parse_request,
        lambda size: request(
            extensions=[
                extension(der.oid_octets("1.3.6.1.5.5.7.48.1.4"), der.tlv(0x30, *[der.oid_tlv("1.2.3")] * (size // 4)))
            ]
        ),
    ),
    "OCSP, extension of no meaning": (
        parse_request,
        lambda size: request(extensions=[extension(b"\x2a\x03", bytes(size))]),
    ),
    "GET, base64": (getpath.decode, lambda size: b"/M" + b"A" * size),
    "GET, escaped twice": (getpath.decode, lambda size: b"/M" + b"%2541" * (size // 5)),
    "GET, slashes": (getpath.decode, lambda size: b"/" * size),
    "HTTP, header lines": (http, lambda size: b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (size // 6)),
    "HTTP, one header repeated": (http, lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * (size // 8) + b"\r\n"),
    "HTTP, requests": (http, lambda size: get() * (size // len(get()))),
    "HTTP, body": (http, lambda size: post(bytes(size))),
    "HTTP, chunks behind an Upgrade": (http, offered),
    "HTTP, Upgrades": (http, lambda size: post(headers="Connection: Upgrade\r\nUpgrade: h2c\r\n") * (size // 100)),
    "HTTP, conditions": (conditional, lambda size: b'"x", ' * (size // 5)),
    "HTTP, proxies": (
        lambda data: ClientGroups(24, 56).of("10.0.0.1", data),
        lambda size: b"10.0.0.1, " * (size // 10),
    ),
    "CRL, OID of an extension": (
        read_header,
        lambda size: crls.crl(extensions=(crls.extension(b"\xff" * size + b"\x01", b"", critical=True),)),
    ),
    "CRL, issuer": (read_header, lambda size: crls.crl(issuer=der.tlv(0x30, *[NAME] * (size // len(NAME))))),
    "CRL, entries": (whole_crl, lambda size: crls.crl(*[crls.entry()] * (size // 20))),
    "CRL, reasons of one entry": (whole_crl, lambda size: crls.crl(crls.entry(b"\x05", *[crls.reason(1)] * (size // 12)))),
    "name, shown": (names.readable, lambda size: der.tlv(0x30, *[NAME] * (size // len(NAME)))),
    "name, OID": (names.readable, lambda size: der.tlv(0x30, der.tlv(0x31, der.tlv(0x30, der.tlv(6, b"\xff" * size + b"\x01"), NAME)))),
    "name, compared": (names.canonical, lambda size: der.tlv(0x30, der.tlv(0x0C, "a\u0315\u0300".encode() * (size // 5)))),
    "form, escapes": (parse_form, lambda size: b"crl=" + b"%41" * (size // 3)),
    "form, fields": (parse_form, lambda size: b"a&" * (size // 2)),
    "form, octet by octet": (form_by_octets, lambda size: b"a" * (size // 20) + b"%3D=%41" * (size // 20)),
    "CRL upload, octet by octet": (upload_by_octets, lambda size: b"-----BEGIN X509 CRL-----" + b"AA==" * (size // 40)),
    "CRL upload, blocks": (upload_by_octets, lambda size: b"-----BEGIN A----------END A-----" * (size // 320)),
    "PEM, blocks": (pem.labels, lambda size: b"-----BEGIN A----------END A-----" * (size // 32)),
    "PEM, no label": (pem.labels, lambda size: b"-----BEGIN A\n" * (size // 13)),
}  # fmt: skip


TABLE = FaultTable.of("a member")


@TABLE.fault(
    "a stranger sends what is costly to read or to refuse",
    "all others as before: the work is linear in what was sent, which has a limit",
    "answers by status, `malformedRequest` among them, in the metrics",
    "nothing to mend",
)
@pytest.mark.parametrize("row", LINEAR)
def test_work_for_what_a_stranger_sends_is_linear_in_its_length(row):
    """Four times as much costs four times as many steps and bytes at most, whether it is read or refused."""
    read, make = LINEAR[row]

    def tried(data: bytes) -> None:
        with suppress(VouchdError, ValueError):
            read(data)

    tried(make(100))  # what is compiled and remembered at the first time
    small, large = (cost(partial(tried, make(size))) for size in (15_000, 60_000))
    assert large.steps <= 4.5 * small.steps + 100
    assert large.memory_bytes <= 4.5 * small.memory_bytes + 100_000


# --- Bounded: (what is taken after so many tries, the limit)


def cache_by_answers(tries: int) -> tuple[int, int]:
    """Answers to ever new requests, some oversized."""
    cache = ResponseCache(100_000)
    for number in range(tries):
        entry = cached_answer(bytes(1500))
        cache.put(b"%d" % number + bytes(number % 3000), entry, AT)
        cache.learn(HTTPRequest(b"GET", target=b"/%d" % number), entry, AT)
    return sum(entry.cost for entry in cache.by_der.values()), 100_000


def cache_by_lines(tries: int) -> tuple[int, int]:
    """One request, spelt in ever new ways."""
    cache = ResponseCache(100_000)
    entry = cached_answer(b"answer")
    cache.put(GOOD, entry, AT)
    for number in range(tries):
        cache.learn(HTTPRequest(b"GET", target=b"/%d" % number), entry, AT)
    return cache.size_bytes, 5000


def heads(tries: int) -> tuple[int, int]:
    """Ever new header lines."""
    cache = ResponseCache(100_000)
    for number in range(10 * tries):
        cache.lines_are_plain(b"Host: a\r\nX: %d%b\r\n\r\n" % (number, b"y" * 1500))
    return sum(map(len, cache.heads)), MAX_HEADS_BYTES + 2048


def bodies(tries: int) -> tuple[int, int]:
    """A body that never ends, in chunks."""
    reader = RequestReader(1024, 4096)
    reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(tries):
        reader.feed(b"10\r\n" + bytes(16) + b"\r\n")
    return sum(map(len, reader._body)), 4096


def heads_unfinished(tries: int) -> tuple[int, int]:
    """A header line that never ends: the reader is done with it."""
    reader = RequestReader(1024, 4096)
    reader.feed(b"GET / HTTP/1.1\r\nX: ")
    taken = 0
    for _ in range(tries):
        taken += not reader.done
        reader.feed(b"y" * 16)
    return taken * 16, 1024 + 16


def unread(tries: int) -> tuple[int, int]:
    """Requests of a client that does not read: none is served once its buffer is full."""
    server = make_server()
    connection, transport = connect(server)
    connection.data_received(get())
    connection.pause_writing()
    before = len(transport.written)
    for _ in range(tries):
        if transport.reading:
            connection.data_received(get())
    return len(transport.written) - before, 0


def connections(tries: int) -> tuple[int, int]:
    """Connections of one worker."""
    server = make_server(max_connections=20)
    for _ in range(tries):
        connect(server)
    return len(server.state.connections), 20


def places_of_agents(tries: int) -> tuple[int, int]:
    """Connections of the agent port, of one address."""
    places = Places(AgentPort(KeyFiles(Path(), Path()), max_per_address=10))
    return sum(not places.enter(Stranger(), "192.0.2.1") for _ in range(tries)), 10


def descriptors(tries: int) -> tuple[int, int]:
    """Connections that the process has descriptors for, however many are open already."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connection_room(0) + tries * 0, limit - SPARE_DESCRIPTORS


def audit_rows(tries: int) -> tuple[int, int]:
    """Rows that the audit log is told of one second, of answers with many certificates each."""
    records = AnsweredRecords(AnswerRecords.ALL, 1, lambda _: "", clients=True)
    for number in range(10 * tries):
        records.count(tuple(("CA", "0x01", "good") for _ in range(100)), f"{number}")
    return sum(len(message["answered"]) for message in records.take(AT)), MAX_ROWS + 100


def control_messages(tries: int) -> tuple[int, int]:
    """The longest message to the manager, whatever characters names have."""
    records = AnsweredRecords(AnswerRecords.ALL, 1, lambda _: "", clients=True)
    for number in range(tries):
        records.count((("\U0001f600" * 200, "0x" + "ff" * 64, "revoked"),), f"client {number}")
    return max(len(encode(message)) for message in records.take(AT)), 200_000


def labels(tries: int) -> tuple[int, int]:
    """Labels of the metric of lost turns."""
    counters = make_server().state.counters
    for number in range(tries):
        counters.lost_turn(str(number))
    return len(counters.lost_turns), MAX_LOSERS + 1


def oid_text(tries: int) -> tuple[int, int]:
    """The text of an OBJECT IDENTIFIER in a log."""
    try:
        return len(der.dotted(b"\x2a" * tries)), 512
    except ValueError as error:
        return len(str(error)), 512


BOUNDED = (
    cache_by_answers,
    cache_by_lines,
    heads,
    bodies,
    heads_unfinished,
    unread,
    connections,
    places_of_agents,
    descriptors,
    audit_rows,
    control_messages,
    labels,
    oid_text,
)


@TABLE.fault(
    "a stranger takes what there is of a kind: memory, connections, places of agents, descriptors, rows of the log",
    "all others as before: each kind has a limit and a share that strangers cannot take",
    "`vouchd_connections` beside `vouchd_connection_room`; the log, where the limit is descriptors",
    "by itself when he goes",
)
@pytest.mark.parametrize("exhaust", BOUNDED, ids=lambda exhaust: exhaust.__name__)
@pytest.mark.parametrize("tries", [1, 100, 1000])
async def test_what_a_stranger_takes_has_a_limit_however_often_he_tries(exhaust, tries):
    """The limit is the same after one try and after a thousand."""
    taken, limit = exhaust(tries)
    assert taken <= limit


# --- Shared


class Stranger:
    """A connection without a certificate that holds its place."""

    awaited = True
    is_busy = False

    def give_way(self) -> None:
        """It has no say in it."""


class FixedClock:
    """It is always AT."""

    def now(self) -> int:
        return AT


async def signing_turn(effort: int) -> int:
    """After how many signatures of the greedy client the modest one has its own, at the EE port."""
    responder = FakeResponder()
    server = make_server(responder, max_in_flight=64)
    for number in range(effort):
        connect(server, "192.0.2.1")[0].data_received(post(b"0nonce-%d" % number))
    connection, transport = connect(server, "198.51.100.1")
    connection.data_received(post(b"0nonce-modest"))
    await settle(server)
    assert answers(transport) == [b"200 answer to 0nonce-modest"]
    return [der for der, _ in responder.calls].index(b"0nonce-modest")


async def signing_turn_of_the_manager(effort: int) -> int:
    """The same at the agent port's OCSP path."""
    responder = FakeResponder()
    records = AnsweredRecords(AnswerRecords.NONE, 1, lambda _: "", clients=False)
    answering = InProcessAnswers(responder, records, FixedClock(), lambda _answers, _lost: None, ClientGroups(24, 56))
    greedy = [asyncio.create_task(answering.answer("POST", b"0nonce", "192.0.2.1")) for _ in range(effort)]
    modest = asyncio.create_task(answering.answer("POST", b"0nonce-modest", "198.51.100.1"))
    await asyncio.gather(modest, *greedy)
    assert len(responder.calls) <= MAX_WAITING + 2
    return [der for der, _ in responder.calls].index(b"0nonce-modest")


async def place_of_an_agent(effort: int) -> int:
    """How many tries an agent needs to get in while strangers of many addresses hold their places."""
    places = Places(AgentPort(KeyFiles(Path(), Path()), max_connections=20))
    for number in range(effort):
        places.enter(Stranger(), f"192.{number // 256}.{number % 256}.1")
    agent = Stranger()
    assert places.enter(agent, "203.0.113.1") == ""
    places.identify(agent)
    return 1


@TABLE.fault(
    "a stranger asks for more signatures than can be made",
    "all others in their turn; he, what is beyond his share, tryLater",
    "`vouchd_lost_turns_total`, `vouchd_waiting_groups`",
    "by itself when he goes",
)
@pytest.mark.parametrize(
    "wait", [signing_turn, signing_turn_of_the_manager, place_of_an_agent], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("effort", [0, 1, 50, 500])
async def test_what_others_wait_for_a_stranger_does_not_grow_with_his_effort(wait, effort):
    """Whoever asks a hundred times as much: another client waits for two of his turns at most."""
    assert await wait(effort) <= 2
