"""Private keys are sealed to one process, for one purpose."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pki import shared_key

from vouchd.errors import SigningError
from vouchd.signing.sealing import SealingKey, public_key_hash, recipient_of, seal


@pytest.mark.parametrize("kind", ["EC", "RSA", "Ed25519", "ML-DSA-65"])
def test_sealed_key_comes_back_the_same(kind):
    """Keys of every kind arrive as they were sent, and their octets are not in what is sent."""
    key, reader = shared_key(kind), SealingKey()
    sealed = seal(key, reader.public, b"context")
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert public_key_hash(reader.open(sealed, b"context")) == public_key_hash(key)
    assert der[-40:] not in sealed
    assert recipient_of(reader.public) == reader.recipient


def test_sealed_key_is_good_for_its_reader_and_its_context_alone():
    """Another process, another version or member, and an altered copy: all are refused."""
    reader = SealingKey()
    sealed = seal(shared_key(), reader.public, b"context")
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for other, data, context in (
        (SealingKey(), sealed, b"context"),
        (reader, sealed, b"another context"),
        (reader, altered, b"context"),
        (reader, b"", b"context"),
    ):
        with pytest.raises(SigningError, match="cannot be opened"):
            other.open(data, context)


def test_seal_to_a_key_of_another_kind_is_refused():
    """A member of another version, whose sealing key is not of this suite, gets no key."""
    with pytest.raises(SigningError, match="another kind"):
        seal(shared_key(), bytes(32), b"context")
