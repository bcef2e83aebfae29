"""Ports for servers that tests start: never one that the kernel may give to somebody's outgoing connection meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import socket

_FIRST, _END = 10_000, 32_000  # below net.ipv4.ip_local_port_range


def _own_share() -> range:
    """The ports of this process among those that run tests side by side."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (_END - _FIRST) // count
    return range(_FIRST + number * size, _FIRST + (number + 1) * size)


_share = _own_share()
_ports = itertools.islice(itertools.cycle(_share), random.randrange(len(_share)), None)


def free_port(address: str = "127.0.0.1") -> int:
    """A port of the address that nobody listens on now, another one each time."""
    for port in itertools.islice(_ports, len(_share)):
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {address} is free")
