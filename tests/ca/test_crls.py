"""CRLs: numbers, entries, deltas, scopes, times; OpenSSL as the foreign reader."""

import subprocess
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import DAY, HOUR, NOW, name, shared_key

from vouchd.ca.ca_keys import KEY_TYPES
from vouchd.ca.creating import AuthorityPlan, create_authority
from vouchd.ca.facts import AuthoritySettings, CRLScope
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest
from vouchd.ca.store import KEPT_CRLS
from vouchd.errors import IssuanceError, NotFound
from vouchd.pkix.reasons import Reason


def read(crl):
    return x509.load_der_x509_crl(crl.der)


def entries(crl):
    """Serial octets -> reason flag or None."""
    entries_of = {}
    for entry in read(crl):
        octets = entry.serial_number.to_bytes(entry.serial_number.bit_length() // 8 + 1, "big")
        try:
            entries_of[octets] = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            entries_of[octets] = None
    return entries_of


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_make_crl_with_each_key_type_verifies(tmp_path, key_type):
    """A CA of every kind of key makes full and delta CRLs that verify with its certificate."""
    with create_authority(tmp_path / "ca", AuthorityPlan("CN=Each", key_type), NOW) as manager:
        record = manager.issue(CertificateRequest(name("x"), shared_key().public_key(), ProfileName.USER), NOW)
        manager.revoke(record.serial, NOW, Reason.KEY_COMPROMISE)
        for crl in (manager.make_crl(NOW), manager.make_crl(NOW, delta=True)):
            assert read(crl).is_signature_valid(manager.certificate.public_key())


@pytest.mark.parametrize("key_type", ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519", "Ed448"])
def test_make_crl_is_verified_by_openssl(tmp_path, key_type):
    """OpenSSL verifies the CRL against ca.crt and refuses the certificate that is on it."""
    ca = tmp_path / "ca"
    with create_authority(ca, AuthorityPlan("CN=Each", key_type), NOW) as manager:
        request = CertificateRequest(name("x"), shared_key().public_key(), ProfileName.USER)
        bad, good = manager.issue_all([request, request], NOW)
        manager.revoke(bad.serial, NOW, Reason.KEY_COMPROMISE)
        crl = read(manager.make_crl(NOW)).public_bytes(Encoding.PEM)
    (tmp_path / "ca.crl").write_bytes(crl)
    (tmp_path / "bad.crt").write_bytes(x509.load_der_x509_certificate(bad.der).public_bytes(Encoding.PEM))
    (tmp_path / "good.crt").write_bytes(x509.load_der_x509_certificate(good.der).public_bytes(Encoding.PEM))

    def openssl(*arguments):
        return subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "verify OK" in openssl("crl", "-in", "ca.crl", "-CAfile", "ca/ca.crt", "-noout").stderr
    check = ("verify", "-attime", str(NOW + 1), "-crl_check", "-CAfile", "ca/ca.crt", "-CRLfile", "ca.crl")
    assert openssl(*check, "good.crt").returncode == 0
    refused = openssl(*check, "bad.crt")
    assert refused.returncode != 0
    assert "certificate revoked" in refused.stderr


def test_make_crl_rsa_pss_when_set(tmp_path):
    """The signature algorithm named in the settings is used for certificates and CRLs."""
    plan = AuthorityPlan("CN=PSS", "RSA-2048", settings=AuthoritySettings(signature_algorithm="SHA384withRSA/PSS"))
    with create_authority(tmp_path / "ca", plan, NOW) as manager:
        crl = read(manager.make_crl(NOW))
        assert isinstance(crl.signature_algorithm_parameters, padding.PSS)
        assert crl.signature_hash_algorithm.name == "sha384"
        assert isinstance(manager.certificate.signature_algorithm_parameters, padding.PSS)


def test_create_with_algorithm_of_another_key_is_refused(tmp_path):
    """A signature algorithm that the key cannot make is refused before anything is made."""
    plan = AuthorityPlan("CN=x", "P-256", settings=AuthoritySettings(signature_algorithm="SHA256withRSA"))
    with pytest.raises(IssuanceError, match="cannot make"):
        create_authority(tmp_path / "ca", plan, NOW)
    assert list(tmp_path.iterdir()) == []


def test_make_crl_entry_carries_time_reason_and_invalidity_date(manager, issue):
    """A CRL entry tells revocation time, reason and invalidity date; `unspecified` by leaving the reason out."""
    special, plain = issue(), issue()
    manager.revoke(special.serial, NOW + 5, Reason.CESSATION_OF_OPERATION, NOW - DAY)
    manager.revoke(plain.serial, NOW + 6)
    crl = manager.make_crl(NOW + 10)
    assert entries(crl) == {special.serial: x509.ReasonFlags.cessation_of_operation, plain.serial: None}
    entry = read(crl).get_revoked_certificate_by_serial_number(int.from_bytes(special.serial, "big"))
    assert entry.revocation_date_utc.timestamp() == NOW + 5
    assert (
        entry.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc.timestamp() == NOW - DAY
    )


def test_make_crl_numbers_rise_over_full_and_delta(manager):
    """Full and delta CRLs share one rising sequence of numbers (RFC 5280 section 5.2.3); a delta names its base."""
    made = [manager.make_crl(NOW, delta=delta) for delta in (False, True, True, False, True)]
    assert [crl.number for crl in made] == [1, 2, 3, 4, 5]
    assert [crl.base_number for crl in made] == [None, 1, 1, None, 4]
    for crl in made:
        assert read(crl).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == crl.number


def test_make_crl_extensions_of_full_and_delta(manager):
    """A full CRL points to the delta (FreshestCRL); a delta has a critical DeltaCRLIndicator and no FreshestCRL."""
    full, delta = read(manager.make_crl(NOW)), read(manager.make_crl(NOW, delta=True))
    assert full.extensions.get_extension_for_class(x509.FreshestCRL).value[0].full_name[0].value.endswith("delta.crl")
    indicator = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert (indicator.critical, indicator.value.crl_number) == (True, 1)
    with pytest.raises(x509.ExtensionNotFound):
        delta.extensions.get_extension_for_class(x509.FreshestCRL)


def test_make_delta_holds_all_changes_since_its_base(manager, issue):
    """A delta tells what changed after its full CRL: revoked, held, and released as removeFromCRL."""
    before, released, fresh, untouched = (issue(f"n{i}") for i in range(4))
    manager.revoke(before.serial, NOW, Reason.SUPERSEDED)
    manager.hold(released.serial, NOW)
    full = manager.make_crl(NOW)
    manager.release(released.serial, NOW + 1)
    manager.revoke(fresh.serial, NOW + 2, Reason.AFFILIATION_CHANGED)
    first = manager.make_crl(NOW + 3, delta=True)
    manager.hold(untouched.serial, NOW + 4)
    second = manager.make_crl(NOW + 5, delta=True)
    assert set(entries(full)) == {before.serial, released.serial}
    changed = {released.serial: x509.ReasonFlags.remove_from_crl, fresh.serial: x509.ReasonFlags.affiliation_changed}
    assert entries(first) == changed
    assert entries(second) == changed | {untouched.serial: x509.ReasonFlags.certificate_hold}
    assert set(entries(manager.make_crl(NOW + 6))) == {before.serial, fresh.serial, untouched.serial}
    assert entries(manager.make_crl(NOW + 7, delta=True)) == {}


def test_make_delta_without_full_crl_is_refused_and_takes_no_number(manager):
    """A delta has a base; a refusal does not use up a number."""
    with pytest.raises(IssuanceError, match="no full CRL"):
        manager.make_crl(NOW, delta=True)
    assert manager.make_crl(NOW).number == 1


def test_make_crl_times_come_from_settings_and_never_go_back(manager):
    """nextUpdate is thisUpdate plus the configured period; with a clock set back thisUpdate stays."""
    manager.store.put_settings(replace(manager.store.settings(), crl_seconds=7 * DAY, delta_seconds=2 * HOUR))
    full, delta = manager.make_crl(NOW), manager.make_crl(NOW + 60, delta=True)
    assert (full.this_update, full.next_update) == (NOW, NOW + 7 * DAY)
    assert (delta.this_update, delta.next_update) == (NOW + 60, NOW + 60 + 2 * HOUR)
    assert manager.make_crl(NOW - DAY).this_update == NOW + 60


def test_make_crl_scopes_split_users_and_cas(manager, issue):
    """A CRL of one kind has a critical IssuingDistributionPoint and only that kind's entries; bases are per scope."""
    user, sub_ca = issue(profile=ProfileName.USER), issue("sub", profile=ProfileName.CA)
    for record in (user, sub_ca):
        manager.revoke(record.serial, NOW)
    users, cas = (manager.make_crl(NOW, scope=scope) for scope in (CRLScope.USER, CRLScope.CA))
    assert (set(entries(users)), set(entries(cas))) == ({user.serial}, {sub_ca.serial})
    idp = read(users).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert idp.critical
    assert (idp.value.only_contains_user_certs, idp.value.only_contains_ca_certs) == (True, False)
    assert manager.make_crl(NOW, delta=True, scope=CRLScope.USER).base_number == users.number
    with pytest.raises(IssuanceError):
        manager.make_crl(NOW, delta=True)


def test_make_crl_drops_expired_after_one_more_crl(manager, issue):
    """A revoked certificate stays until it stood on one full CRL after its end (RFC 5280 section 3.3)."""
    record = issue(validity_seconds=DAY)
    manager.revoke(record.serial, NOW)
    assert record.serial in entries(manager.make_crl(NOW))
    assert record.serial in entries(manager.make_crl(NOW + 2 * DAY))
    assert record.serial not in entries(manager.make_crl(NOW + 3 * DAY))


def test_make_crl_revoked_after_its_end_stands_on_one_crl(manager, issue):
    """News of an expired certificate is told at least once."""
    record = issue(validity_seconds=DAY)
    manager.make_crl(NOW + 2 * DAY)
    manager.revoke(record.serial, NOW + 3 * DAY)
    assert record.serial in entries(manager.make_crl(NOW + 4 * DAY))
    assert record.serial not in entries(manager.make_crl(NOW + 5 * DAY))


def test_make_crl_keeps_expired_when_set(manager, issue):
    """include_expired keeps entries for ever, for responders with an archive cutoff."""
    manager.store.put_settings(replace(manager.store.settings(), include_expired=True))
    record = issue(validity_seconds=DAY)
    manager.revoke(record.serial, NOW)
    made = [manager.make_crl(NOW + day * DAY) for day in (0, 2, 3)]
    assert all(record.serial in entries(crl) for crl in made)


def test_current_crl_is_the_newest_of_its_kind(manager):
    """The current full and delta CRLs are found; without one there is a hint."""
    with pytest.raises(NotFound) as caught:
        manager.current_crl()
    assert "vouchd ca crl" in caught.value.hint
    full, delta = manager.make_crl(NOW), manager.make_crl(NOW, delta=True)
    assert manager.current_crl() == full
    assert manager.current_crl(delta=True) == delta


def test_store_keeps_numbers_but_not_all_bytes(manager):
    """Bytes of CRLs long outdated are dropped, their numbers stay, and the current full CRL is kept whatever its age."""
    full = manager.make_crl(NOW)
    for _ in range(KEPT_CRLS + 2):
        manager.make_crl(NOW, delta=True)
    history = manager.store.crls()
    assert [crl.number for crl in history] == list(range(1, KEPT_CRLS + 4))
    assert history[0].der == full.der
    assert history[1].der == b""
    assert history[-1].der


def test_make_crl_of_many_entries(manager):
    """A CRL of a thousand entries has each of them once."""
    request = CertificateRequest(name("x"), shared_key().public_key(), ProfileName.USER)
    records = manager.issue_all([request] * 1000, NOW)
    with manager.store.transaction():
        for record in records:
            manager.revoke(record.serial, NOW, Reason.SUPERSEDED)
    crl = manager.make_crl(NOW)
    assert crl.entry_count == 1000
    assert set(entries(crl)) == {record.serial for record in records}
