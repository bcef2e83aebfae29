"""Make a CA and a CRL of any number of entries, quickly: `python bench/make_crl.py COUNT OUT.crl [--shape random]`.

The entries are put together as bytes and signed with an RSA-2048 key; OUT.crl.ca.pem gets the CA's certificate. Shapes:
`random` has 16-octet random serials in no order with times over three years and a reason for one in two, `sequential`
rising 4-octet serials with a reason for each.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

BATCH = 100_000
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
REASON = [bytes.fromhex("300c300a0603551d1504030a01") + bytes([code]) for code in (1, 4, 5)]


def tlv(tag: int, body: bytes) -> bytes:
    """The element with `tag` around `body`."""
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def entries(count: int, shape: str, seed: int = 1) -> Iterator[bytes]:
    """DER of the entries, in batches."""
    rng = random.Random(seed)
    times = [time.strftime("%y%m%d%H%M%SZ", time.gmtime(1_700_000_000 + 86400 * d)).encode() for d in range(730)]
    clock = [f"{s // 3600:02}{s // 60 % 60:02}{s % 60:02}Z".encode() for s in range(86400)]
    for begin in range(0, count, BATCH):
        batch = []
        for number in range(begin, min(begin + BATCH, count)):
            if shape == "random":
                value = rng.getrandbits(128)
                serial = value.to_bytes(value.bit_length() // 8 + 1, "big")
                tail = REASON[number % 3] if number & 1 else b""
            else:
                serial = (number + 0x10000000).to_bytes(4, "big")
                tail = REASON[number % 3]
            date = times[rng.getrandbits(16) % 730][:6] + clock[rng.getrandbits(20) % 86400]
            body = b"\x02" + bytes((len(serial),)) + serial + b"\x17\x0d" + date + tail
            batch.append(b"\x30" + bytes((len(body),)) + body)
        yield b"".join(batch)


def make_ca(name: str = "Bench CA") -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """A key and its self-signed certificate."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOW, NOW.replace(year=2046))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return key, builder.sign(key, hashes.SHA256())


def extension(head: str, number: int) -> bytes:
    """An extension whose value is an INTEGER; `head` is its OID, and whether it is critical, in hex."""
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")  # with a sign octet where it would be negative
    return tlv(0x30, bytes.fromhex(head) + tlv(0x04, tlv(0x02, octets)))


def make_crl(
    key: rsa.RSAPrivateKey,
    ca: x509.Certificate,
    body: bytes,
    number: int,
    at: dt.datetime,
    base: int | None = None,
) -> bytes:
    """DER of a CRL, good for a year from `at`, whose revokedCertificates have the content `body`.

    With `base` it is a delta CRL over the CRL of that number.
    """
    days = [at.strftime("%y%m%d%H%M%SZ").encode(), at.replace(year=at.year + 1).strftime("%y%m%d%H%M%SZ").encode()]
    crl_number = extension("0603551d14", number)
    # A delta CRL says which base it is over, critical (RFC 5280 section 5.2.4).
    indicator = b"" if base is None else extension("0603551d1b0101ff", base)
    parts = (
        b"\x02\x01\x01" + SHA256_WITH_RSA + ca.subject.public_bytes() + b"".join(tlv(0x17, day) for day in days),
        tlv(0x30, body) if body else b"",
        tlv(0xA0, tlv(0x30, crl_number + indicator)),
    )
    tbs = tlv(0x30, b"".join(parts))
    signature = key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    return tlv(0x30, tbs + SHA256_WITH_RSA + tlv(0x03, b"\x00" + signature))


def main() -> None:
    """Write the CRL and the certificate of its CA."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=("random", "sequential"), default="random")
    parser.add_argument("--number", type=int, default=1, help="CRL number")
    arguments = parser.parse_args()
    key, ca = make_ca()
    body = b"".join(entries(arguments.count, arguments.shape))
    arguments.out.write_bytes(make_crl(key, ca, body, arguments.number, NOW))
    arguments.out.with_name(arguments.out.name + ".ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))


if __name__ == "__main__":
    main()
