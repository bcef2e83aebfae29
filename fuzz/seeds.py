"""Inputs to start from: the public vectors of `cryptography_vectors`, NIST's PKITS among them."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from urllib.parse import quote

import cryptography_vectors
from tests.contract.test_mirror_store import full
from tests.memory_store import MemoryStore

from vouchd.core.records import facts_record, to_json
from vouchd.pkix.pem import as_pem

ALL_VECTORS = Path(cryptography_vectors.__file__).parent
VECTORS = ALL_VECTORS / "x509"
PKCS12_PASSWORD = "cryptography"  # noqa: S105  of the public vectors
MAX_SEED_BYTES = 4096


def _files(pattern: str) -> tuple[bytes, ...]:
    read = (path.read_bytes() for path in sorted(VECTORS.glob(pattern)))
    return tuple(data for data in read if len(data) <= MAX_SEED_BYTES)


@cache
def ocsp_requests() -> tuple[bytes, ...]:
    """DER of OCSPRequest, good and bad."""
    return _files("ocsp/*req*.der")


@cache
def ocsp_responses() -> tuple[bytes, ...]:
    """DER of OCSPResponse, good and bad."""
    return _files("ocsp/*resp*.der")


@cache
def crls() -> tuple[bytes, ...]:
    """DER of CertificateList: those of PKITS."""
    return _files("PKITS_data/crls/*.crl")


@cache
def certificates() -> tuple[bytes, ...]:
    """DER of Certificate: those of PKITS."""
    return _files("PKITS_data/certs/*.crt")


@cache
def get_paths() -> tuple[bytes, ...]:
    """Request targets of OCSP over GET, with the spellings that clients are known to use."""
    texts = [base64.b64encode(der).decode() for der in ocsp_requests()]
    spelled = [
        *(f"/ocsp/{quote(text, safe='')}" for text in texts),
        *(f"/{text}" for text in texts),
        *(f"/ocsp/ee/ocsp/{text.rstrip('=').replace('+', '-').replace('/', '_')}" for text in texts),
        "/", "//", "/ocsp", "/ocsp/%", "/ocsp/%2", "/ocsp/%zz", "/ocsp/?x=y", "/ocsp//MA==", "/ocsp/ee/ocsp/",
    ]  # fmt: skip
    return tuple(text.encode("ascii") for text in spelled)


@cache
def cs_cfgs() -> tuple[bytes, ...]:
    """Texts of CS.cfg."""
    return (
        b"# a comment\n\nocsp.storeId=defStore\nocsp.store.defStore.notFoundAsGood=true\n",
        b"OCSP.Responder.store.defStore.refreshInSec=21600\nocsp.rejectAlgorithms=SHA-1\n",
        b"vouchd.ee.port=8080\nvouchd.ee.workers=2\nvouchd.request.nonce=require\nvouchd.crl.quarantinePercent=12.5\n",
        b"vouchd.source.main.url=http://ca.example/ca.crl\nvouchd.source.main.intervalInSec=600\n",
        b"vouchd.signer.ocsp.key=alias/ocsp.key\nvouchd.signer.ocsp.certificate=alias/ocsp.pem\nocsp.signing.certnickname=ocsp\n",
        b"ocsp.store.defStore.notFoundAsGod=true\n",
        b"internaldb.ldapconn.host=ldap.example\nlog.instance.Debug.level=3\n",
    )


@cache
def certificates_as_handed_out() -> tuple[bytes, ...]:
    """Certificates in DER, PEM and PKCS #7, alone and several."""
    some = certificates()[:20]
    texts = [as_pem(der).encode() for der in some]
    chains = (path.read_bytes() for path in sorted((ALL_VECTORS / "pkcs7").glob("*")))
    trusted = texts[0].replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")
    known = (*some, *texts, b"".join(texts[:3]), b"a comment\r\n" + trusted, base64.b64encode(some[0]), *chains)
    return tuple(data for data in known if len(data) <= MAX_SEED_BYTES)


def forms() -> tuple[bytes, ...]:
    """Urlencoded forms as a publishing CA and a browser send them."""
    crl = quote(base64.encodebytes(crls()[0]).decode(), safe="").encode()
    return (
        b"crl=" + crl,
        b"crl=" + crl.lower() + b"&xmlOutput=true",
        b"a=1&a=2&b=%41%zz%&=&&c",
        b"name=%C3%A9+x&n=%00",
    )


@cache
def facts() -> tuple[bytes, ...]:
    """The facts of a set, some of each kind, and of an empty one."""
    return tuple(to_json(facts_record(one)).encode() for one in (full(MemoryStore()), MemoryStore().facts()))


def pkcs12_files() -> tuple[bytes, ...]:
    """PKCS #12 files as OpenSSL and Java write them, with the password and with others."""
    return tuple(path.read_bytes() for path in sorted((ALL_VECTORS / "pkcs12").glob("*.p12")))


def http_streams() -> tuple[bytes, ...]:
    """HTTP requests as clients send them, with the octet in front that says how they are cut."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
    host, body = b"Host: a\r\n", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    get = b"GET /MAAA HTTP/1.1\r\n" + host + b"\r\n"
    length = b"Content-Length: %d\r\n" % len(body)
    chunks = b"Transfer-Encoding: chunked\r\n"
    chunked = b"%x\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (len(body), body)
    post = b"POST /ocsp HTTP/1.1\r\n" + host
    streams = (
        get,
        get + get,
        post + length + b"\r\n" + body + get,
        post + offer + length + b"\r\n" + body + get,
        post + chunks + b"\r\n" + chunked + get,
        post + offer + chunks + b"\r\n" + chunked + get,
        post + length + chunks + b"\r\n" + body,
        post + length + b"Expect: 100-continue\r\n\r\n" + body,
        b"POST / HTTP/1.0\r\n" + length + offer + b"\r\n" + body,
        b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n" + host + b"\r\n" + body,
        b"HEAD /MAAA HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\n z\r\n\r\n",
    )
    return tuple(bytes((cut,)) + stream for stream in streams for cut in (0, 7))
