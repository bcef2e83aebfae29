"""Answers with a nonce, each signed on a token, beside what the token's module signs in a loop of its own.

What the ratio means. The denominator is the module by itself: as many processes as a worker has sessions, each with a
session of its own, in a loop that calls the module through python-pkcs11 over data of the length of ResponseData and
does nothing else, with nothing of vouchd in it; the machine is theirs alone meanwhile. That is the most that sessions
can give. The numerator is what one worker answers to wrk with as many sessions: beside the same signatures it reads,
drafts, verifies and writes, and wrk asks, on the same processors. Both are taken in turn, and the ratio is the median
of the pairs.

So with a token that computes on this machine (SoftHSM) the ratio also tells how many processors there are: session,
worker and client want one each. Its processor time stands beside: of a signature of the module alone, and of an answer
in session and worker. The first divided by the second is the ratio where sessions, not processors, are what there is
too few of. A token that computes elsewhere, as a network HSM does, is SoftHSM behind a module that waits a millisecond
for each signature: there only the waiting counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import signing
from bench.figures import Figure
from bench.instance import Instance, instance
from bench.processes import cpu_seconds

ROOT = Path(__file__).parent.parent
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
WAITING_SOURCE = ROOT / "tests" / "meddling_module.c"
WAIT_MICROSECONDS = 1000
PIN, LABEL = "bench-pin", "bench"
TARGET = 0.9
CONNECTIONS = 64
WARM_UP_SECONDS = 1  # until the first sessions have found out how long a signature takes

ALONE = """
import json, sys, time
import pkcs11
module, label, pin, kind, seconds = json.loads(sys.stdin.readline())
session = pkcs11.lib(module).get_token(token_label=label).open(user_pin=pin)
key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY)
way, data = (pkcs11.Mechanism.ECDSA, b"x" * 32) if kind == "EC" else (pkcs11.Mechanism.SHA256_RSA_PKCS, b"x" * 300)
key.sign(data, mechanism=way)
print("ready", flush=True)
sys.stdin.readline()
count, begin, cpu = 0, time.monotonic(), time.process_time()
while time.monotonic() - begin < seconds:
    key.sign(data, mechanism=way)
    count += 1
print(json.dumps([count / (time.monotonic() - begin), (time.process_time() - cpu) / count]))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of key on a token; `waits`: the token computes elsewhere."""

    what: str
    kind: str
    sessions: int = 1
    waits: bool = False


ROWS = (
    Row("P-256 on SoftHSM, one session", "EC"),
    Row("RSA-2048 on SoftHSM, one session", "RSA"),
    Row("P-256 on a token that takes a millisecond elsewhere, four sessions", "EC", sessions=4, waits=True),
)


@contextmanager
def on_token(row: Row) -> Iterator[tuple[Instance, Path]]:
    """An instance of one worker whose signer's key is on a token, and the module that reaches it."""
    modules: list[Path] = []

    def place(root: Path, key_file: Path) -> tuple[str, ...]:
        (root / "tokens").mkdir()
        conf = root / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {root / 'tokens'}\nobjectstore.backend = file\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        _util("--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", PIN)
        _util("--import", str(key_file), "--token", LABEL, "--label", "bench", "--id", "b1", "--pin", PIN)
        modules.append(_waiting_module(root) if row.waits else SOFTHSM)
        pin = root / "pin"
        pin.touch(0o600)
        pin.write_text(PIN)
        return "--token", LABEL, "--module", str(modules[0]), "--pin-file", str(pin)

    settings = {"vouchd.token.sessions": str(row.sessions)}
    with instance(row.kind, workers=1, place=place, settings=settings) as made:
        yield made, modules[0]


def _util(*arguments: str) -> None:
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)


def _waiting_module(root: Path) -> Path:
    """A module in front of SoftHSM's that waits for each signature; compiled there."""
    os.environ["MEDDLING_MODULE"] = str(SOFTHSM)
    os.environ["MEDDLING_ORDERS"] = str(root / "orders")
    os.environ["MEDDLING_MICROSECONDS"] = str(WAIT_MICROSECONDS)
    module = root / "waiting.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(module), str(WAITING_SOURCE), "-ldl"], check=True)
    return module


def module_alone(module: Path, row: Row, seconds: int) -> tuple[float, float]:
    """Signatures a second of the module in loops, one for each session, and the processor time of one in seconds."""
    words = json.dumps([str(module), LABEL, PIN, row.kind, seconds])
    with ExitStack() as stack:
        loops = [stack.enter_context(_loop(words)) for _ in range(row.sessions)]
        for loop in loops:  # all are ready
            loop.stdin.write("\n")
            loop.stdin.flush()
        texts = [loop.stdout.readline() for loop in loops]
    results = [json.loads(line) for line in texts]
    return sum(rate for rate, _ in results), statistics.mean(cpu for _, cpu in results)


def _loop(words: str) -> subprocess.Popen[str]:
    """A process that is logged in and waits for a line to begin; one after the other, since SoftHSM likes it so."""
    loop = subprocess.Popen([sys.executable, "-c", ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    loop.stdin.write(f"{words}\n")
    loop.stdin.flush()
    if loop.stdout.readline() != "ready\n":
        raise SystemExit("the module does not sign by itself")
    return loop


def figures(seconds: int, rounds: int) -> list[Figure]:
    """The ratio for each row, both sides measured in turn."""
    return [_figure(row, seconds, rounds) for row in ROWS]


@dataclass(frozen=True, slots=True)
class _Round:
    """Rates of module and worker a second; processor time of a signature, and of an answer in session and worker."""

    alone: float
    through: float
    signature_us: float
    session_us: float
    worker_us: float


def _figure(row: Row, seconds: int, rounds: int) -> Figure:
    with on_token(row) as (made, module):
        load = signing.Load(signing.Row(row.what, row.kind, signing.WARM), made.ca, made.root)
        signing.wrk(made.report().ee[1], load.script(), WARM_UP_SECONDS, CONNECTIONS)
        taken = [_round(made, module, row, load, seconds) for _ in range(rounds)]
        _require_all_signed(made)
    ratio, alone, through, signature, session, worker = (
        statistics.median(column)
        for column in zip(
            *(
                (one.through / one.alone, one.alone, one.through, one.signature_us, one.session_us, one.worker_us)
                for one in taken
            ),
            strict=True,
        )
    )
    detail = (
        f"{through:.0f}/s, the module by itself {alone:.0f}/s; CPU of a signature by itself {signature:.0f} us, "
        f"of an answer in the session {session:.0f} us ({signature / session:.2f}), in the worker {worker:.0f} us; "
        f"load {os.getloadavg()[0]:.0f}"
    )
    return Figure(f"nonce answers, {row.what}", ratio, TARGET, "", detail, at_least=True)


def _round(made: Instance, module: Path, row: Row, load: signing.Load, seconds: int) -> _Round:
    alone, signature = module_alone(module, row, seconds)
    worker = made.report().workers[0].pid
    sessions = [session for launcher in _children(worker) for session in _children(launcher)]
    before = [sum(map(cpu_seconds, pids)) for pids in (sessions, [worker])]
    through = signing.wrk(made.report().ee[1], load.script(), seconds, CONNECTIONS)
    after = [sum(map(cpu_seconds, pids)) for pids in (sessions, [worker])]
    session, of_worker = ((late - early) / through.requests * 1e6 for early, late in zip(before, after, strict=True))
    return _Round(alone, through.rate, signature * 1e6, session, of_worker)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _require_all_signed(made: Instance) -> None:
    """End the benchmark where something was answered tryLater, which costs nothing."""
    host, port = made.report().health
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    late = [line for line in lines if 'status="try_later"' in line and not line.endswith((" 0", " 0.0"))]
    if late:
        raise SystemExit(f"not all were signed: {late}")
