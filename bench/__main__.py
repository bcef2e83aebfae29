"""`make bench`: one table of all figures, `measured / target`, from one run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from bench import (
    cached,
    cloning,
    commands,
    importing,
    judging,
    loading,
    many_cas,
    partitions,
    publishing,
    signing,
    token,
)
from bench.figures import Figure, machine, print_table

# What `--only` chooses from; a row takes less than twenty seconds without `--big`.
ROWS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "cached": lambda options: cached.beside_nginx(options.seconds, options.rounds),
    "churn": lambda options: cached.while_crls_come(options.seconds, options.rounds),
    "memory": lambda _: cached.in_memory(),
    "partitions": lambda _: partitions.figures(),
    "signed": lambda options: signing.figures(options.seconds, options.rounds),
    "token": lambda options: token.figures(options.seconds, options.rounds),
    "import": lambda options: _each(importing.figures, importing.SECONDS, options),
    "load": lambda options: _each(loading.figures, loading.SECONDS, options),
    "publish": lambda options: _each(publishing.figures, publishing.PUSH_SECONDS, options),
    "many": lambda options: _each(many_cas.figures, many_cas.CPU_MS, options),
    "judge": lambda _: judging.figures(),
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
