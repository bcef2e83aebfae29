"""What members tell each other of their facts: changes by long poll, documents, and what is answered from."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from aiohttp import web

from vouchd.agent.admission import secured
from vouchd.agent.domain.bodies import json_answer, read_epochs, read_object, read_seconds
from vouchd.agent.domain.served_changes import ServedChanges
from vouchd.agent.server import CLOSING
from vouchd.api.services import Services
from vouchd.cloning.following import mirror_of
from vouchd.cloning.listing import listing
from vouchd.cloning.membership import effective_settings
from vouchd.cloning.peers import Peers
from vouchd.core import records
from vouchd.core import records as setrecords
from vouchd.core.changes import NEVER, Concerned
from vouchd.core.facts import Caller
from vouchd.core.ports import MirrorStore
from vouchd.core.signer_facts import word_record
from vouchd.errors import ConfigError
from vouchd.settings import cs_cfg
from vouchd.threads import in_thread

LONGEST_WAIT_SECONDS = 60.0
MAX_NEWER_BYTES = 1 << 19


class DomainState:
    """The handlers. However many wait for a change, the facts are read once for it.

    `peers` are the other members as this one knows them; `news` waits until the store has a higher revision.
    """

    def __init__(self, services: Services, peers: Peers, news: Callable[[int], Awaitable[None]]) -> None:
        self._services = services
        self._peers = peers
        self._news = news
        self._reading = asyncio.Lock()
        self._served = ServedChanges()
        self._run = secrets.token_hex(8)  # revisions count for this process: a store may be put back between two
        self._read_at = -1  # the revision of what was read last, by the version after which it is told
        self._parts: dict[str, tuple[str, bytes]] = {}

    async def state(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The facts that members share, as soon as they are others than those of the version `after`.

        Told is what changed since to who asks for `changes` after a version that this process has told, else all. No
        thread waits with the caller. 204 when `wait` seconds have passed, or the port is about to close.
        """
        after = request.query.get("after", "")
        since = after if "changes" in request.query else ""
        wait = read_seconds(request.query.get("wait", "0"), LONGEST_WAIT_SECONDS)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            revision, version, body = await self._told_after(since)
            if version != after:
                return web.Response(body=body, content_type="application/json")
            left = until - loop.time()
            if left <= 0 or request.app[CLOSING].is_set():
                return web.Response(status=204)
            await self._change(request.app[CLOSING], revision, left)

    async def _told_after(self, after: str) -> tuple[int, str, bytes]:
        """Revision of the store, version of its facts, and the body that tells what is to be told after that version.

        The version is `after` itself where nothing differs. Raises: ConfigError.
        """
        mirror = mirror_of(self._services.store)
        if mirror is None:
            raise ConfigError(
                "this member keeps its facts in a directory server", hint="the directory servers replicate them"
            )
        async with self._reading:
            # First the revision: facts that are newer than it are told once more, older ones never are.
            revision = await in_thread(self._services.store.revision)
            if revision != self._read_at:
                self._read_at, self._parts = revision, {}
            if after not in self._parts:
                self._parts[after] = await in_thread(lambda: self._part(mirror, after))
            return revision, *self._parts[after]

    def _part(self, mirror: MirrorStore, after: str) -> tuple[str, bytes]:
        """Version of the facts now, and the body that tells those that changed since the version `after`, or all."""
        run, _, place = after.partition(":")
        since, _, others = place.partition(":")
        known = int(since) if run == self._run and since.isdecimal() else NEVER
        revision, facts, concerned = mirror.facts_since(known)
        rest = replace(facts, authorities=(), epochs=(), quarantined=(), high_water=())
        digest = hashlib.sha256(json.dumps(setrecords.facts_record(rest)).encode()).hexdigest()[:16]
        if concerned == Concerned() and digest == others:
            return after, b""
        body = {"digest": (version := f"{self._run}:{revision}:{digest}"), "facts": setrecords.facts_record(facts)}
        if concerned is not None:
            body["concerned"] = setrecords.concerned_record(concerned)
        return version, json.dumps(body).encode()

    async def _change(self, closing: asyncio.Event, revision: int, seconds: float) -> None:
        """Wait for a higher revision of the store, at most so long and not beyond the closing of the port."""
        newer = asyncio.ensure_future(self._news(revision))
        closed = asyncio.ensure_future(closing.wait())
        try:
            await asyncio.wait((newer, closed), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            newer.cancel()
            closed.cancel()

    async def document(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The bytes of a document that the facts name."""
        chunks = await in_thread(lambda: self._services.store.document_chunks(request.match_info["sha256"]))
        first = await in_thread(lambda: _next(chunks))  # what is not there is found out before the answer has begun
        response = secured(web.StreamResponse(headers={"Content-Type": "application/octet-stream"}))
        await response.prepare(request)
        chunk = first
        while chunk is not None:
            await response.write(chunk)
            chunk = await in_thread(lambda: _next(chunks))
        await response.write_eof()
        return response

    async def epochs(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """What this member answers from now: its epochs, its clock, which member it takes for the master, who asks.

        Of the epochs only those of CAs of which some changed, to who names the version `after` that this process told.
        """
        asking = await in_thread(lambda: self._peers.known(caller.member))  # first: it may be what shows the master
        master = await in_thread(self._peers.master)
        state = self._services.running.state()
        version, concerned = self._served.since(request.query.get("after", ""), state)
        body: dict[str, object] = {
            "now": self._services.clock.now(),
            "version": version,
            "master": setrecords.member_record(master) if master else None,
            "keyring": word_record(self._peers.saying()),
            "asking": setrecords.member_record(asking) if asking else None,
        }
        if concerned is not None:
            body["concerned"] = sorted(concerned)
        serving = state.authorities if concerned is None else filter(None, map(state.by_id.get, concerned))
        epochs = [point.epoch for each in serving for point in each.points]
        # Of ten thousand CAs it is some megabytes: others are answered meanwhile.
        records_of = await in_thread(lambda: [records.served_record(epoch) for epoch in epochs])
        return await in_thread(lambda: json_answer(body | {"epochs": records_of}))

    async def newer(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Another member says what it answers from and this one does not; which one its own key says."""
        epochs = read_epochs(read_object(await request.read()))
        await in_thread(lambda: self._peers.hear(caller.member, epochs))
        return json_answer({})

    async def listed(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """List Certificate Authorities of this member, for another one that compares it with its own."""
        settings = await in_thread(self._settings)
        return json_answer({"list": listing(self._services.running.state(), self._services.clock.now(), settings)})

    def _settings(self) -> dict[str, str] | None:
        """The shared settings that this instance runs with, None before it does."""
        path = self._services.layout.active_cs_cfg
        return effective_settings(cs_cfg.read(path)) if path.exists() else None


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)
