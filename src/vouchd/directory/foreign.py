"""CAs and CRLs that another program keeps in a directory as the Certificate System does, without our classes.

Nothing read here is believed: certificates and CRLs go through the same services as those that are pushed. Attributes
that hold serialised Java objects are never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vouchd.directory.connection import Connection

MAX_POINTS = 10_000
_POINTS = "(&(objectClass=crlIssuingPointRecord)(!(objectClass=vouchdIssuingPoint)))"
_CERTIFICATE, _BASE, _DELTA = "cACertificate", "certificateRevocationList", "deltaRevocationList"
_READ = (_CERTIFICATE, _BASE, _DELTA)  # with their options, such as ;binary


@dataclass(frozen=True, slots=True)
class ForeignPoint:
    """One entry of class crlIssuingPointRecord, as bytes."""

    dn: str
    certificates: tuple[bytes, ...]  # DER of the CA's certificate; one, where all is well
    crls: tuple[bytes, ...]  # DER, full CRLs before delta CRLs


def foreign_points(connection: Connection, base: str) -> Iterator[ForeignPoint]:
    """The entries below `base` in the order of their names, each read when it is asked for: CRLs may be large.

    Raises: NotFound when there is no `base`; StoreUnavailable.
    """
    names = sorted(entry.dn for entry in connection.search(base, scope="sub", query=_POINTS, attributes=["cn"]))
    for dn in names[:MAX_POINTS]:
        entry = connection.read(dn, _READ)
        if entry is not None:
            yield ForeignPoint(dn, entry.all(_CERTIFICATE), (*entry.all(_BASE), *entry.all(_DELTA)))
