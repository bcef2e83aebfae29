"""May this CRL replace what is held? RFC 5280 sections 5.2 and 6.3.3, and protection against replay.

`judge` is the whole decision but for the entries, which are read later. A CRL that has passed its nextUpdate on arrival
is accepted: it is the CA's word and newer than what is held, a first CRL after an outage has to go in somehow, and the
policy for expired CRLs, not this module, says what is answered from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from vouchd.core import key_history
from vouchd.core.facts import CRLRecord, Epoch
from vouchd.errors import NOTHING_TO_DO, CRLForked, CRLOutOfOrder, CRLRejected, CRLStale
from vouchd.pkix import certs, names
from vouchd.pkix.crl import CRLHeader
from vouchd.pkix.der import Buffer
from vouchd.pkix.signatures import verify

FUTURE_TOLERANCE_SECONDS = 300

_NEWER = "publish the CA's newest CRL; the status of certificates does not go back in time"
_LOWER = (
    "publish the CA's newest CRL; when its number went up by mistake an administrator can have a lower one taken: "
    "vouchd crl add --accept-lower-number --reason TEXT"
)


def judge(
    crl: Buffer,
    header: CRLHeader,
    issuers: Sequence[bytes],
    *,
    sha256: str,
    current: Epoch | None,
    high_water: tuple[int | None, int],
    at: int,
    tolerance_seconds: int = FUTURE_TOLERANCE_SECONDS,
    lower_number: bool = False,
) -> bytes:
    """The certificate (DER) of the CRL's issuer when the CRL may be taken at POSIX time `at`, else an error.

    `issuers` are the certificates (DER) with whose keys it may be signed, see `core.key_history`; `sha256` (hex) is of
    `crl`; `current` is the epoch of the issuing point of the CRL's scope and `high_water` what the store knows of it.
    With `lower_number` an administrator has its number and times believed in spite of both.

    Raises: CRLRejected, CRLStale, CRLForked, CRLOutOfOrder.
    """
    if current is not None and sha256 in {current.base.sha256, current.delta.sha256 if current.delta else ""}:
        raise CRLStale("this very CRL is held already", hint=NOTHING_TO_DO)
    issuer_der = judge_issuer(crl, header, issuers)
    _judge_times(header, at, tolerance_seconds)
    if lower_number:
        _judge_renumbered(header, high_water)
    elif header.is_delta:
        _judge_delta(header, current, high_water)
    else:
        _judge_complete(header, current, high_water)
    return issuer_der


def judge_issuer(crl: Buffer, header: CRLHeader, issuers: Sequence[bytes]) -> bytes:
    """The certificate of `issuers` that the CRL is signed by: name, keyUsage, signature (RFC 5280 6.3.3 b, f, g).

    Raises: CRLRejected.
    """
    first: CRLRejected | None = None
    refused: set[str] = set()  # a signature over a large CRL takes its time: each key is tried once
    for issuer_der in issuers:
        try:
            _judge_one(crl, header, issuer_der, refused)
        except CRLRejected as error:
            first = first or error
        else:
            return issuer_der
    raise first or CRLRejected(
        f"the CRL was issued by {names.readable(header.issuer_name_der)}, not by this CA", hint=_REGISTER
    )


def _judge_one(crl: Buffer, header: CRLHeader, issuer_der: bytes, refused: set[str]) -> None:
    try:
        issuer = certs.load_certificate(issuer_der)
        key, may_sign = certs.key_id(issuer_der), _may_sign_crls(issuer)
    except ValueError as error:
        raise CRLRejected(f"the certificate of the CRL's issuer cannot be used: {error}", hint=_ASK) from error
    if not names.same(certs.subject_der(issuer), header.issuer_name_der):
        raise CRLRejected(
            f"the CRL was issued by {names.readable(header.issuer_name_der)}, not by this CA", hint=_REGISTER
        )
    if not may_sign:
        raise CRLRejected("keyUsage of the issuer's certificate lacks cRLSign (RFC 5280 6.3.3 f)", hint=_ASK)
    if key in refused:
        raise CRLRejected("the CRL's signature cannot be verified with this key either", hint=_OTHER_KEY)
    refused.add(key)
    try:
        verify(
            issuer.public_key(),
            header.signature_algorithm_der,
            header.signature,
            memoryview(crl)[header.tbs.start : header.tbs.end],
        )
    except ValueError as error:
        raise CRLRejected(_unverified(header, issuer_der, error), hint=_OTHER_KEY) from error


def _unverified(header: CRLHeader, issuer_der: bytes, error: ValueError) -> str:
    if key_history.has_key_id(issuer_der, header.authority_key_id):
        return f"the CRL's signature cannot be verified with the CA's key: {error}"
    key_identifier = (header.authority_key_id or b"").hex()
    return f"the CRL is signed with a key that this CA is not known to have (authorityKeyIdentifier {key_identifier})"


_REGISTER = "register that CA, or name the issuer of an indirect CRL in the CA's policy"
_OTHER_KEY = (
    "the CA has another key by now? `vouchd authority add CERTIFICATE` adds it to its history; "
    "else the file is damaged, or another CA of the same name has issued it"
)
_ASK = "ask the CA for a certificate with which CRLs can be verified"


def _may_sign_crls(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True  # RFC 5280 6.3.3 (f): only if the extension is present


def _judge_times(header: CRLHeader, at: int, tolerance_seconds: int) -> None:
    if header.this_update > at + tolerance_seconds:
        raise CRLRejected(
            f"thisUpdate is {header.this_update - at} seconds in the future; {tolerance_seconds} are tolerated",
            hint="check the clocks of the CA and of this host",
        )
    if header.next_update is not None and header.next_update <= header.this_update:
        raise CRLRejected("nextUpdate is not after thisUpdate", hint="ask the CA: such a CRL is never valid")


def _judge_complete(header: CRLHeader, current: Epoch | None, high_water: tuple[int | None, int]) -> None:
    """A complete CRL follows the complete one held; a delta that is newer still stays over it (RFC 5280 5.2.4).

    A base and a delta that were issued together have one number (5.2.3), so it may be that of the delta held.
    """
    number, base = header.crl_number, current.base if current else None
    if base is not None:
        _refuse_fork(number, base)
        _refuse_older(header, (base.crl_number, base.this_update))
    delta = current.delta if current else None
    if number is None or delta is None or delta.crl_number is None or delta.crl_number <= number:
        _refuse_older(header, high_water)


def _judge_renumbered(header: CRLHeader, high_water: tuple[int | None, int]) -> None:
    """On an administrator's word thisUpdate decides in place of the number, so that nothing goes back in time."""
    if header.is_delta:
        raise CRLRejected("a delta CRL cannot begin a new order of numbers", hint="give the CA's complete CRL")
    _refuse_older(header, (None, high_water[1]))


def _judge_delta(header: CRLHeader, current: Epoch | None, high_water: tuple[int | None, int]) -> None:
    """A delta goes with a complete CRL of the same scope that is held (RFC 5280 5.2.4)."""
    number, base_number = header.crl_number, header.base_crl_number
    if number is None:
        raise CRLRejected("a delta CRL without CRL number (RFC 5280 5.2.3)", hint="publish a complete CRL instead")
    if base_number is None or base_number > number:
        raise CRLRejected(f"delta CRL {number} has the later base {base_number}", hint="publish a complete CRL instead")
    if current is None or current.idp_der != header.scope.idp_der:
        raise CRLOutOfOrder(
            f"no complete CRL of the scope of delta CRL {number} is held", hint="publish the complete CRL first"
        )
    base = current.base.crl_number
    if base is None or base < base_number:
        raise CRLOutOfOrder(
            f"delta CRL {number} needs the complete CRL {base_number} or a later one; held is {_shown(base)}",
            hint=f"publish complete CRL {base_number} or a later one first",
        )
    if number <= base:
        hint = NOTHING_TO_DO if number == base else _NEWER
        raise CRLStale(f"delta CRL {number} tells nothing beyond the complete CRL {base} held", hint=hint)
    if current.delta is not None:
        _refuse_fork(number, current.delta)
    _refuse_older(header, high_water)


def _refuse_fork(number: int | None, known: CRLRecord) -> None:
    """Raises: CRLForked when there are two CRLs of one number."""
    if number is not None and number == known.crl_number:
        raise CRLForked(
            f"another CRL with the number {number} is held already (SHA-256 {known.sha256})",
            hint="one number must mean one CRL (RFC 5280 5.2.3): find out who issued the other one",
        )


def _refuse_older(header: CRLHeader, latest: tuple[int | None, int]) -> None:
    """Raises: CRLStale; the number decides where both have one, a later thisUpdate otherwise."""
    number, (highest, this_update) = header.crl_number, latest
    if number is not None and highest is not None:
        if number < highest:
            raise CRLStale(f"CRL number {number} is lower than {highest}, which has been in use", hint=_LOWER)
    elif header.this_update < this_update or (number is None and header.this_update == this_update):
        age = this_update - header.this_update
        raise CRLStale(f"thisUpdate is {age} seconds before that of a CRL that has been in use", hint=_NEWER)


def _shown(number: int | None) -> str:
    return "one without a number" if number is None else f"CRL {number}"
