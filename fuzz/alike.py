"""The template path against the parser: whatever octets come, both give the same answer or the same error.

`python -m fuzz.alike 1000000` compares that many mutated requests.
"""

from __future__ import annotations

import random
import sys
from functools import cache

from tests.pki import NOW

from fuzz import responder
from vouchd.service.answering import Responder


@cache
def _both() -> tuple[Responder, Responder]:
    """A responder that knows the templates of all seeds, and one that is made to know none."""
    templates, parser = responder.made(), responder.made()
    for seed in responder.requests():
        if templates.answer(seed, NOW).cause:
            raise AssertionError("a seed that is not answered")
    return templates, parser


def compare(data: bytes) -> None:
    """Have both answer."""
    templates, parser = _both()
    parser.withhold(frozenset(one.authority.id for one in parser.state.authorities))
    parser.withhold(frozenset())  # drops all that it has prepared
    assert templates.answer(data, NOW) == parser.answer(data, NOW), data.hex()


def mutated(chance: random.Random) -> bytes:
    """One of the seeds with a few octets changed, lost, doubled, or exchanged with those of another one."""
    seeds = responder.requests()
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at, size = chance.randrange(len(data) or 1), chance.choice((1, 1, 1, 2, 4, 17))
        match chance.randrange(5):
            case 0:
                data[at : at + size] = chance.randbytes(size)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size]
            case 3:
                other = chance.choice(seeds)
                data[at : at + size] = other[at : at + size]
            case _:
                data[at : at + 1] = bytes((data[at] ^ 1 << chance.randrange(8) if data else 0,))
    return bytes(data)


def main() -> None:
    """Compare as many as the command line says."""
    count, chance = int(sys.argv[1]), random.Random(1)
    for _ in range(count):
        compare(mutated(chance))
    print(f"{count} requests, answered alike")


if __name__ == "__main__":
    main()
