"""The last CRL of each CA that was refused, in a small file that whichever process refused it writes.

A refusal is told to whoever brought the CRL, and they may not be listening: until a CRL of that CA is taken, the
instance shows it (`instance.hindrances`).
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from vouchd.errors import CRLError, StoreUnavailable
from vouchd.files import PUBLIC, read_file, replace_file
from vouchd.service.arrivals import Received

_MAX_AUTHORITIES = 1000
_MAX_TEXT = 300
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class RefusedCRL:
    """A CRL that names a CA of ours and was not taken: when (POSIX seconds), whence it came, and why.

    `taken` is the sum of the sequences of the CA's epochs at that time: it grows with the next CRL that is taken.
    """

    authority_id: str
    taken: int
    at: int
    origin: str
    why: str


class Refusals:
    """Keeps them in `path`; written by whoever holds the lock of ingestion."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, authority_id: str, taken: int, crl: Received, error: CRLError) -> None:
        """Remember one in the place of the CA's former one, as far as that can be written."""
        latest = {one.authority_id: one for one in self.read()}
        latest.pop(authority_id, None)
        why = f"{type(error).__name__}: {error}"
        latest[authority_id] = RefusedCRL(authority_id, taken, crl.at, crl.origin[:_MAX_TEXT], why[:_MAX_TEXT])
        newest = list(latest.values())[-_MAX_AUTHORITIES:]
        with suppress(StoreUnavailable):
            replace_file(self._path, json.dumps([asdict(one) for one in newest]).encode(), PUBLIC, durable=False)

    def read(self) -> tuple[RefusedCRL, ...]:
        """All of them, the newest last."""
        try:
            return tuple(RefusedCRL(**one) for one in json.loads(read_file(self._path, _MAX_BYTES)))
        except (FileNotFoundError, StoreUnavailable, ValueError, TypeError):
            return ()
