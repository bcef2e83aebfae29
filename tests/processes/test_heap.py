"""Memory of a start goes back to the system."""

from __future__ import annotations

from pathlib import Path

from vouchd.processes.heap import give_back

MIB = 1 << 20


def own_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


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
