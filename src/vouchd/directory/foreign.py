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


def foreign_points(connection: Connection, base: str) -> Iterator[ForeignPoint]:
    """The entries below `base` in the order of their names, each read when it is asked for: CRLs may be large.

    Raises: NotFound when there is no `base`; StoreUnavailable.
    """
    names = sorted(entry.dn for entry in connection.search(base, scope="sub", query=_POINTS, attributes=["cn"]))
    for dn in names[:MAX_POINTS]:
        entry = connection.read(dn, _READ, large=True)
        if entry is not None:
            crls = (*entry.all(_BASE), *entry.all(_DELTA))
            yield ForeignPoint(dn, tuple(_readable(entry.all(_CERTIFICATE))), tuple(filter(None, crls)))


def _readable(values: Iterable[bytes]) -> Iterator[bytes]:
    """The certificates among them: a value that is empty, or none, costs the others nothing."""
    for value in values:
        try:
            load_certificate(value)
        except ValueError:
            continue
        yield value
