"""Key files: encrypted, for the owner only, never overwritten; each mistake has its own words."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pki import shared_key

from vouchd.errors import AlreadyExists, SigningError
from vouchd.files import MAX_BYTES
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for
from vouchd.signing import keys

PASSWORD = "a secret"


def plain(key, path, *, encoding=Encoding.PEM, mode=0o600):
    path.write_bytes(key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


@pytest.mark.parametrize("algorithm", ["SHA384withEC", "Ed25519", "Ed448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"])
def test_generate_key_can_make_its_algorithm_by_default(algorithm):
    """A key made for an algorithm uses it without being told."""
    assert algorithms_for(keys.generate_key(algorithm).public_key())[0] == algorithm


def test_generate_key_rsa_has_the_size_asked_for():
    """RSA keys have the size asked for."""
    assert keys.generate_key("SHA256withRSA", rsa_bits=2048).key_size == 2048


def test_generate_key_short_rsa_is_refused():
    """No RSA key under 2048 bits is made."""
    with pytest.raises(SigningError, match="too short"):
        keys.generate_key("SHA256withRSA", rsa_bits=1024)


def test_generate_key_unknown_algorithm_lists_the_known_ones():
    """A typing error gets the list."""
    with pytest.raises(SigningError) as caught:
        keys.generate_key("SHA1withRSA")
    assert all(name in caught.value.hint for name in ALGORITHMS)


@pytest.mark.parametrize("kind", ["RSA", "EC", "Ed25519", "Ed448", "ML-DSA-44"])
def test_write_key_then_read_gives_the_same_key(tmp_path, kind):
    """A key comes back from its encrypted file."""
    key = shared_key(kind)
    keys.write_key(tmp_path / "k", key, PASSWORD)
    assert keys.read_key(tmp_path / "k", PASSWORD).public_key() == key.public_key()


def test_write_key_file_is_encrypted_and_private(tmp_path):
    """A key file is encrypted PKCS #8 and 0600, and no draft stays beside it."""
    keys.write_key(tmp_path / "k", shared_key(), PASSWORD)
    assert (tmp_path / "k").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_write_key_existing_file_is_not_replaced(tmp_path):
    """A key is never overwritten."""
    (tmp_path / "k").write_bytes(b"precious")
    with pytest.raises(AlreadyExists):
        keys.write_key(tmp_path / "k", shared_key(), PASSWORD)
    assert (tmp_path / "k").read_bytes() == b"precious"


def test_write_key_without_password_is_refused(tmp_path):
    """No key is written in the clear."""
    with pytest.raises(SigningError):
        keys.write_key(tmp_path / "k", shared_key(), "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_read_key_that_others_may_read_is_refused_with_the_remedy(tmp_path, mode):
    """A key readable by group or world is refused with the command that mends it."""
    path = plain(shared_key(), tmp_path / "k", mode=mode)
    with pytest.raises(SigningError, match=f"mode {mode:04o}") as caught:
        keys.read_key(path, None)
    assert caught.value.hint == f"chmod 600 {path}"


def test_read_key_wrong_password_is_told_without_the_password(tmp_path):
    """A wrong password is told, never shown."""
    keys.write_key(tmp_path / "k", shared_key(), PASSWORD)
    with pytest.raises(SigningError, match="wrong password") as caught:
        keys.read_key(tmp_path / "k", "guess-0815")
    assert "guess-0815" not in str(caught.value)


def test_read_key_encrypted_without_password_is_told(tmp_path):
    """A missing password is told apart from a wrong one."""
    keys.write_key(tmp_path / "k", shared_key(), PASSWORD)
    with pytest.raises(SigningError, match="no password was given"):
        keys.read_key(tmp_path / "k", None)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_read_key_in_the_clear_is_read_with_and_without_password(tmp_path, encoding):
    """A site's own key may come in the clear, in PEM or DER; a password that is not needed does no harm."""
    path = plain(shared_key(), tmp_path / "k", encoding=encoding)
    assert keys.read_key(path, None).public_key() == shared_key().public_key()
    assert keys.read_key(path, PASSWORD).public_key() == shared_key().public_key()


@pytest.mark.parametrize("make", [x25519.X25519PrivateKey.generate, lambda: dsa.generate_private_key(1024)])  # noqa: S505
def test_read_key_that_cannot_sign_is_refused(tmp_path, make):
    """A key of a type without an OCSP signature algorithm here is refused."""
    with pytest.raises(SigningError, match="cannot sign"):
        keys.read_key(plain(make(), tmp_path / "k"), None)


@pytest.mark.parametrize("content", [b"", b"\x30\x00", b"-----BEGIN PRIVATE KEY-----\n", b"x" * (MAX_BYTES + 1)])
def test_read_key_damaged_file_is_refused(tmp_path, content):
    """Anything that is not a key is named with its file."""
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SigningError, match=str(path)):
        keys.read_key(path, None)


def test_read_key_missing_file_is_told(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(SigningError, match="No such file"):
        keys.read_key(tmp_path / "k", None)
