"""The signers of an instance against the CAs they answer for."""

from __future__ import annotations

import pytest
from tests.pki import CA, DAY, NOW

from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.errors import ConfigError, SigningError
from vouchd.instance.certificates.signers import LoadedSigners, check_signers
from vouchd.pkix.certs import authority_id
from vouchd.service.authorities import KnownSigners
from vouchd.signing.software import SoftwareSigner


def authority(ca: CA, signer: str | None = None) -> Authority:
    return Authority(authority_id(ca.certificate), ca.der, "the CA", AuthorityPolicy(signer=signer))


def signer(issued) -> SoftwareSigner:
    return SoftwareSigner("s", issued.key, issued.der)


def known(signers: dict[str, SoftwareSigner]) -> KnownSigners:
    return LoadedSigners(signers, {}, "s").known


def test_check_fit_signer_has_no_warning():
    """A delegated signer with nocheck is beyond doubt."""
    ca = CA.create()
    assert check_signers(known({"s": signer(ca.issue_signer())}), [authority(ca)], NOW) == ()


def test_check_signer_without_nocheck_warns_once():
    """One doubt is told once, however many CAs share the signer."""
    ca = CA.create()
    warnings = check_signers(known({"s": signer(ca.issue_signer(nocheck=False))}), [authority(ca), authority(ca)], NOW)
    assert len(warnings) == 1
    assert warnings[0].startswith("signer s: ")


def test_check_own_signer_of_a_ca_goes_before_the_default():
    """A CA with a signer of its own does not need the default one."""
    ca, other = CA.create(), CA.create("Other", "RSA")
    signers = {"s": signer(ca.issue_signer()), "t": signer(other.issue_signer())}
    assert check_signers(known(signers), [authority(ca), authority(other, "t")], NOW) == ()
    with pytest.raises(SigningError, match=r"CA the CA: signer s: .*not issued by"):
        check_signers(known(signers), [authority(other)], NOW)


def test_check_signer_that_is_not_declared_is_told():
    """A policy that names a signer which is gone stops the start."""
    with pytest.raises(ConfigError, match="CA the CA: there is no signer gone"):
        check_signers(known({}), [authority(CA.create(), "gone")], NOW)


@pytest.mark.parametrize("at", [NOW - 31 * DAY, NOW + 366 * DAY])
def test_check_signer_outside_its_validity_is_refused(at):
    """A signer is checked at the time of the start."""
    ca = CA.create()
    with pytest.raises(SigningError, match="not valid now"):
        check_signers(known({"s": signer(ca.issue_signer())}), [authority(ca)], at)
