"""`make bench`: one table of all figures, `measured / target`, from one run, beside those of the run before.

With `--short`: the few that hold on a machine where other things run; the exit code is 1 when one is worse by a third
than the reference that is kept in the repository.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench import (
    cached,
    churn,
    cloning,
    commands,
    importing,
    judging,
    kept,
    least,
    loading,
    many_cas,
    partitions,
    peers,
    publishing,
    short,
    signing,
    standstill,
    switching,
    token,
)
from bench.figures import Figure, machine, print_table

# What `--only` chooses from; a row takes less than twenty seconds without `--big`.
ROWS: dict[str, Callable[[argparse.Namespace], Iterable[Figure]]] = {
    "cached": lambda options: cached.beside_nginx(options.seconds, options.rounds),
    "churn": lambda options: churn.figures(options.seconds, options.rounds),
    "memory": lambda _: cached.in_memory(),
    "partitions": lambda _: partitions.figures(),
    "signed": lambda options: signing.figures(options.seconds, options.rounds),
    "least": lambda _: least.figures(),
    "token": lambda options: token.figures(options.seconds, options.rounds),
    "import": lambda options: _each(importing.figures, importing.SECONDS, options),
    "load": lambda options: _each(loading.figures, loading.SECONDS, options),
    "publish": lambda options: _each(publishing.figures, publishing.PUSH_SECONDS, options),
    "many": lambda options: _each(many_cas.figures, many_cas.CPU_MS, options),
    "still": lambda options: _each(standstill.figures, standstill.MS, options),
    "judge": lambda _: judging.figures(),
    "clone": lambda _: cloning.figures(),
    "switch": lambda _: switching.figures(),
    "commands": lambda options: commands.figures(options.rounds),
    "peers": lambda options: peers.figures(options.seconds, options.rounds),
}


def _each(
    figures: Callable[[int], Iterable[Figure]], sizes: Iterable[int], options: argparse.Namespace
) -> Iterator[Figure]:
    """The figures of the smallest size; of every one with `--big`."""
    for size in sorted(sizes) if options.big else [min(sizes)]:
        yield from figures(size)


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--big", action="store_true", help="also 10,000,000 entries and 10,000 CAs: minutes and 4 GiB")
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement under load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=tuple(ROWS), help="may be given several times")
    parser.add_argument(
        "--peers", action="store_true", help="also other responders: some minutes, more to build them once"
    )
    parser.add_argument("--short", action="store_true", help="a minute: fails when a figure is worse by a third")
    parser.add_argument("--keep", action="store_true", help="write the reference of --short anew")
    options = parser.parse_args(words)
    print(machine(), flush=True)
    if options.short:
        return _short(keep=options.keep)
    former, rows, failures = kept.read(kept.LAST), list[Figure](), list[str]()
    try:
        for name in _chosen(options):
            print(f"measuring: {name}", flush=True)
            try:
                for figure in ROWS[name](options):  # those of a size that was measured stay where a larger one fails
                    rows.append(figure)
            except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, the others are measured
                failures.append(f"{name}: {error}")
                traceback.print_exception(error)
    finally:  # where somebody has seen enough, what was measured is not lost
        print_table(rows, former)
        kept.keep(kept.LAST, rows)
    if failures:
        raise SystemExit("\n".join(("these rows failed:", *failures)))
    return 0


def _chosen(options: argparse.Namespace) -> list[str]:
    """Names of rows, in the table's order; other responders where they are asked for."""
    names = set(options.only or ROWS.keys() - {"peers"}) | ({"peers"} if options.peers else set())
    return [name for name in ROWS if name in names]


def _short(*, keep: bool) -> int:
    rows, former = short.figures(), kept.read(short.REFERENCE)
    print_table(rows, former)
    if keep:
        kept.keep(short.REFERENCE, rows)
        return 0
    lines = kept.worse(rows, former, short.WORSE)
    for line in lines:
        print(f"worse by a third or more: {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
