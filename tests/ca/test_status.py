"""Revoking, holding, releasing: which change of status is allowed and what it leaves behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import DAY, NOW, name, shared_key

from vouchd.ca.creating import AuthorityPlan, create_authority
from vouchd.ca.facts import IssuedStatus
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest
from vouchd.errors import IssuanceError, NotFound
from vouchd.pkix.reasons import Reason

REVOKING = [r for r in Reason if r not in {Reason.ABSENT, Reason.REMOVE_FROM_CRL, Reason.CERTIFICATE_HOLD}]


@pytest.mark.parametrize("reason", REVOKING)
def test_revoke_with_each_reason_is_final(manager, issue, reason):
    """Every CRLReason of RFC 5280 that revokes is taken, stored with its time, and cannot be released."""
    serial = issue().serial
    manager.revoke(serial, NOW + 5, reason, NOW - DAY)
    record = manager.store.get(serial)
    assert (record.status, record.reason, record.revoked_at, record.invalidity_date) == (
        IssuedStatus.REVOKED,
        reason,
        NOW + 5,
        NOW - DAY,
    )
    with pytest.raises(IssuanceError, match="for good"):
        manager.release(serial, NOW + 6)


@pytest.mark.parametrize("reason", [Reason.REMOVE_FROM_CRL, Reason.ABSENT])
def test_revoke_with_a_reason_that_does_not_revoke_is_refused(manager, issue, reason):
    """removeFromCRL ends a hold in a delta CRL; it revokes nothing."""
    record = issue()
    with pytest.raises(IssuanceError):
        manager.revoke(record.serial, NOW, reason)
    assert manager.store.get(record.serial) == record


def test_revoke_held_certificate_keeps_the_time_of_the_hold(manager, issue):
    """A hold that becomes final is dated from the hold, as X.509 has it."""
    serial = issue().serial
    manager.hold(serial, NOW + 10)
    record = manager.revoke(serial, NOW + 99, Reason.SUPERSEDED)
    assert (record.revoked_at, record.reason) == (NOW + 10, Reason.SUPERSEDED)


def test_revoke_again_only_to_say_key_compromise(manager, issue):
    """A revoked certificate's reason changes only to keyCompromise, once, and its time stays."""
    serial = issue().serial
    manager.revoke(serial, NOW + 1, Reason.SUPERSEDED)
    with pytest.raises(IssuanceError, match="already"):
        manager.revoke(serial, NOW + 2, Reason.UNSPECIFIED)
    assert manager.revoke(serial, NOW + 3, Reason.KEY_COMPROMISE, NOW).revoked_at == NOW + 1
    with pytest.raises(IssuanceError, match="already"):
        manager.revoke(serial, NOW + 4, Reason.KEY_COMPROMISE)


def test_revoke_invalidity_date_in_the_future_is_refused(manager, issue):
    """The invalidity date looks back (RFC 5280 section 5.3.2)."""
    serial = issue().serial
    with pytest.raises(IssuanceError, match="future"):
        manager.revoke(serial, NOW, Reason.KEY_COMPROMISE, NOW + 1)
    assert manager.store.get(serial).status is IssuedStatus.VALID


def test_release_of_a_certificate_not_on_hold_is_refused(manager, issue):
    """Only a hold can be ended."""
    with pytest.raises(IssuanceError, match="not on hold"):
        manager.release(issue().serial, NOW)


def test_revoke_unknown_serial_raises_not_found(manager):
    """What was not issued here cannot be revoked here."""
    with pytest.raises(NotFound):
        manager.revoke(b"\x01", NOW)


def allowed(status, reason, act):
    """The table of allowed changes, written apart from the code: the next (status, reason), None when refused."""
    on_hold = (IssuedStatus.HELD, Reason.CERTIFICATE_HOLD)
    if act == "release":
        return (IssuedStatus.VALID, None) if status is IssuedStatus.HELD else None
    if act is Reason.CERTIFICATE_HOLD:
        return on_hold if status is IssuedStatus.VALID else None
    if status is IssuedStatus.REVOKED and (act is not Reason.KEY_COMPROMISE or reason is Reason.KEY_COMPROMISE):
        return None
    return IssuedStatus.REVOKED, act


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """One CA for all the sequences below."""
    made = create_authority(tmp_path_factory.mktemp("ca") / "ca", AuthorityPlan("CN=Sequences"), NOW)
    yield made
    made.close()


@given(
    acts=st.lists(
        st.sampled_from(["release", Reason.CERTIFICATE_HOLD, Reason.KEY_COMPROMISE, Reason.SUPERSEDED]), max_size=8
    )
)
def test_any_sequence_of_acts_follows_the_table(lasting, acts):
    """Whatever is asked in whatever order, the status moves only as the table allows; a refusal changes nothing."""
    record = lasting.issue(CertificateRequest(name("s"), shared_key().public_key(), ProfileName.USER), NOW)
    status, reason = IssuedStatus.VALID, None
    for step, act in enumerate(acts):
        expected = allowed(status, reason, act)
        try:
            if act == "release":
                lasting.release(record.serial, NOW + step)
            else:
                lasting.revoke(record.serial, NOW + step, act)
            assert expected is not None
        except IssuanceError:
            assert expected is None
        status, reason = expected or (status, reason)
        now = lasting.store.get(record.serial)
        assert (now.status, now.reason) == (status, reason)
        assert (now.revoked_at is None) is (status is IssuedStatus.VALID)
