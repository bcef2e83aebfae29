"""A CRL that is sent to the agent port: decoded as it comes in, and put aside where it is no memory of one's own."""

from __future__ import annotations

from vouchd.errors import StoreUnavailable
from vouchd.files import Spool
from vouchd.pkix.pem import CRL_LABELS
from vouchd.pkix.textual import Memory, ObjectReader


class CRLUpload:
    """A CRL in DER, PEM or base64 (see Intake)."""

    def __init__(self) -> None:
        self._reader = ObjectReader(CRL_LABELS, Spool())
        self._wrong: tuple[str, str] | None = None  # words and hint: an error would hold who keeps it

    def add(self, piece: bytes) -> None:
        """See Intake; that there was no room for it is told at the end."""
        if self._wrong is None:
            try:
                self._reader.add(piece)
            except StoreUnavailable as error:
                self._wrong = str(error), error.hint
                self._reader = ObjectReader(CRL_LABELS, Memory())  # the room that it has is wanted elsewhere at once

    @property
    def crl(self) -> ObjectReader:
        """What came, for who takes CRLs in. Raises: StoreUnavailable."""
        if self._wrong is not None:
            words, hint = self._wrong
            raise StoreUnavailable(words, hint=hint)
        return self._reader
