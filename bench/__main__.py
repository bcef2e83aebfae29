"""`make bench`: one table of all figures, `measured / target`, from one run."""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import cloning, commands, ee_vs_nginx, importing, many_cas, publishing, signing, token
from bench.figures import Figure, machine, print_table
from bench.instance import instance


def cached(seconds: int, rounds: int) -> list[Figure]:
    """Cached answers of one worker beside nginx serving the same bytes as a static file."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ports = {"nginx": ee_vs_nginx.free_port(), "get": listener.getsockname()[1], "post": listener.getsockname()[1]}
    rates: dict[str, list[float]] = {kind: [] for kind in ports}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        scripts = ee_vs_nginx.prepare(root)
        with ee_vs_nginx.nginx(root, ports["nginx"]), ee_vs_nginx.ee(listener):
            for _ in range(rounds):
                for kind, measured in rates.items():
                    measured.append(ee_vs_nginx.wrk(ports[kind], scripts[f"{kind}{ee_vs_nginx.MANY}"], seconds, 64))
    base = statistics.median(rates["nginx"])
    return [
        Figure(
            f"cached answers, {kind.upper()}, one worker",
            statistics.median(rates[kind]) / base,
            ee_vs_nginx.TARGET,
            "",
            f"{statistics.median(rates[kind]):.0f}/s, nginx static {base:.0f}/s",
            at_least=True,
        )
        for kind in ("get", "post")
    ]


def signed(kind: str, seconds: int, rounds: int) -> Figure:
    """Nonce answers of one worker beside `openssl speed`, in turn."""
    rates, limits = [], []
    with instance(kind, workers=1) as made:
        request_der = signing.nonce_request(made.ca, 12345)
        port = made.report().ee[1]
        for _ in range(rounds):
            limits.append(signing.openssl_signs(signing.TARGETS[kind][1], seconds))
            rates.append(signing.answers_a_second(port, request_der, seconds))
    return signing.figure(kind, rates, limits)


# What `--only` chooses from; each takes less than half a minute without `--big`.
ROWS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "cached": lambda options: cached(options.seconds, options.rounds),
    "signed": lambda options: [signed(kind, options.seconds, options.rounds) for kind in signing.TARGETS],
    "token": lambda options: token.figures(options.seconds, options.rounds),
    "import": lambda options: _each(importing.figures, importing.SECONDS, options),
    "publish": lambda options: _each(publishing.figures, publishing.PUSH_SECONDS, options),
    "many": lambda options: _each(many_cas.figures, many_cas.CPU_MS, options),
    "clone": lambda _: cloning.figures(),
    "commands": lambda options: commands.figures(options.rounds),
}


def _each(figures: Callable[[int], list[Figure]], sizes: Iterable[int], options: argparse.Namespace) -> list[Figure]:
    """The figures of the smallest size; of every one with `--big`."""
    chosen = sorted(sizes) if options.big else [min(sizes)]
    return [figure for size in chosen for figure in figures(size)]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--big", action="store_true", help="also 10,000,000 entries and 10,000 CAs: minutes and 4 GiB")
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement under load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=tuple(ROWS), help="may be given several times")
    options = parser.parse_args()
    print(machine(), flush=True)
    print_table(
        [figure for name, measure in ROWS.items() if name in (options.only or ROWS) for figure in measure(options)]
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
