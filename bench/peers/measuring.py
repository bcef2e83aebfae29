"""Rate, latency, processor time and memory of a responder that answers, and the answers themselves held to the list."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp

from bench import signing
from bench.peers.peer import Peer, Serving, Site, Unavailable
from bench.processes import cpu_seconds, pss_mib

FEWEST = 500  # answers in a round, so that those under way at its end hardly count
LONGEST_SECONDS = 10
QUESTIONS = (
    signing.Row("one question again and again", ""),
    signing.Row("each serial new", "", signing.COLD),
    signing.Row("each serial new, with a nonce", "", signing.COLD | signing.WARM),
)


@dataclass(frozen=True, slots=True)
class Answers:
    """To one kind of question: the median of the rounds, the processor time at its least."""

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of measuring one responder; `absence` says why nothing did."""

    name: str
    version: str = ""
    answers: Mapping[str, Answers | str] = field(default_factory=dict)  # by the question, or why there are none
    memory_mib: float = math.nan
    list_seconds: float = math.nan
    listing: str = ""
    note: str = ""
    absence: str = ""


def measure(peer: Peer, site: Site, seconds: int, rounds: int) -> Result:
    """A responder from its start to its end; whatever fails in it is its own."""
    print(f"measuring {peer.name}", flush=True)
    try:
        with peer.serving(site) as serving:
            with_nonce = check(serving.ask, site)
            answers: dict[str, Answers | str] = {}
            for question in QUESTIONS:
                if signing.NONCE in question.holes and not with_nonce:
                    answers[question.what] = "it answers without the nonce"
                else:
                    answers[question.what] = _answers(serving, site, question, seconds, rounds)
            memory = sum(map(pss_mib, serving.pids()))
            listed = serving.list_seconds, serving.listing
            return Result(peer.name, serving.version, answers, memory, *listed, serving.note)
    except (Exception, SystemExit) as error:  # noqa: BLE001  somebody else's program: the others are measured
        return Result(peer.name, absence=" ".join(str(error).split()) or type(error).__name__)


def check(ask: Callable[[bytes], ocsp.OCSPResponse], site: Site) -> bool:
    """Whether a responder answers with the nonce; what it answers is held to the list, and signed.

    Raises:
        Unavailable: it is not, so that its figures would say nothing.
    """
    serial = int.from_bytes(signing.SERIAL)
    for number, status in ((serial, "GOOD"), (site.revoked[0].serial_number, "REVOKED")):
        answer = ask(signing.request(site.ca, number))
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise Unavailable(f"its answer has status {answer.response_status.name}")
        if answer.certificate_status.name != status or answer.serial_number != number:
            raise Unavailable(f"it answers {answer.certificate_status.name} where {status} is right")
        if not any(_signed_by(certificate, answer) for certificate in (site.signer, *answer.certificates)):
            raise Unavailable("its answer is signed by nobody that it names")
    nonce = x509.OCSPNonce(signing.NONCE)
    extensions = ask(signing.request(site.ca, serial, signing.NONCE)).extensions
    return any(extension.value == nonce for extension in extensions)


def _signed_by(certificate: x509.Certificate, answer: ocsp.OCSPResponse) -> bool:
    key = certificate.public_key()
    digest = answer.signature_hash_algorithm
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), digest)
    except InvalidSignature:
        return False
    return isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)


def _answers(serving: Serving, site: Site, question: signing.Row, seconds: int, rounds: int) -> Answers:
    load = signing.Load(question, site.ca, site.folder, serving.path, serving.serials)
    first = _load(serving, load, serving.warm_up_seconds)
    enough = min(math.ceil(FEWEST / first.rate), LONGEST_SECONDS)
    return summary([_load(serving, load, max(seconds, enough)) for _ in range(rounds)])


def _load(serving: Serving, load: signing.Load, seconds: int) -> Answers:
    serving.refresh()
    before, begin = sum(map(cpu_seconds, serving.pids())), time.monotonic()
    load_report = signing.wrk(
        serving.port, load.script(), seconds, signing.CONNECTIONS, serving.address, serving.inside, LONGEST_SECONDS
    )
    taken = sum(map(cpu_seconds, serving.pids())) - before
    if not load_report.requests:
        raise Unavailable(
            f"it answers nothing to {signing.CONNECTIONS} connections in {time.monotonic() - begin:.0f} s"
        )
    p50, p99 = (load_report.latency_ms.get(percent, math.nan) for percent in (50, 99))
    return Answers(load_report.rate, taken / load_report.requests * 1e6, p50, p99)


def summary(rounds: Sequence[Answers]) -> Answers:
    """Of several rounds one: what else runs makes an answer dearer, never cheaper."""
    rate, p50, p99 = (
        statistics.median(column)
        for column in zip(*((one.rate, one.p50_ms, one.p99_ms) for one in rounds), strict=True)
    )
    return Answers(rate, min(one.cpu_us for one in rounds), p50, p99)
