"""Comparing this instance with the other members: what they list, and what they answer when they are asked the same."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from vouchd.client.inquiry import Reply, send
from vouchd.client.transport import Connection
from vouchd.cloning.client import PeerClient
from vouchd.cloning.comparison import Comparison, Level, Probe, compare
from vouchd.cloning.expectations import Answer
from vouchd.cloning.listing import Listing, list_differences, listing
from vouchd.cloning.probing import MOST, SAMPLE, probes
from vouchd.cloning.verdicts import LIST, Difference, Verification, VerifiedMember, write_verification
from vouchd.cloning.verifying_master import ComparedMaster
from vouchd.core.facts import Member
from vouchd.core.ports import Clock
from vouchd.core.status import ServingState
from vouchd.errors import ClientError, VouchdError

SETTLE_SECONDS = 10.0  # a change needs a moment to reach all members
_TOLD = 20  # differences told of one member
_PAUSE_SECONDS = 0.2
_MOMENTS = 4  # how often two are asked whose answers differ only in the second that they were made in


class Verifying:
    """`state()` is what is served here, `own_url()` where (empty: nowhere), `connect` makes a client of a member.

    The last result is kept in the file `kept`. `settings()` are the shared settings in effect here, `on_tokens()` the
    key hashes and names (DER) of the signers here that are on tokens, where ECDSA signs at random. `master` makes what
    compares with the Certificate System that this instance is a clone of, where it is one.
    """

    def __init__(
        self,
        state: Callable[[], ServingState],
        own_url: Callable[[], str],
        others: Callable[[], Iterable[Member]],
        connect: Callable[[Member], PeerClient],
        clock: Clock,
        kept: Path,
        settings: Callable[[], Mapping[str, str]] | None = None,
        on_tokens: Callable[[], Collection[bytes]] = frozenset,
        master: Callable[[Callable[[], ServingState]], ComparedMaster | None] = lambda _: None,
    ) -> None:
        self._master = master
        self._on_tokens = on_tokens
        self._state = state
        self._settings = settings
        self._own_url = own_url
        self._others = others
        self._connect = connect
        self._clock = clock
        self._kept = kept
        self._one_at_a_time = threading.Lock()

    def verify(
        self, sample: int | None = None, chosen: Sequence[bytes] = (), settle_seconds: float = SETTLE_SECONDS
    ) -> Verification:
        """Compare; where there is a difference, again for so many seconds, and the last result counts.

        `sample` certificates of each kind and CA (None: 5, and 1000 of all CAs), or the serials `chosen` (DER INTEGER
        content octets) of every CA.

        Raises: ClientError when this instance does not answer; what `others` raises.
        """
        with self._one_at_a_time:
            until = time.monotonic() + settle_seconds
            pause = _PAUSE_SECONDS
            while not (verification := self._compared(sample, chosen)).identical and time.monotonic() < until:
                time.sleep(pause)
                pause *= 2
            if verification.members or self._kept.exists():
                write_verification(self._kept, verification)
            return verification

    def again(self, every_seconds: float) -> bool:
        """The comparison of a running instance, which changes nothing. Raises: as `verify`."""
        self.verify(settle_seconds=min(SETTLE_SECONDS, every_seconds))
        return False

    def _compared(self, sample: int | None, chosen: Sequence[bytes]) -> Verification:
        at, others = self._clock.now(), [_Other(member) for member in self._others()]
        master = self._master(self._state)
        if not others and master is None:
            return Verification(at, ())
        own_url, on_tokens = self._own_url(), self._on_tokens()
        if not own_url:
            raise ClientError("this instance does not run", hint="vouchd start")
        state = self._state()
        ours = listing(state, at, self._settings() if self._settings else None)
        with ExitStack() as open_until_the_end:
            own = open_until_the_end.enter_context(Connection(own_url))
            for other in others:
                open_until_the_end.enter_context(other.connection)
                other.compare_lists(self._connect, ours)
            if master is not None:
                open_until_the_end.enter_context(master.connection)
                master.compare_lists()
            for probe in _probes(state, sample, chosen):
                answering = [other for other in others if other.answers]
                with_master = master is not None and master.answers
                if answering or with_master:
                    reply = _own_reply(own, probe)
                for other in answering:
                    reply = other.compare_answers(probe, reply, partial(_own_reply, own, probe), at, on_tokens)
                if master is not None and with_master:
                    master.compare_answers(probe, Answer(reply.exchange, reply.response), at)
        beside = () if master is None else (master.result(),)
        return Verification(at, (*(other.result() for other in others), *beside))


def _probes(state: ServingState, sample: int | None, chosen: Sequence[bytes]) -> Iterator[Probe]:
    if sample is None:
        return probes(state, SAMPLE, chosen, MOST)
    return probes(state, sample, chosen)


class _Other:
    """One other member while it is compared; when it no longer `answers`, it is asked no more."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.connection = Connection(f"http://{member.host}:{member.ee_port}/")
        self.answers = True
        self._error = ""
        self._count: Counter[str] = Counter()
        self._examples: list[Difference] = []

    def compare_lists(self, connect: Callable[[Member], PeerClient], ours: Listing) -> None:
        try:
            theirs = connect(self._member).listing()
        except VouchdError as error:
            self._error = str(error)
            return
        for one in list_differences(ours, theirs):
            self._tell(Difference(LIST, one.what, "", one.field, one.ours, one.theirs))

    def compare_answers(
        self, probe: Probe, ours: Reply, ask_own: Callable[[], Reply], at: int, on_tokens: Collection[bytes]
    ) -> Reply:
        """Our answer that theirs was compared with: `ours`, or a later one where both were asked again."""
        for moment in range(_MOMENTS):
            ours = ask_own() if moment else ours
            try:
                theirs = send(self.connection, probe.question, probe.method)
            except ClientError as error:
                self.answers, self._error = False, self._error or str(error)
                return ours
            comparison = compare(probe, ours, theirs, at, on_tokens)
            if not comparison.of_two_moments:
                break
        self._count["questions"] += 1
        self._count["status"] += comparison.alike >= Level.STATUS
        self._count["response_data"] += comparison.alike >= Level.RESPONSE_DATA
        self._count["bytes"] += comparison.alike is Level.BYTES
        self._count["bytes_asked"] += comparison.wanted is Level.BYTES
        if not comparison.identical:
            self._tell(_difference(comparison))
        return ours

    def result(self) -> VerifiedMember:
        return VerifiedMember(self._member.id, self._error, examples=tuple(self._examples), expected=(), **self._count)

    def _tell(self, difference: Difference) -> None:
        self._count["differences"] += 1
        if len(self._examples) < _TOLD:
            self._examples.append(difference)


def _difference(comparison: Comparison) -> Difference:
    probe, worst = comparison.probe, comparison.differences[0]
    serial = hex(int.from_bytes(probe.question.cert_ids[0].serial, "big", signed=True))
    what = f"{probe.kind} {serial} of {probe.authority}" if probe.authority else f"certificate {probe.kind}"
    return Difference(worst.level.words, what, probe.way, worst.field, worst.ours, worst.theirs)


def _own_reply(own: Connection, probe: Probe) -> Reply:
    try:
        return send(own, probe.question, probe.method)
    except ClientError as error:
        raise ClientError(f"this instance does not answer: {error}", hint="see `vouchd status`") from error
