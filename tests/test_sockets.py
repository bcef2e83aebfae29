"""How many connections there are descriptors for."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vouchd.sockets import SPARE_DESCRIPTORS, connection_room, free_descriptors, raise_descriptor_limit


@pytest.fixture
def soft_limit() -> Iterator[Callable[[int], None]]:
    """Sets this process's soft limit, which is set back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_raise_descriptor_limit_goes_up_to_the_hard_limit(soft_limit):
    """What the system allows is taken, within reason."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft_limit(min(512, hard))
    assert raise_descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 1 << 20)


def test_connection_room_leaves_twice_what_else_is_open_and_a_spare(soft_limit):
    """Everything but connections may be opened once more while connections fill their room."""
    soft_limit(1000)
    others = opened()
    assert connection_room(0) == 1000 - 2 * others - SPARE_DESCRIPTORS
    pipes = [end for _ in range(10) for end in os.pipe()]
    try:
        assert connection_room(20) == 1000 - 2 * others - SPARE_DESCRIPTORS
        assert connection_room(0) == 1000 - 2 * (others + 20) - SPARE_DESCRIPTORS
    finally:
        for end in pipes:
            os.close(end)


def test_connection_room_is_never_none(soft_limit):
    """With no descriptor to spare one connection is still taken: somebody has to be told."""
    soft_limit(opened() + 1)
    assert connection_room(0) == 1


def test_free_descriptors_with_none_left_is_none(soft_limit):
    """To look at the descriptors takes one; when there is none, that is the answer."""
    soft_limit(opened() + 5)
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        assert free_descriptors() == 0
    finally:
        for descriptor in taken:
            os.close(descriptor)
