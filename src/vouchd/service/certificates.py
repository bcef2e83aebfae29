"""A certificate that somebody gives us, in whatever form it comes."""

from __future__ import annotations

from cryptography import x509

from vouchd.pkix import certs, pem
from vouchd.core.ports import Buffer
from vouchd.errors import ConfigError


def read_certificate(data: Buffer, max_bytes: int) -> tuple[bytes, x509.Certificate]:
    """DER and certificate of `data`: DER, PEM or base64, at most `max_bytes`. Raises: ConfigError."""
    if len(data) > max_bytes:
        raise ConfigError(f"a certificate of more than {max_bytes} bytes")
    try:
        der = bytes(pem.single(data, pem.CERTIFICATE_LABELS))
        return der, certs.load_certificate(der)
    except ValueError as error:
        raise ConfigError(
            f"not a certificate: {error}", hint="give one certificate as PEM or DER; openssl x509 -in FILE reads it"
        ) from error
