"""Certificate requests (PKCS #10) for an instance's own keys: they ask for all that the purpose needs."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.pkix.purposes import USAGES, Purpose
from vouchd.signing.keys import PrivateKey


def certificate_request(
    purpose: Purpose, key: PrivateKey, subject: x509.Name, names: Sequence[x509.GeneralName] = ()
) -> bytes:
    """PEM of a request signed with `key`: keyUsage, extendedKeyUsage, subjectAltName, and nocheck of an OCSP signer."""
    usage = USAGES[purpose]
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(_key_usage(content_commitment=usage.content_commitment), critical=True)
    if usage.extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage.extended), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if purpose is Purpose.OCSP_SIGNING:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    classic = isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return builder.sign(key, hashes.SHA256() if classic else None).public_bytes(Encoding.PEM)


def _key_usage(*, content_commitment: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=content_commitment,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
