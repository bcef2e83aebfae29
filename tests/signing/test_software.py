"""Software signers: each algorithm verifies, what can be deterministic is, mismatches are refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import CA, shared_key

from vouchd.errors import SigningError
from vouchd.pkix.signatures import ALGORITHMS, verify
from vouchd.signing.keys import generate_key, write_key
from vouchd.signing.software import SoftwareSigner

TBS = b"to be signed"
KIND = {"SHA384withEC": "P-384", "SHA512withEC": "P-521", "SHA256withEC": "EC"}


def signer_for(algorithm: str) -> SoftwareSigner:
    row = ALGORITHMS[algorithm]
    issued = CA.create().issue_signer(kind=KIND.get(algorithm, row.key_type))
    return SoftwareSigner("signer", issued.key, issued.der, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sign_every_algorithm_verifies(algorithm):
    """What a signer makes verifies under the AlgorithmIdentifier of that name."""
    signer = signer_for(algorithm)
    assert signer.algorithms[0] == algorithm
    public_key = shared_key(KIND.get(algorithm, ALGORITHMS[algorithm].key_type), 1).public_key()
    verify(public_key, ALGORITHMS[algorithm].identifier_der, signer.sign(TBS, algorithm), TBS)


@pytest.mark.parametrize("algorithm", [n for n in ALGORITHMS if not n.endswith("/PSS") and not n.startswith("ML-DSA")])
def test_sign_twice_gives_the_same_octets(algorithm):
    """RSA PKCS #1 v1.5, ECDSA and EdDSA are deterministic: a clone with the same key gives the same bytes."""
    signer = signer_for(algorithm)
    assert signer.sign(TBS, algorithm) == signer.sign(TBS, algorithm)


def test_sign_algorithm_of_another_key_type_is_refused():
    """A signer makes only what its key can make."""
    with pytest.raises(SigningError, match="cannot make SHA256withRSA"):
        signer_for("Ed25519").sign(TBS, "SHA256withRSA")


def test_signer_whose_key_was_let_go_signs_nothing_and_is_known_still():
    """Who needs certificates alone has no keys in memory; what was prepared to sign is gone as well."""
    signer = signer_for("SHA256withEC")
    signer.sign(TBS, "SHA256withEC")
    signer.let_key_go()
    with pytest.raises(SigningError, match="let its key go"):
        signer.sign(TBS, "SHA256withEC")
    assert (signer.certificate_der[:1], signer.token, signer.algorithms[0]) == (b"\x30", None, "SHA256withEC")


def test_signer_wished_algorithm_that_the_key_cannot_make_is_refused():
    """A setting that does not go with the key is an error at start, with what would go."""
    issued = CA.create().issue_signer()
    with pytest.raises(SigningError, match="cannot make Ed25519") as caught:
        SoftwareSigner("signer", issued.key, issued.der, algorithm="Ed25519")
    assert "SHA256withEC" in caught.value.hint


def test_signer_key_of_another_certificate_is_refused():
    """Key and certificate must belong together."""
    issued = CA.create().issue_signer()
    with pytest.raises(SigningError, match="does not belong"):
        SoftwareSigner("signer", shared_key("EC", 9), issued.der)


def test_load_files_gives_certificate_chain_and_key(tmp_path):
    """A signer is read from an encrypted key, its certificate and a chain file; a chain may follow the certificate too."""
    ca = CA.create()
    issued = ca.issue_signer()
    write_key(tmp_path / "s.key", issued.key, "secret")
    (tmp_path / "s.pem").write_bytes(issued.pem + ca.pem)
    (tmp_path / "chain.pem").write_bytes(ca.pem)
    loaded_signer = SoftwareSigner.load(
        "s", tmp_path / "s.key", tmp_path / "s.pem", "secret", chain_file=tmp_path / "chain.pem"
    )
    assert (loaded_signer.nickname, loaded_signer.certificate_der) == ("s", issued.der)
    assert loaded_signer.chain_der == (ca.der, ca.der)
    assert loaded_signer.certificate_der == issued.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\x30\x03"]
)
def test_load_file_without_certificate_is_refused(tmp_path, content):
    """A damaged certificate file is named."""
    write_key(tmp_path / "s.key", generate_key("Ed25519"), "secret")
    (tmp_path / "s.pem").write_bytes(content)
    with pytest.raises(SigningError, match=r"s\.pem: holds no certificate"):
        SoftwareSigner.load("s", tmp_path / "s.key", tmp_path / "s.pem", "secret")
