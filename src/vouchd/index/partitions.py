"""Which of a CA's many issuing points list a serial: one look-up in place of one in each.

A CA that partitions its CRLs may have ten thousand points, of which hardly one lists a serial. Here the serials of all
that are small stand in one dictionary with the scopes that list them; large ones are still asked one by one, since
their entries would take too much memory, and they are few.

What is found here is a candidate alone: what counts is what the point's own index says. So it does no harm that entries
of a former epoch stay while others are added, as happens while an old state is still answered from. When most are of
former epochs all is made anew, as another object.
"""

from __future__ import annotations

from collections.abc import Iterable

from vouchd.core.ports import RevocationIndex
from vouchd.core.status import ServingPoint
from vouchd.errors import IndexFileError
from vouchd.index.format import RevocationIndexFile

MANY_POINTS = 16
SMALL_ENTRIES = 4096
_FEW_FORMER = 10_000


class MergedPoints:
    """The serials of small issuing points (port Partitions); it only ever grows."""

    def __init__(self) -> None:
        self._scopes: dict[int, tuple[str, ...]] = {}
        self._files: dict[int, RevocationIndexFile] = {}  # by identity, which they keep as long as they are here
        self.count = 0

    @classmethod
    def of(cls, points: tuple[ServingPoint, ...], former: MergedPoints | None) -> MergedPoints | None:
        """The look-up for these points, made from the one for those before; None where they are few."""
        if len(points) < MANY_POINTS:
            return None
        small = [(point.epoch.issuing_point.scope_id, point.index) for point in points]
        files = [(scope_id, index) for scope_id, index in small if type(index) is RevocationIndexFile]
        files = [(scope_id, index) for scope_id, index in files if len(index) <= SMALL_ENTRIES]
        entries = sum(len(index) for _, index in files)
        merged = cls() if former is None or former.count > 2 * entries + _FEW_FORMER else former
        merged.add(files)
        return merged

    def add(self, files: Iterable[tuple[str, RevocationIndexFile]]) -> None:
        """Take in the entries of files, each with its scope id."""
        for scope_id, file in files:
            if id(file) in self._files:
                continue
            try:
                keys = file.keys(0, len(file), file.key_width)
            except IndexFileError:  # the point is asked by itself, and says so
                continue
            own = (scope_id,)
            for key in keys:
                serial = int.from_bytes(key, "big", signed=True)
                others = self._scopes.get(serial)
                if others is None:
                    self._scopes[serial] = own
                elif scope_id not in others:
                    self._scopes[serial] = others + own
            self.count += len(keys)
            self._files[id(file)] = file  # last: only now it is complete

    def holds(self, index: RevocationIndex) -> bool:
        """See Partitions."""
        return id(index) in self._files

    def scopes(self, serial: bytes) -> tuple[str, ...]:
        """See Partitions."""
        return self._scopes.get(int.from_bytes(serial, "big", signed=True), ())
