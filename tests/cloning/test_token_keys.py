"""The keys of the set for a clone that reaches its token: what is signed for them, sealed, opened, refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import CA, NOW, shared_key
from tests.sites import Site

from vouchd.cloning.proof import require_signed
from vouchd.cloning.set_info import SetInfo
from vouchd.cloning.token_keys import KeyRequest, TokenKeys, handed_keys, to_be_signed
from vouchd.core.facts import Member
from vouchd.errors import BadInput, ConfigError, SigningError
from vouchd.instance.certificates.places import SUBSYSTEM
from vouchd.pkix.certs import load_certificate
from vouchd.service.permission import local_caller
from vouchd.settings.layout import Layout
from vouchd.signing.sealing import seal
from vouchd.signing.token.reference import TokenPlace

SIGNER = "ocspSigningCert"
MASTER = Member("ocsp1.example.org", 8443, 8080, "m", clone=False, joined_at=1, term=1)
PLACE = TokenPlace(Path("/usr/lib/module.so"), "ocsp", Path("/nowhere"))


@pytest.fixture
def keys():
    """Certificates of a signer and of the members, with the keys of both; what a clone makes of it."""
    ca = CA.create()
    signer, subsystem = ca.issue_signer(), ca.issue_signer(key=shared_key("EC", 5))
    info = SetInfo(
        *("domain", "1", NOW, 600, MASTER, (MASTER,)),
        {SIGNER: signer.der, SUBSYSTEM: subsystem.der},
        {},
        {SIGNER: (ca.certificate.public_bytes(Encoding.DER),)},
    )
    return TokenKeys(info, PLACE), signer.key, subsystem.key


def test_key_request_is_signed_for_one_connection_one_join_token_and_one_sealing_key(keys):
    """A signature is of use to nobody else: not on another connection, not with another token, not for another key."""
    joining, signing_key, _ = keys
    certificate = joining._info.certificates[SIGNER]
    signature = joining.sign(signing_key, SIGNER, "token", b"binding")
    require_signed(certificate, signature, to_be_signed("token", joining.public, b"binding"))
    for other in (
        to_be_signed("another", joining.public, b"binding"),
        to_be_signed("token", b"another", b"binding"),
        to_be_signed("token", joining.public, b"another"),
    ):
        with pytest.raises(BadInput):
            require_signed(certificate, signature, other)


def test_keys_that_came_sealed_are_opened_beside_those_on_the_token(keys):
    """The clone has all keys of the set, each with the master's certificate and chain."""
    joining, signing_key, subsystem_key = keys
    sealed = {SUBSYSTEM: seal(subsystem_key, joining.public, SUBSYSTEM.encode())}
    opened = joining.opened({SIGNER: signing_key}, sealed)
    assert {bag.friendly_name for bag in opened.bags} == {SIGNER, SUBSYSTEM}
    bag = opened.bag_for(SUBSYSTEM, load_certificate(joining._info.certificates[SUBSYSTEM]))
    assert bag.key.private_numbers() == subsystem_key.private_numbers()
    assert len(opened.bag(SIGNER).others) == 1


def test_key_sealed_under_another_name_is_refused(keys):
    """No key can be put in another one's place."""
    joining, signing_key, subsystem_key = keys
    with pytest.raises(SigningError, match="cannot be opened"):
        joining.opened({SIGNER: signing_key}, {SUBSYSTEM: seal(subsystem_key, joining.public, SIGNER.encode())})


def test_key_that_is_nowhere_is_named(keys):
    """What neither the token has nor the master hands out is told by name, with what to look at."""
    joining, signing_key, _ = keys
    with pytest.raises(SigningError, match=f"the token ocsp does not have the key of {SUBSYSTEM}") as caught:
        joining.opened({SIGNER: signing_key}, {})
    assert "vouchd token list" in caught.value.hint
    assert len(joining.opened({SIGNER: signing_key}, {}, whole=False).bags) == 1


def test_keys_of_a_set_whose_signing_key_is_a_file_are_handed_to_nobody(tmp_path):
    """Without a token nobody can show that he reaches it: the PKCS #12 file is carried, as documented."""
    site = Site.make(tmp_path)
    assert site.create("--instance", str(site.instance)) == 0
    request = KeyRequest(b"public", b"signature", b"binding")
    with pytest.raises(ConfigError, match="the signing key of this set is a file") as caught:
        handed_keys(Layout(site.instance), None, local_caller("x"), "token", request)
    assert "vouchd clone prepare --out" in caught.value.hint
