"""All CRLs of cryptography_vectors, NIST's PKITS among them: we read what cryptography reads (RFC 5280 section 5)."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509

from vouchd.errors import CRLRejected
from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.reasons import Reason

X509 = Path(cryptography_vectors.__file__).parent / "x509"
CUSTOM = X509 / "custom"
PKITS = X509 / "PKITS_data" / "crls"

# What must be refused, by the words of the refusal.
REFUSED = {
    "BadCRLSignatureCACRL.crl": "signatureValue",
    "UnknownCRLEntryExtensionCACRL.crl": "critical extension",
    "UnknownCRLExtensionCACRL.crl": "critical extension",
    "crl_all_reasons.pem": "certificateIssuer in a CRL that is not indirect",
    "crl_bad_version.pem": "version",
    "crl_dup_entry_ext.pem": "occurs twice",
    "crl_inner_outer_mismatch.der": "differs",
    "crl_inval_cert_issuer_entry_ext.pem": "truncated element",
    "crl_inval_date_fractional_seconds.der": "signatureValue",
    "crl_invalid_time.der": "no UTCTime or GeneralizedTime",
    "crl_md2_unknown_crit_entry_ext.pem": "critical",
}
# What cryptography cannot read: a name is bytes to us, and a reason that nobody knows is none.
UNREADABLE_THERE = {"crl_issuer_invalid_printable_string.der", "crl_unsupported_reason.pem"}
TAKEN = sorted(
    path
    for path in (*PKITS.glob("*.crl"), *CUSTOM.glob("crl_*"), *CUSTOM.glob("*valid_signature_crl*"))
    if path.name not in REFUSED | dict.fromkeys(UNREADABLE_THERE)
)

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


def der_of(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".pem":
        text = data.split(b"-----BEGIN X509 CRL-----")[1].split(b"-----END")[0]
        return base64.b64decode(text)
    return data


def extension(crl, kind):
    try:
        return crl.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def seconds(moment) -> int | None:
    return None if moment is None else int(moment.timestamp())


def reason_of(entry) -> str | None:
    reason = extension(entry, x509.CRLReason)
    return None if reason is None else reason.reason.name.upper()


@pytest.mark.parametrize("path", TAKEN, ids=lambda path: path.stem)
def test_crl_is_read_as_cryptography_reads_it(path):
    """Header and entries have the facts that an independent reader finds."""
    der = der_of(path)
    header = read_header(der)
    crl = x509.load_der_x509_crl(der)
    assert der[header.tbs.start : header.tbs.end] == crl.tbs_certlist_bytes
    assert header.signature == crl.signature
    assert header.this_update == seconds(crl.last_update_utc)
    assert header.next_update == seconds(crl.next_update_utc)
    read = [(int.from_bytes(e.serial, "big", signed=True), e.revocation_time) for e in of_anybody(der, header)]
    assert read == [(e.serial_number, seconds(e.revocation_date_utc)) for e in crl]


@pytest.mark.parametrize("path", TAKEN, ids=lambda path: path.stem)
def test_extensions_are_read_as_cryptography_reads_them(path):
    """CRL number, delta indicator, key identifier, scope, reasons and invalidity dates agree."""
    der = der_of(path)
    header = read_header(der)
    crl = x509.load_der_x509_crl(der)
    number, base = extension(crl, x509.CRLNumber), extension(crl, x509.DeltaCRLIndicator)
    key = extension(crl, x509.AuthorityKeyIdentifier)
    assert header.crl_number == (number and number.crl_number)
    assert header.base_crl_number == (base and base.crl_number)
    assert header.authority_key_id == (key and key.key_identifier)
    check_scope(header.scope, extension(crl, x509.IssuingDistributionPoint))
    for ours, theirs in zip(of_anybody(der, header), crl, strict=True):
        assert (None if ours.reason is Reason.ABSENT else ours.reason.name) == reason_of(theirs)
        date = extension(theirs, x509.InvalidityDate)
        assert ours.invalidity_date == (date and seconds(date.invalidity_date_utc))


def check_scope(scope, idp) -> None:
    if idp is None:
        assert scope.scope_id == "complete"
        return
    assert scope.scope_id == hashlib.sha256(scope.idp_der).hexdigest()
    assert scope.only_user == idp.only_contains_user_certs
    assert scope.only_ca == idp.only_contains_ca_certs
    assert scope.only_attribute == idp.only_contains_attribute_certs
    assert scope.indirect == idp.indirect_crl
    theirs = idp.only_some_reasons
    assert (scope.only_some_reasons is None) == (theirs is None)
    assert {r.name for r in scope.only_some_reasons or ()} == {r.name.upper() for r in theirs or ()}
    assert bool(scope.distribution_point_der) == (idp.full_name is not None or idp.relative_name is not None)


def of_anybody(der, header):
    """The entries whoever issued the certificates: those of each issuer named, put back into the order of the list."""
    crl = x509.load_der_x509_crl(der)
    if not header.scope.indirect:
        return list(entries(der, header))
    issuers = {header.issuer_name_der}
    for entry in crl:
        named = extension(entry, x509.CertificateIssuer)
        issuers |= {name.public_bytes() for name in named.get_values_for_type(x509.DirectoryName)} if named else set()
    rows = [entry for issuer in issuers for entry in entries(der, header, issuer)]
    order = {e.serial_number: i for i, e in enumerate(crl)}
    return sorted(rows, key=lambda e: order[int.from_bytes(e.serial, "big", signed=True)])


def read_whole(der: bytes) -> None:
    """Header and all entries."""
    list(entries(der, read_header(der)))


@pytest.mark.parametrize("name", REFUSED)
def test_unsound_crl_is_refused_for_its_fault(name):
    """What breaks a MUST is refused, and the message tells which."""
    der = der_of((PKITS if name.endswith(".crl") else CUSTOM) / name)
    with pytest.raises(CRLRejected, match=REFUSED[name]) as refusal:
        read_whole(der)
    assert refusal.value.hint
