"""Signatures over the audit log: a record signs the hash of the one before, and so every record up to there.

The chain alone shows an edit by someone who does not make it anew; the signatures show that too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from vouchd.audit.chain import Entry, Link
from vouchd.audit.log import ITSELF, AuditLog
from vouchd.core.ports import Clock, Signer

SIGNING = "AUDIT_LOG_SIGNING"


def signed_octets(seq: int, digest: str) -> bytes:
    """What a signature is over: the number and hash of the last record that it covers."""
    return f"vouchd audit log\n{seq}\n{digest}\n".encode()


class AuditSigning:
    """Signs the log with the default algorithm of `signer`; the key never leaves it.

    The certificate stands in the first signature of each file and of each process; the others name it.
    """

    def __init__(self, log: AuditLog, signer: Signer, clock: Clock) -> None:
        self._log = log
        self._signer = signer
        self._clock = clock
        self._introduced: tuple[int, int] | None = None  # the file that has the certificate
        self.signed_through = 0  # `seq` of the newest signature found or made

    def sign(self, *, traffic: bool = True) -> bool:
        """Sign what came since the last signature; False when nothing did, or, without `traffic`, nothing of weight.

        Raises: StoreUnavailable, SigningError.
        """
        signed = False

        def compose(link: Link) -> Sequence[Entry]:
            nonlocal signed
            of_weight = traffic or self._log.weighty > self.signed_through
            signed = bool(link.seq) and link.event != SIGNING and of_weight
            return [self._entry(link)] if signed else []

        end = self._log.extend(compose)
        if signed:
            self._introduced = self._log.file
        if signed or end.event == SIGNING:
            self.signed_through = end.seq
        return signed

    def succeed(self, signer: Signer) -> None:
        """Have `signer` sign from now on; the one before has signed all up to here, so that it vouches for the change.

        Raises: StoreUnavailable, SigningError; then the one before goes on.
        """
        self.sign()
        self._signer, self._introduced = signer, None

    def _entry(self, link: Link) -> Entry:
        signer = self._signer
        algorithm = signer.algorithms[0]
        signature = signer.sign(signed_octets(link.seq, link.hash), algorithm)
        detail: dict[str, str | int] = {
            "through": link.seq,
            "algorithm": algorithm,
            "signature": base64.b64encode(signature).decode(),
            "signer": hashlib.sha256(signer.certificate_der).hexdigest(),
        }
        if self._introduced != self._log.file:
            detail["certificate"] = base64.b64encode(signer.certificate_der).decode()
        return Entry(self._clock.now(), SIGNING, "success", ITSELF, detail)
