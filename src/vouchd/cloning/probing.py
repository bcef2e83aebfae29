"""What members are asked when they are compared: certificates of each CA that the set itself knows, and an unknown CA.

Each in the three ways in which most clients ask, and one of each CA in every form there is: each digest of a
CertID, several CertIDs, preferred algorithms, a signed request. A responder may be set to treat each of them apart: one
digest refused, signatures required, a signer by what a client prefers. So two members may be alike in the answers that
most clients get, and not in those of the others.

Drawn at random, so that what one comparison did not ask about another one will.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from vouchd.client.inquiry import Question, build_request, encode_cert_id, new_nonce, question
from vouchd.client.response_facts import CertID
from vouchd.client.transport import Method
from vouchd.cloning.comparison import Probe
from vouchd.core.ports import RevocationIndex, SerialSet
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.pkix import certs, der
from vouchd.pkix.reasons import Reason
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS

MAX_SAMPLE = 10_000
SAMPLE = 5  # certificates of each kind and CA, where nobody says another number
MOST = 1_000  # certificates of all CAs together, likewise: ten thousand CAs take no hours
FORMS_OF = 20  # what a form makes different is seldom different by CA
_LOOKED_AT = 20_000  # entries of one index that a sample is drawn from
_RANDOM = secrets.SystemRandom()

CHOSEN, REVOKED, HELD, ISSUED, NEVER_ISSUED = "chosen", "revoked", "held", "issued", "never issued"
UNKNOWN_CA = "of an unknown CA"


def probes(state: ServingState, sample: int, chosen: Sequence[bytes] = (), most: int | None = None) -> Iterator[Probe]:
    """Of each CA at most `sample` certificates of each kind and one that was never issued, or those `chosen` alone.

    Unless they are chosen, `most` of all CAs together: fewer of each where there are many CAs, and of CAs drawn at
    random where there are more.

    Each is asked about by GET and POST without a nonce, and by POST with one; so is one of a CA that nobody knows. Of
    `FORMS_OF` CAs at most some are asked about in every form.
    """
    drawn = list(state.authorities)
    if most is not None and not chosen and len(drawn) > most:
        drawn = _RANDOM.sample(drawn, most)
    in_all_forms = set(_RANDOM.sample(range(len(drawn)), min(FORMS_OF, len(drawn))))
    for number, served in enumerate(drawn):
        der, label = served.authority.certificate_der, served.authority.label
        known = _known(served, sample) if most is None else _some(served, sample, most // len(drawn))
        if chosen:
            known = [(CHOSEN, serial) for serial in chosen]
        asked_about: dict[str, bytes] = {}  # one serial of each kind
        for kind, serial in known:
            asked_about.setdefault(kind, serial)
            yield from _three(kind, label, question(der, [serial]), question(der, [serial], nonce=new_nonce()))
        if number in in_all_forms:
            others = chosen[1:] if chosen else ()
            yield from forms(der, label, {**asked_about, **{f"{CHOSEN} {one.hex()}": one for one in others}})
    if not chosen:
        stranger = CertID("SHA-256", secrets.token_bytes(32), secrets.token_bytes(32), b"\x01")
        yield from _three(UNKNOWN_CA, "", _of_stranger(stranger, None), _of_stranger(stranger, new_nonce()))


def _some(served: ServingAuthority, sample: int, most: int) -> list[tuple[str, bytes]]:
    """What `_known` draws, of so many issuing points at most, and of that so many certificates."""
    points = tuple(_RANDOM.sample(served.points, min(most, len(served.points))))
    known = list(_known(replace(served, points=points), min(sample, most)))
    return _RANDOM.sample(known, min(most, len(known)))


def _known(served: ServingAuthority, sample: int) -> Iterable[tuple[str, bytes]]:
    """Kind and serial; what is issued is known of a CA that keeps a list of it."""
    indexes = [point.index for point in served.points]
    for index in indexes:
        yield from _listed(index, sample)
    if served.issued is not None:
        yield from ((ISSUED, serial) for serial in _issued(served.issued, indexes, sample))
    yield NEVER_ISSUED, b"\x01" + secrets.token_bytes(15)


def _listed(index: RevocationIndex, sample: int) -> Iterator[tuple[str, bytes]]:
    wanted = {HELD: sample, REVOKED: sample}
    for position in _positions(len(index)):
        entry = index.at(position)
        kind = HELD if entry.reason is Reason.CERTIFICATE_HOLD else REVOKED
        if wanted[kind]:
            wanted[kind] -= 1
            yield kind, entry.serial
        if not any(wanted.values()):
            return


def _issued(serials: SerialSet, indexes: Sequence[RevocationIndex], sample: int) -> Iterator[bytes]:
    """Of those that were issued some that no CRL lists."""
    for position in _positions(len(serials)):
        if not sample:
            return
        serial = serials.at(position)
        if not any(index.find(serial) for index in indexes):
            sample -= 1
            yield serial


def _positions(count: int) -> list[int]:
    return _RANDOM.sample(range(count), min(count, _LOOKED_AT))


def _of_stranger(stranger: CertID, nonce: bytes | None) -> Question:
    return Question(None, (stranger,), nonce, build_request([encode_cert_id(stranger)], nonce))


def _three(kind: str, authority: str, plain: Question, with_nonce: Question) -> Iterator[Probe]:
    yield Probe(kind, plain, Method.GET, authority)
    yield Probe(kind, plain, Method.POST, authority)
    yield Probe(kind, with_nonce, Method.POST, authority)


_USUAL = "SHA-256"  # in which every certificate is asked about
_PREFERRED = "1.3.6.1.5.5.7.48.1.8"  # id-pkix-ocsp-pref-sig-algs, RFC 6960 section 4.4.7
_BY_GET_AND_POST = (Method.GET, Method.POST)


def forms(issuer_der: bytes, authority: str, serials: Mapping[str, bytes]) -> Iterator[Probe]:
    """Of one CA the questions in all forms; `serials` are DER INTEGER content octets, by the kind of certificate."""
    if not serials:
        return
    kind, serial = next(iter(serials.items()))
    for digest in DIGESTS:
        if digest != _USUAL:
            by_digest = question(issuer_der, [serial], digest=digest)
            yield from (Probe(kind, by_digest, method, authority, digest) for method in _BY_GET_AND_POST)
    several = list(serials.values())
    if len(several) > 1:
        words = f"{len(several)} certificates"
        together = question(issuer_der, several)
        yield from (Probe(kind, together, method, authority, words) for method in _BY_GET_AND_POST)
        yield Probe(kind, question(issuer_der, several, nonce=new_nonce()), Method.POST, authority, words)
    yield Probe(kind, _by_all_digests(issuer_der, serial), Method.POST, authority, "all digests in one")
    usual = question(issuer_der, [serial])
    for name in ALGORITHMS:
        preferring = _with_request(usual, _preferring(usual.cert_ids, [name]))
        yield Probe(kind, preferring, Method.POST, authority, f"preferring {name}")
    yield Probe(kind, _with_request(usual, signed_request(usual.cert_ids)), Method.POST, authority, "signed")


def _by_all_digests(issuer_der: bytes, serial: bytes) -> Question:
    """One certificate, named by each digest in one request."""
    issuer = certs.load_certificate(issuer_der)
    cert_ids = tuple(CertID(digest, *certs.issuer_hashes(issuer, digest), serial) for digest in DIGESTS)
    return Question(issuer, cert_ids, None, build_request([encode_cert_id(one) for one in cert_ids]))


def _with_request(usual: Question, request_der: bytes) -> Question:
    return Question(usual.issuer, usual.cert_ids, usual.nonce, request_der)


def _requests(cert_ids: Sequence[CertID]) -> bytes:
    return der.tlv(der.SEQUENCE, *(der.tlv(der.SEQUENCE, encode_cert_id(one)) for one in cert_ids))


def _preferring(cert_ids: Sequence[CertID], names: Sequence[str]) -> bytes:
    """DER of an unsigned OCSPRequest whose client prefers these signature algorithms."""
    wanted = der.tlv(der.SEQUENCE, *(der.tlv(der.SEQUENCE, ALGORITHMS[name].identifier_der) for name in names))
    extension = der.tlv(der.SEQUENCE, der.oid_tlv(_PREFERRED), der.tlv(der.OCTET_STRING, wanted))
    extensions = der.tlv(0xA2, der.tlv(der.SEQUENCE, extension))
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, _requests(cert_ids), extensions))


def signed_request(cert_ids: Sequence[CertID]) -> bytes:
    """DER of an OCSPRequest (RFC 6960 section 4.1.1) signed by somebody whom nobody knows.

    Where signatures are ignored it is answered as any other, where they are looked at it is refused, by all members
    alike.
    """
    key, certificate = _requestor()
    name = der.tlv(0xA1, der.tlv(0xA4, certs.subject_der(certificate)))
    to_be_signed = der.tlv(der.SEQUENCE, name, _requests(cert_ids))
    signature = key.sign(to_be_signed, ec.ECDSA(hashes.SHA256()))
    chain = der.tlv(0xA0, der.tlv(der.SEQUENCE, certificate.public_bytes(Encoding.DER)))
    bits = der.tlv(0x03, b"\0" + signature)
    parts = der.tlv(der.SEQUENCE, ALGORITHMS["SHA256withEC"].identifier_der, bits, chain)
    return der.tlv(der.SEQUENCE, to_be_signed, der.tlv(0xA0, parts))


@cache
def _requestor() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A key of this process, and a certificate of it by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "comparison of members")])
    first, last = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2020, 2049))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), first, last)
    return key, builder.sign(key, hashes.SHA256())
