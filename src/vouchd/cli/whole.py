"""Lists that the operations give in pages, as wholes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vouchd.api.pages import MOST
from vouchd.cli.instance import Instance

Shape = Mapping[str, Any]


def authorities(instance: Instance) -> Iterator[Shape]:
    """All CAs."""
    return _whole(instance, "authorities.list", "{id}")


def issuing_points(instance: Instance) -> Iterator[Shape]:
    """All issuing points."""
    return _whole(instance, "crls.list", "{authority}/{scope}")


def _whole(instance: Instance, operation: str, name: str) -> Iterator[Shape]:
    after = ""
    while True:
        page = instance.call(operation, after=after, limit=MOST)
        yield from page
        if len(page) < MOST:
            return
        after = name.format_map(page[-1])
