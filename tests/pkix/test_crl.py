"""CertificateList of RFC 5280 section 5: what is read from a header, and what is refused."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pkix import crls
from tests.pkix.crls import crl, crl_number, entry, extension, idp

from vouchd.errors import CRLRejected
from vouchd.pkix.crl import read_header
from vouchd.pkix.der import tlv
from vouchd.pkix.reasons import Reason

POINT = tlv(0xA0, tlv(0xA0, tlv(0x86, b"http://x/1.crl")))


def test_header_of_full_crl_has_every_fact():
    """A version 2 CRL gives issuer, times, number, key identifier, algorithm, signature and the spans."""
    key_id = extension(b"\x23", tlv(0x30, tlv(0x80, b"key")))
    der = crl(entry(), extensions=(key_id, crl_number(7)))
    header = read_header(der)
    assert (header.version, header.issuer_name_der) == (2, crls.ISSUER)
    assert (header.this_update, header.next_update) == (1767225600, 1798761600)
    assert (header.crl_number, header.base_crl_number, header.authority_key_id) == (7, None, b"key")
    assert (header.signature_algorithm_der, header.signature) == (crls.SHA256_WITH_RSA, b"signature")
    assert der[header.entries.start : header.entries.end] == entry()
    assert der[header.tbs.start : header.tbs.start + 5] == b"\x30\x75\x02\x01\x01"
    assert der[header.tbs.end :].startswith(crls.SHA256_WITH_RSA)
    assert not header.is_delta


def test_version_1_crl_without_next_update_is_read():
    """RFC 5280 5.1.2.1: version 1 has neither the field nor extensions; nextUpdate is optional in X.509."""
    header = read_header(crl(entry(), version=b"", times=crls.THIS_UPDATE))
    assert (header.version, header.next_update, header.crl_number) == (1, None, None)
    assert header.scope.scope_id == "complete"


def test_generalized_time_is_read():
    """RFC 5280 5.1.2.4: dates from 2050 on are GeneralizedTime."""
    header = read_header(crl(times=crls.THIS_UPDATE + tlv(0x18, b"20500101000000Z")))
    assert header.next_update == 2524608000


@pytest.mark.parametrize("more", [b"", tlv(0x30)])
def test_crl_without_entries_has_an_empty_span(more):
    """No revokedCertificates at all and, tolerated, an empty list mean that nothing is revoked."""
    header = read_header(crl(more=more))
    assert header.entries.start == header.entries.end


def test_mapped_file_is_read_in_place(tmp_path):
    """A view of a memory map serves as bytes do."""
    (tmp_path / "crl").write_bytes(crl(entry(), extensions=(crl_number(3),)))
    with (
        (tmp_path / "crl").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        assert read_header(view).crl_number == 3


def test_delta_crl_names_its_base():
    """RFC 5280 5.2.4: deltaCRLIndicator carries BaseCRLNumber."""
    header = read_header(crl(extensions=(crl_number(9), crls.delta_indicator(5))))
    assert (header.is_delta, header.base_crl_number) == (True, 5)


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (b"", "truncated"),
        (crl()[:-1], "longer than what holds it"),
        (crl() + b"\x00", "bytes after"),
        (crl(outer=crls.SHA384_WITH_RSA), "differs"),
        (crl(version=b"\x02\x01\x00"), "version"),
        (crl(version=b"\x02\x01\x02"), "version"),
        (crl(issuer=b"\x30\x00"), "issuer"),
        (crl(times=b""), "missing"),
        (crl(times=tlv(0x17, b"2601010000Z")), "UTCTime"),
        (crl(times=tlv(0x17, b"260230000000Z")), "a day that there is not"),
        (crl(times=tlv(0x18, b"20260101000000.5Z")), "whole seconds"),
        (crl(signature=b"\x01signature"), "signatureValue"),
        (crl(signature=b"\x00"), "signatureValue"),
        (crl(more=b"\x02\x01\x01"), "unexpected field"),
        (crl(version=b"", extensions=(crl_number(1),)), "version 1"),
        (crl(extensions=(crl_number(1), crl_number(2))), "occurs twice"),
        (crl(extensions=(extension(b"\x14", b"\x02\x01\xff"),)), "negative"),
        (crl(extensions=(extension(b"\x14", b"\x02\x17" + b"\x01" * 23),)), "longer than 20"),
        (crl(extensions=(extension(b"\x14", b"\x02\x01\x01\x00"),)), "bytes after"),
        (crl(extensions=(extension(b"\x63", b"", critical=True),)), "critical extension that is not supported"),
        (crl(extensions=tuple(extension(bytes((1, i)), b"") for i in range(65))), "more than 64"),
        (
            crl(extensions=(extension(b"\xff" * 64_000 + b"\x01", b"", critical=True),)),
            "OBJECT IDENTIFIER of 64003 octets",
        ),
        (crl(more=tlv(0xA0, tlv(0x30))), "empty list"),
        (crl(more=tlv(0xA0, tlv(0x30, crl_number(1)), b"\x05\x00")), "bytes after crlExtensions"),
        (b"\x30\x80" + crl()[2:] + b"\x00\x00", "indefinite"),
    ],
)
def test_unsound_header_is_refused_with_its_fault(der, why):
    """What is not DER of RFC 5280 5.1, or cannot be understood in full, is refused, with a hint."""
    with pytest.raises(CRLRejected, match=why) as refusal:
        read_header(der)
    assert refusal.value.hint


def test_unknown_extension_that_is_not_critical_is_passed_over():
    """RFC 5280 5.2: only a critical extension must be understood."""
    assert read_header(crl(extensions=(extension(b"\x63", b"anything"), crl_number(2)))).crl_number == 2


def test_scope_of_partition_has_its_point():
    """RFC 5280 5.2.5: a distribution point partitions; its bytes are kept with the [0]."""
    scope = read_header(crl(extensions=(idp(POINT, tlv(0x81, b"\xff")),))).scope
    assert (scope.distribution_point_der, scope.only_user, scope.only_ca) == (POINT, True, False)
    assert len(scope.scope_id) == 64


def test_scope_reads_each_flag():
    """onlyContainsCACerts, onlySomeReasons, indirectCRL, onlyContainsAttributeCerts."""
    assert read_header(crl(extensions=(idp(tlv(0x82, b"\xff")),))).scope.only_ca
    assert read_header(crl(extensions=(idp(tlv(0x85, b"\xff")),))).scope.only_attribute
    assert read_header(crl(extensions=(crls.INDIRECT,))).scope.indirect
    some = read_header(crl(extensions=(idp(tlv(0x83, b"\x05\x60")),))).scope.only_some_reasons
    assert some == {Reason.KEY_COMPROMISE, Reason.CA_COMPROMISE}


@pytest.mark.parametrize(
    "fields",
    [
        (tlv(0x81, b"\xff"), tlv(0x82, b"\xff")),
        (tlv(0x82, b"\xff"), tlv(0x81, b"\xff")),
        (tlv(0x84, b"\x01"),),
        (tlv(0x83, b"\x00"),),
        (tlv(0x83, b"\x08\x60"),),
        (tlv(0x83, b"\x04\x00\x10"),),
        (tlv(0x86, b"\xff"),),
        (tlv(0xA0),),
        (tlv(0x84, b"\xff"), tlv(0x84, b"\xff")),
    ],
)
def test_unsound_scope_is_refused(fields):
    """A scope that contradicts RFC 5280 5.2.5 must not be guessed at."""
    with pytest.raises(CRLRejected, match="issuingDistributionPoint"):
        read_header(crl(extensions=(idp(*fields),)))


@pytest.mark.parametrize("oid", [b"\x12", b"\x2e"], ids=["issuerAltName", "freshestCRL"])
def test_critical_extension_that_changes_nothing_of_the_list_is_passed_over(oid):
    """Another name of the issuer, and where its deltas are: understood, and no reason to refuse what is revoked."""
    assert read_header(crl(extensions=(crl_number(3), extension(oid, b"\x30\x00", critical=True)))).crl_number == 3


def test_empty_scope_restricts_nothing():
    """RFC 5280 5.2.5 forbids the empty SEQUENCE to issuers; as it restricts nothing it is a complete CRL."""
    assert read_header(crl(extensions=(idp(),))).scope.scope_id == "complete"


@given(st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_are_read_or_rejected(junk, at):
    """Whatever comes in, only CRLRejected goes out."""
    der = crl(entry(), extensions=(crl_number(1), idp(POINT)))
    for data in (junk, der[:at] + junk + der[at + len(junk) :], der[:at] + junk):
        try:
            read_header(data)
        except CRLRejected as error:
            assert error.hint  # noqa: PT017  anything else fails the test by itself
