"""Numbers over time -> the geometry of a chart; the template draws it as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Line:
    """Values over time under one name; `style` names the colour. None is a gap."""

    name: str
    style: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One line as SVG path data; `area` is closed along the base line, empty where nothing is filled."""

    name: str
    style: str
    path: str
    area: str
    latest: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart ready to be drawn; `ticks` are (y, label), `marks` (x, label); `summary` says it in words.

    `columns` are (x, width, values in words) of each moment that has any, for whoever points at it.
    """

    title: str
    lines: tuple[Drawn, ...]
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    columns: tuple[tuple[float, float, str], ...]
    summary: str
    empty: bool


def draw(
    title: str,
    lines: Sequence[Line],
    label: Callable[[float], str],
    *,
    stacked: bool = False,
    marks: Sequence[str] = (),
    top: float | None = None,
) -> Chart:
    """The chart of these lines, all of one length; `label` writes a value, `top` fixes the scale's end."""
    sums = [tuple(line.values) for line in lines]
    if stacked:
        sums = _stacked(sums)
    highest = max((value for values in sums for value in values if value is not None), default=0.0)
    ceiling = top or _ceiling(highest)
    drawn, below = [], None
    for line, values in zip(lines, sums, strict=True):
        latest = next((value for value in reversed(line.values) if value is not None), None)
        path = "" if stacked and not any(line.values) else _path(values, ceiling)
        area = _area(values, below, ceiling) if stacked and path else ""
        drawn.append(Drawn(line.name, line.style, path, area, NOTHING if latest is None else label(latest)))
        below = values if stacked else None
    return Chart(
        title=title,
        lines=tuple(drawn),
        ticks=tuple((_y(ceiling * part, ceiling), label(ceiling * part)) for part in (0, 0.5, 1)),
        marks=tuple((_x(place, len(marks)), mark) for place, mark in enumerate(marks)),
        columns=_columns(lines, label),
        summary=f"{title}. Now: " + ", ".join(f"{one.name} {one.latest}" for one in drawn),
        empty=not any(value for values in sums for value in values),
    )


def _stacked(rows: Sequence[Sequence[float | None]]) -> list[tuple[float | None, ...]]:
    """Each row on top of the one before; a gap stays one."""
    total: list[float] = [0.0] * (len(rows[0]) if rows else 0)
    highest: list[tuple[float | None, ...]] = []
    for row in rows:
        total = [below + (value or 0.0) for below, value in zip(total, row, strict=True)]
        highest.append(tuple(None if value is None else high for value, high in zip(row, total, strict=True)))
    return highest


def _ceiling(highest: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= highest * 0.999)


def _x(place: int, count: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (place / (count - 1) if count > 1 else 1), 1)


def _y(value: float, ceiling: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, value / ceiling), 1)


def _columns(lines: Sequence[Line], label: Callable[[float], str]) -> tuple[tuple[float, float, str], ...]:
    count = len(lines[0].values) if lines else 0
    width = round((WIDTH - LEFT - RIGHT) / max(1, count - 1), 1)
    columns = []
    for place in range(count):
        values = [(line.name, value) for line in lines if (value := line.values[place]) is not None]
        if values:
            words = ", ".join(f"{name} {label(value)}" for name, value in values)
            columns.append((round(_x(place, count) - width / 2, 1), width, words))
    return tuple(columns)


def _path(values: Sequence[float | None], ceiling: float) -> str:
    """Lines between neighbours; a value that has none is a dot: a line of no length with round ends."""
    parts = []
    for place, value in enumerate(values):
        if value is None:
            continue
        begins = place == 0 or values[place - 1] is None
        alone = begins and (place + 1 == len(values) or values[place + 1] is None)
        parts.append(f"{'M' if begins else 'L'}{_x(place, len(values))} {_y(value, ceiling)}{'h0' if alone else ''}")
    return "".join(parts)


def _area(values: Sequence[float | None], below: Sequence[float | None] | None, ceiling: float) -> str:
    count, base = len(values), below or [0.0] * len(values)
    known = [place for place, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return ""
    upper = [f"{_x(place, count)} {_y(values[place] or 0.0, ceiling)}" for place in known]
    lower = [f"{_x(place, count)} {_y(base[place] or 0.0, ceiling)}" for place in reversed(known)]
    return f"M{'L'.join((*upper, *lower))}Z"
