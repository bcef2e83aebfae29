"""Which of several epochs of one issuing point is the newest, told alike by every member of a set."""

from __future__ import annotations

from collections.abc import Iterable

from vouchd.core.facts import Epoch, IssuingPointId

Order = tuple[int, int, int, int, str]


def order(epoch: Epoch) -> Order:
    """Sort key: the newest CRL is the greatest.

    Two members that accept CRLs while they are cut off from each other number their epochs alike, so the sequence
    number decides nothing: what the CA says does. For one CRL accepted twice the earlier acceptance stands.
    """
    number = epoch.newest.crl_number
    return (
        epoch.this_update,
        -1 if number is None else number,
        epoch.base.this_update,
        -epoch.accepted_at,
        epoch.index_name,
    )


def newest(epochs: Iterable[Epoch]) -> tuple[Epoch, ...]:
    """The newest epoch of each issuing point, ordered by issuing point."""
    found: dict[IssuingPointId, Epoch] = {}
    for epoch in sorted(epochs, key=order):
        found[epoch.issuing_point] = epoch
    return tuple(found[point] for point in sorted(found))
