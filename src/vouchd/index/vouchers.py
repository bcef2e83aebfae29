"""Vouchers: which epochs processes of this member have judged that do not serve, for the one that does.

`vouchd crl add` verifies a CRL as a push to the running instance does, and the process that serves would do it a second
time, since it believes no store: of 10,000 CRLs that came before a first start that is a third of the processor time
until the first answer. So whoever judges an epoch and does not serve leaves a line beside the serving manifest:

    SHA-256 (hex) over its format, each certificate that CRLs of the CA may be verified with, and the epoch as stored

Why a line that matches is as good as a judgement:

- It names one epoch with all that is said of it, its CRLs by their SHA-256, under these certificates. Another CRL,
  another fact, or another key of the CA, whoever wrote it into the store, makes another digest, and that epoch is
  judged. So is one that came from another member: nothing of this file replicates, and no backup has it.
- Who can write here can write the manifest and the index files, which answers are made of: the folder is the
  instance's own, and workers only read it. It says no more than the manifest does of what was served before.
- What depends on the moment, or on what is served, is asked anyway: times ahead of the clock, a CRL that is older than
  what was served, a delta without its base. Where an index file is missing or damaged the CRL has to be read again from
  the store, so then there is no voucher, and it is judged as it is read (`service/admitting`).
- A digest is its own checksum. A line that is torn, damaged or foreign matches nothing; a file that cannot be read or
  is too large has no lines. The next line begins on a line of its own. So it is not brought to disk: after a loss of
  power what is missing is judged.
- The line is written before the epoch is committed, so a manager that runs beside sees it with the epoch. An epoch that
  is then not committed has a line that is true and of no use. Written after, each CRL would be judged twice by a
  manager that looks in between; a crash in between would be as harmless.

It is bounded: beyond `MAX_BYTES` it is begun anew, as the newest lines are the ones of use, and it goes when all is
published and nobody takes a CRL in. A line that goes too early costs one more judgement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from vouchd.core import records
from vouchd.core.facts import Authority, Epoch
from vouchd.errors import StoreUnavailable
from vouchd.files import append_file, read_file
from vouchd.service.crl_proof import issuers_of

VOUCHERS = "vouchers.log"
MAX_BYTES = 4 << 20  # of some 64,000 epochs
_FORMAT = b"vouchd voucher 1"


class Vouchers:
    """Those in `directory`, which other processes of this member write and read; none of this ever fails."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / VOUCHERS

    def add(self, authority: Authority, epoch: Epoch) -> None:
        """Say that this process has judged the epoch by the certificates that the CA has."""
        with suppress(StoreUnavailable):  # it is judged once more
            append_file(self._path, b"\n%b\n" % _digest(authority, epoch), MAX_BYTES)

    def of(self, epochs: Iterable[tuple[Authority, Epoch]]) -> Iterator[tuple[Authority, Epoch]]:
        """Those of these epochs, each with its CA, that a process of this member has judged."""
        lines = frozenset[bytes]()
        with suppress(FileNotFoundError, StoreUnavailable):
            lines = frozenset(read_file(self._path, MAX_BYTES).split(b"\n"))
        if lines:
            yield from (one for one in epochs if _digest(*one) in lines)

    def clear(self) -> None:
        """Forget all: what was judged is served, and nobody takes a CRL in."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _digest(authority: Authority, epoch: Epoch) -> bytes:
    digest = hashlib.sha256(_FORMAT)
    for der in sorted(issuers_of(authority)):
        digest.update(b"%d\n%b" % (len(der), der))
    digest.update(b"epoch\n%b" % records.to_json(records.epoch_record(epoch)).encode())
    return digest.hexdigest().encode()
