"""Memory of a start goes back to the system."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

from vouchd.processes.heap import give_back, keep

MIB = 1 << 20


def own_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


LARGE = """
from tests.processes.test_heap import MIB, own_bytes
from vouchd.processes.heap import keep_large_apart
keep_large_apart()
bytearray(20 * MIB)  # it goes at once, and is what the C library learns from
before = own_bytes()
many = [(bytearray(2 * MIB), bytearray(2048)) for _ in range(10)]
stays = [small for _, small in many]
del many
print(own_bytes() - before < 5 * MIB)
"""


def test_pages_that_are_free_between_those_in_use_go_back():
    """Of what is allocated one by one and let go but for the last, nothing stays with the process."""
    many = [bytearray(2048) for _ in range(20 * MIB // 2048)]
    last = bytearray(2048)
    del many
    give_back()
    before = own_bytes()
    many = [bytearray(2048) for _ in range(20 * MIB // 2048)]
    last = bytearray(2048)
    del many
    give_back()
    assert own_bytes() < before + 5 * MIB
    assert len(last) == 2048


def test_what_is_large_goes_back_at_once_whatever_stays_beside_it():
    """Also after something larger has come and gone, for which the C library would keep the next ones."""
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, check=True, text=True)
    assert done.stdout == "True\n"


class Node:
    """Something that may refer to itself."""

    itself: Node


def test_what_a_start_made_is_looked_at_once():
    """Garbage among it goes; what stays is not looked at again, and goes when nothing refers to it."""
    stays, garbage = [Node() for _ in range(1000)], Node()
    garbage.itself = garbage
    gone = [weakref.ref(garbage), weakref.ref(stays[0])]
    del garbage
    try:
        keep()
        looked_at = {id(each) for each in gc.get_objects()}
        assert gone[0]() is None
        assert not any(id(node) in looked_at for node in stays)
        del stays[0]
        assert gone[1]() is None
    finally:
        gc.unfreeze()
