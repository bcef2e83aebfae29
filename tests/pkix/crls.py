"""CRLs put together by hand, so that a test can break any one thing; what is not given is valid."""

from __future__ import annotations

from vouchd.pkix.der import tlv

SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
SHA384_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010c0500")
ISSUER = bytes.fromhex("300d310b3009060355040313024341")  # CN=CA
OTHER = bytes.fromhex("300d310b3009060355040313024342")  # CN=CB
THIS_UPDATE, NEXT_UPDATE = tlv(0x17, b"260101000000Z"), tlv(0x17, b"270101000000Z")
TIME = tlv(0x17, b"250601123456Z")
TRUE = b"\x01\x01\xff"


def extension(oid: bytes, value: bytes, *, critical: bool = False) -> bytes:
    """An extension; `oid` are the last arcs of 2.5.29."""
    return tlv(0x30, tlv(0x06, b"\x55\x1d" + oid), TRUE if critical else b"", tlv(0x04, value))


def reason(code: int) -> bytes:
    return extension(b"\x15", tlv(0x0A, bytes((code,))))


def invalidity(text: bytes) -> bytes:
    return extension(b"\x18", tlv(0x18, text))


def certificate_issuer(name: bytes) -> bytes:
    return extension(b"\x1d", tlv(0x30, tlv(0xA4, name)), critical=True)


def crl_number(number: int) -> bytes:
    return extension(b"\x14", tlv(0x02, bytes((number,))))


def delta_indicator(number: int) -> bytes:
    return extension(b"\x1b", tlv(0x02, bytes((number,))), critical=True)


def idp(*fields: bytes) -> bytes:
    return extension(b"\x1c", tlv(0x30, *fields), critical=True)


INDIRECT = idp(tlv(0x84, b"\xff"))


def entry(serial: bytes = b"\x05", *extensions: bytes, time: bytes = TIME) -> bytes:
    return tlv(0x30, tlv(0x02, serial), time, tlv(0x30, *extensions) if extensions else b"")


def crl(
    *entries: bytes,
    version: bytes = b"\x02\x01\x01",
    inner: bytes = SHA256_WITH_RSA,
    outer: bytes = SHA256_WITH_RSA,
    issuer: bytes = ISSUER,
    times: bytes = THIS_UPDATE + NEXT_UPDATE,
    extensions: tuple[bytes, ...] = (),
    signature: bytes = b"\x00signature",
    more: bytes = b"",
) -> bytes:
    """A CRL; `more` goes to the end of tbsCertList, `signature` includes the count of unused bits."""
    revoked = tlv(0x30, *entries) if entries else b""
    crl_extensions = tlv(0xA0, tlv(0x30, *extensions)) if extensions else b""
    tbs = tlv(0x30, version, inner, issuer, times, revoked, crl_extensions, more)
    return tlv(0x30, tbs, outer, tlv(0x03, signature))
