"""What the manager process does for the audit log: start, end, records of answers and sessions, signatures."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from vouchd.audit.chain import Entry
from vouchd.audit.log import ITSELF, AuditLog
from vouchd.audit.signing import AuditSigning
from vouchd.audit.traffic import SessionRecords, Traffic
from vouchd.core.facts import Caller
from vouchd.core.policy import ClientAddress
from vouchd.core.ports import Clock, Signer
from vouchd.errors import VouchdError

OCSP_GENERATION = "OCSP_GENERATION"
_LOT = 1_000  # records of a start that are made at a time: there may be ten thousand signers
_MAX_WAITING = 20_000  # answers that wait while the log cannot be written

_TIDY_SECONDS = 3600
_TRAFFIC_SECONDS = 900  # records of traffic alone wait so long for a signature
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer that was given `count` times to one client in one second; `status` is CertStatus, or an error's cause.

    `client` is the address as the socket has it, empty when it is not to be recorded; where a trusted `proxy` asks for
    the client, it is the one that the proxy names.
    """

    time: int
    ca: str
    serial: str
    status: str
    client: str
    count: int
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class AuditState:
    """What is shown of the log: its newest record, whether it can be written (`why` not), records not signed yet."""

    newest: int = 0
    unsigned: int = 0
    up: bool = True
    lost_answers: int = 0
    why: str = ""


class AuditKeeping:
    """`keep` is called every second in any thread; without `signing` nothing is signed.

    Records of answers and sessions are no administrative acts: they are written a moment later, and while the log
    cannot be written answers beyond a limit are lost, which is counted and recorded. `sessions` takes those of the
    agent port, `traffic` counts who was identified over them. `shown` makes of a client's address what is recorded.
    `signers` finds out the key identifiers (hexadecimal) of the keys that answers are signed with, by nickname: of ten
    thousand that takes a while, and is for the log alone. A file that was put aside is deleted when its last record is
    `expires_seconds` old; 0: never.
    """

    def __init__(
        self,
        log: AuditLog,
        signing: AuditSigning | None,
        clock: Clock,
        *,
        flush_seconds: int = 5,
        sample: int = 1,
        shown: Callable[[str], str] = str,
        signers: Callable[[], Mapping[str, str]] = dict,
        expires_seconds: int = 0,
        traffic: Traffic | None = None,
    ) -> None:
        self._log = log
        self._signers = signers
        self._expires_seconds = expires_seconds
        self._tidied_at = 0
        self._signing = signing
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._sample = sample
        self._shown = shown
        self.sessions = SessionRecords(clock, shown)
        self._traffic = traffic or Traffic(log, clock)
        self._counted: list[Entry] = []
        self._writing = threading.Lock()
        self._answers: deque[GivenAnswer] = deque()
        self._lost = self._lost_told = 0
        self._looked_at = self._signed_at = 0
        self._error = ""

    def started(self) -> None:
        """Record that the instance starts; one that cannot be recorded does not keep it from answering."""
        identifiers, self._signers = self._signers(), dict  # once, and what it takes to find them out is let go of
        entries = self._of_start(identifiers)

        def record() -> None:
            while lot := tuple(islice(entries, _LOT)):
                self._log.record_all(lot)

        self._attempt(record)

    def _of_start(self, identifiers: Mapping[str, str]) -> Iterator[Entry]:
        """What is recorded of a start."""
        at = self._clock.now()
        yield Entry(at, "AUDIT_LOG_STARTUP", "success", ITSELF, {"signed": int(self._signs)})
        for nickname, key_id in sorted(identifiers.items()):
            yield Entry(at, "OCSP_SIGNING_INFO", "success", ITSELF, {"signer": nickname, "key_id": key_id})

    def stopped(self) -> None:
        """Record that the instance stops, and sign the last records."""

        def end() -> None:
            self._write_waiting(final=True)
            self._log.record("AUDIT_LOG_SHUTDOWN", ITSELF, "success")
            self._sign()

        self._attempt(end)

    def keep(self) -> None:
        """Write the records that are due, and sign when it is time."""
        self._keep(final=False)

    def keep_last(self) -> None:
        """The same when the process is about to become another one: nothing may wait any longer."""
        self._keep(final=True)

    def _keep(self, *, final: bool) -> None:
        def work() -> None:
            self._write_waiting(final=final)
            if self._clock.now() - self._looked_at >= self._flush_seconds:
                self._sign(traffic=self._clock.now() - self._signed_at >= _TRAFFIC_SECONDS)
            if self._expires_seconds and self._clock.now() - self._tidied_at >= _TIDY_SECONDS:
                self._tidied_at = self._clock.now()
                self._log.delete_before(self._clock.now() - self._expires_seconds)

        self._attempt(work)

    def sign_with(self, signer: Signer) -> None:
        """Sign with another key from now on. Raises: StoreUnavailable, SigningError; then all stays as it was."""
        with self._writing:
            if self._signing is None:
                self._signing = AuditSigning(self._log, signer, self._clock)
            else:
                self._signing.succeed(signer)

    def take_answers(self, answers: Sequence[GivenAnswer], lost: int) -> None:
        """Take records of answers; `lost` are those that the worker had no room for."""
        room = max(0, _MAX_WAITING - len(self._answers))
        self._answers.extend(answers[:room])
        self._lost += lost + sum(answer.count for answer in answers[room:])

    def state(self) -> AuditState:
        """What is shown of the log."""
        link, signed = self._log.end, self._signing.signed_through if self._signing else 0
        return AuditState(link.seq, max(0, link.seq - signed), not self._error, self._lost, self._error)

    @property
    def _signs(self) -> bool:
        return self._signing is not None

    def _sign(self, *, traffic: bool = True) -> None:
        self._looked_at = self._clock.now()
        if self._signing is None:
            self._log.extend(lambda _: ())  # to know how far other processes have come
        elif self._signing.sign(traffic=traffic):
            self._signed_at = self._looked_at

    def _write_waiting(self, *, final: bool) -> None:
        if len(self._counted) < _MAX_WAITING:  # else the log cannot be written: they go on being counted
            self._counted += [*self.sessions.due(final=final), *self._traffic.due(final=final)]
        waiting = list(self._answers)
        entries = [*self._counted, *map(self._entry, waiting)]
        lost = self._lost - self._lost_told
        if lost:
            detail: dict[str, str | int] = {"lost": lost, "why": "more answers than could be recorded"}
            entries.append(Entry(self._clock.now(), OCSP_GENERATION, "failure", ITSELF, detail))
        if not entries:
            return
        self._log.record_all(entries)
        self._lost_told += lost
        self._counted.clear()
        for _ in waiting:
            self._answers.popleft()

    def _entry(self, answer: GivenAnswer) -> Entry:
        detail: dict[str, str | int] = {"status": answer.status, "count": answer.count}
        if answer.serial:
            detail = {"ca": answer.ca, "serial": answer.serial, **detail}
        if self._sample > 1:
            detail["one_in"] = self._sample
        if answer.proxy:
            detail["proxy"] = answer.proxy
        client = self._shown(answer.client) if answer.client else "-"
        outcome = "success" if answer.serial else "failure"
        return Entry(answer.time, OCSP_GENERATION, outcome, Caller("OCSP client", origin=client), detail)

    def _attempt(self, work: Callable[[], None]) -> None:
        with self._writing:
            try:
                work()
            except VouchdError as error:
                if str(error) != self._error:
                    _log.error("audit log: %s; %s", error, error.hint)
                self._error = str(error)
                return
        if self._error:
            _log.info("audit log: written again")
        self._error = ""


# How an OCSP client's address is shown in the audit log.

_HASH_CHARACTERS = 16


def address_shown(policy: ClientAddress) -> Callable[[str], str]:
    """What is recorded of an address under `policy`; hashes are comparable until the process ends, and not after."""
    if policy is ClientAddress.FULL:
        return str
    if policy is ClientAddress.TRUNCATED:
        return _truncated
    if policy is ClientAddress.NONE:
        return lambda _: "-"
    key = secrets.token_bytes(32)
    return lambda address: hmac.new(key, address.encode(), hashlib.sha256).hexdigest()[:_HASH_CHARACTERS]


def _truncated(address: str) -> str:
    """The network of an address: IPv4 /24, IPv6 /48; one that is mapped into IPv6 is IPv4."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "-"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
