"""The contract of KeyringStore, sentence by sentence, over every store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.test_domain_store import TOKEN, in_threads

from vouchd.core.signer_facts import Keyring, SealedKey, SignerVersion
from vouchd.errors import StoreConflict

OLD = SignerVersion("ocsp_signing", 1, "SHA256withRSA", "aa" * 32, b"", b"\x30old", (b"\x30ca",), retired_at=1800)
NEW = SignerVersion(
    nickname="ocsp_signing",
    number=2,
    algorithm="SHA256withEC",
    public_key="bb" * 32,
    request_der=b"\x30request",
    certificate_der=b"\x30new",
    origin="ocsp1.example:8443",
    made_at=1700,
    sealed=(SealedKey("ocsp2.example:8443", "cc" * 32, b"\x00sealed\xff"),),
)
ON_TOKEN = SignerVersion("ocsp_hsm", 1, "SHA384withEC", "dd" * 32, token="hardware-ocsp")
RING = Keyring(epoch=3, switch_at=1750, current=(OLD.key,), target=(NEW.key,), versions=(ON_TOKEN, OLD, NEW))


def test_keyring_of_a_new_store_is_empty(store):
    """A store that was never told of signers says so without an error."""
    assert store.keyring() == Keyring()


def test_put_keyring_comes_back_as_put_and_counted(store):
    """Every field of the keyring survives the store; the change is counted, and raises the revision."""
    before = store.revision()
    store.put_keyring(RING, Keyring())
    assert store.keyring() == replace(RING, change=1)
    assert store.revision() > before


def test_put_keyring_in_place_of_the_one_read(backend):
    """A change takes the place of what was read; another handle sees the new one alone."""
    store = backend.open()
    store.put_keyring(RING, Keyring())
    store.put_keyring(replace(RING, versions=()), store.keyring())
    assert backend.open().keyring() == replace(RING, versions=(), change=2)


@pytest.mark.parametrize("replaces", [Keyring(), replace(RING, change=7)], ids=["before the first", "another one"])
def test_put_keyring_not_as_read_is_a_conflict_and_changes_nothing(store, replaces):
    """A keyring that is not as the caller has read it is left alone."""
    store.put_keyring(RING, Keyring())
    before = store.revision()
    with pytest.raises(StoreConflict):
        store.put_keyring(replace(RING, epoch=4), replaces)
    assert (store.revision(), store.keyring()) == (before, replace(RING, change=1))


def test_put_keyring_by_several_at_once_one_wins(backend):
    """Of several that change the keyring as they have read it, one does: no change is lost."""
    outcomes = in_threads(6, lambda number: backend.open().put_keyring(replace(RING, epoch=number), Keyring()))
    assert sorted(outcomes) == ["", *["StoreConflict"] * 5]
    assert backend.open().keyring().change == 1


def test_put_keyring_leaves_other_facts_of_the_domain(store):
    """The signers lie beside the join tokens and do not touch them."""
    store.put_token(TOKEN)
    store.put_keyring(RING, Keyring())
    assert store.token(TOKEN.digest) == TOKEN
