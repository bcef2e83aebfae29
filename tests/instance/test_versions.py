"""A version of the keyring is tried out as clients would judge it, before it signs for anybody."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.pki import CA, DAY, NOW, shared_key

from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, ResponsePolicy
from vouchd.core.signer_facts import SignerVersion
from vouchd.errors import SigningError
from vouchd.instance.certificates.versions import VersionFiles, rehearse_version
from vouchd.pkix.certs import authority_id
from vouchd.settings.layout import Layout
from vouchd.signing.sealing import public_key_hash


def of(issued, **changes) -> SignerVersion:
    return replace(
        SignerVersion("s", 2, "SHA256withEC", public_key_hash(issued.key), certificate_der=issued.der), **changes
    )


def authority(ca: CA) -> Authority:
    return Authority(authority_id(ca.certificate), ca.der, "the CA", AuthorityPolicy())


def rehearse(version, key, *cas: CA, at: int = NOW, policy: ResponsePolicy | None = None):
    return rehearse_version(version, key, map(authority, cas), (), policy or ResponsePolicy(), at)


def test_rehearsal_of_a_fit_signer_has_no_doubt():
    """A delegated signer of the CA passes, and so does the CA's own key."""
    ca = CA.create()
    signer = ca.issue_signer()
    assert rehearse(of(signer), signer.key, ca) == ()
    assert rehearse(of(ca), ca.key, ca) == ()


def test_rehearsal_whatever_the_instance_asks_of_its_clients():
    """A policy that wants signed requests, or no nonces, is no reason to refuse a signer."""
    ca = CA.create()
    signer = ca.issue_signer()
    strict = ResponsePolicy(signature=RequestSignaturePolicy.REQUIRE, nonce=NoncePolicy.FORBID)
    assert rehearse(of(signer), signer.key, ca, policy=strict) == ()


@pytest.mark.parametrize(
    ("made", "at", "why"),
    [
        (lambda ca: ca.issue_signer(), NOW + 400 * DAY, "valid"),
        (lambda ca: ca.issue(), NOW, "not for"),
        (
            lambda ca: ca.issue(extensions=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),)),
            NOW,
            "not for",
        ),
        (lambda _: CA.create("Other", key=shared_key("EC", 5)).issue_signer(), NOW, "not known"),
    ],
    ids=["expired", "no extended key usage", "of another use", "of another CA"],
)
def test_rehearsal_of_an_unfit_signer_says_why(made, at, why):
    """What clients would refuse never comes into use, and the reason is told."""
    ca = CA.create()
    signer = made(ca)
    with pytest.raises(SigningError, match=why):
        rehearse(of(signer), signer.key, ca, at=at)


def test_rehearsal_names_the_ca_that_did_not_issue_the_signer():
    """One of several CAs that a signer is to answer for is enough to refuse it, by name."""
    ca, other = CA.create(), CA.create("Other", key=shared_key("EC", 5))
    signer = ca.issue_signer()
    with pytest.raises(SigningError, match=r"CA the CA: .*not issued by"):
        rehearse(of(signer), signer.key, ca, other)


def test_rehearsal_of_an_algorithm_that_the_key_cannot_make_is_refused():
    """The algorithm of the facts is one that the key has."""
    ca = CA.create()
    signer = ca.issue_signer()
    with pytest.raises(SigningError, match="cannot make SHA256withRSA"):
        rehearse(of(signer, algorithm="SHA256withRSA"), signer.key, ca)


def test_written_key_is_encrypted_and_must_be_the_version_s(tmp_path):
    """A key that came goes into a file of its own under a password; another one than the certificate's does not."""
    layout = Layout(tmp_path)
    layout.alias.mkdir()
    signer = CA.create().issue_signer()
    files, version = VersionFiles(layout, "a password"), of(signer)
    path = files.write_key(version, signer.key)
    assert b"ENCRYPTED" in path.read_bytes()
    assert public_key_hash(files.read(path)) == version.public_key
    with pytest.raises(SigningError, match="another one"):
        files.write_key(version, shared_key("EC", 9))
