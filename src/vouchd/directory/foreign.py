"""CAs and CRLs that another program keeps in a directory as the Certificate System does, without our classes.

Nothing read here is believed: certificates and CRLs go through the same services as those that are pushed. Attributes
that hold serialised Java objects are never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vouchd.directory.connection import Connection
from vouchd.pkix.certs import load_certificate

MAX_POINTS = 10_000
_POINTS = "(&(objectClass=crlIssuingPointRecord)(!(objectClass=vouchdIssuingPoint)))"
_CERTIFICATE, _BASE, _DELTA = "cACertificate", "certificateRevocationList", "deltaRevocationList"
_READ = (_CERTIFICATE, _BASE, _DELTA)  # with their options, such as ;binary


@dataclass(frozen=True, slots=True)
class ForeignPoint:
    """One entry of class crlIssuingPointRecord, as bytes."""

    dn: str
    certificates: tuple[bytes, ...]  # DER of the CA's certificate; one, where all is well; none that cannot be read
    crls: tuple[bytes, ...]  # DER, full CRLs before delta CRLs


# What tells that an entry was changed: its update sequence number, or where the server gives none, when it was.
ForeignMark = tuple[str, str]


def foreign_marks(connection: Connection, base: str) -> dict[str, ForeignMark]:
    """A mark of each entry below `base` by its DN, in the order of their names; another one after each change.

    Raises: NotFound when there is no `base`; StoreUnavailable.
    """
    entries = connection.search(base, scope="sub", query=_POINTS, attributes=["cn", "entryusn", "modifyTimestamp"])
    marks = {entry.dn: (entry.text("entryusn"), entry.text("modifyTimestamp")) for entry in entries}
    return dict(sorted(marks.items())[:MAX_POINTS])


def foreign_point(connection: Connection, dn: str) -> ForeignPoint | None:
    """One entry, None when it is gone."""
    entry = connection.read(dn, _READ, large=True)
    if entry is None:
        return None
    crls = (*entry.all(_BASE), *entry.all(_DELTA))
    return ForeignPoint(dn, tuple(_readable(entry.all(_CERTIFICATE))), tuple(filter(None, crls)))


def foreign_points(connection: Connection, base: str) -> Iterator[ForeignPoint]:
    """The entries below `base` in the order of their names, each read when it is asked for: CRLs may be large.

    Raises: NotFound when there is no `base`; StoreUnavailable.
    """
    for dn in foreign_marks(connection, base):
        if (point := foreign_point(connection, dn)) is not None:
            yield point


def _readable(values: Iterable[bytes]) -> Iterator[bytes]:
    """The certificates among them: a value that is empty, or none, costs the others nothing."""
    for value in values:
        try:
            load_certificate(value)
        except ValueError:
            continue
        yield value
