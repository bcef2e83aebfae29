"""Certificates that a command line names by their files: one, a CA's, or all CAs of a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli import output
from vouchd.cli.options import read_input
from vouchd.errors import ConfigError
from vouchd.pkix.certs import is_issued_by, load_certificate
from vouchd.pkix.pem import MAX_BUNDLE_BYTES, Bundle, leaf, read_bundle
from vouchd.service import authorities
from vouchd.service.usercertificates import subject_text

_HINT = "give one certificate as PEM or DER; openssl x509 -in FILE reads it"


def read_leaf(name: str) -> bytes:
    """DER of the certificate in the file `name`; of a chain its leaf is taken, which is said. Raises: ConfigError."""
    try:
        bundle = read_bundle(read_input(name, MAX_BUNDLE_BYTES))
        chosen = leaf(bundle.certificates)
    except ValueError as error:
        raise ConfigError(f"{name}: not a certificate: {error}", hint=_HINT) from error
    _say(name, bundle)
    if len(bundle.certificates) > 1:
        output.note(f"{name}: a chain of {len(bundle.certificates)}; taken is {subject_text(chosen)}")
    return chosen.public_bytes(Encoding.DER)


def read_authorities(name: str) -> tuple[x509.Certificate, ...]:
    """The CAs in the file `name`; what is left out is said. Raises: ConfigError."""
    try:
        bundle = authorities.read_authorities(read_input(name, MAX_BUNDLE_BYTES))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}", hint=error.hint) from error
    _say(name, bundle)
    return bundle.certificates


def read_issuer(name: str, issued: Sequence[bytes] = ()) -> bytes:
    """DER of the CA in the file `name`: of several the one that issued the first of these certificates (DER).

    Raises: ConfigError, naming them when that does not tell.
    """
    known = read_authorities(name)
    first = load_certificate(issued[0]) if issued else None
    if len(known) > 1 and first is not None:
        known = tuple(one for one in known if is_issued_by(first, one)) or known
    if len(known) > 1:
        names = "; ".join(map(subject_text, known))
        raise ConfigError(f"{name}: {len(known)} CAs where one is meant: {names}", hint="give the one that issued it")
    return known[0].public_bytes(Encoding.DER)


def _say(name: str, bundle: Bundle) -> None:
    for note in bundle.notes:
        output.note(f"{name}: {note}")
