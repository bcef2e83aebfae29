"""The versions of signers in a keyring: found, added, replaced and counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.test_approval_store import DONE, SOME, WAITING
from tests.contract.test_keyring_store import NEW, OLD, ON_TOKEN, RING

from vouchd.core.records import from_record
from vouchd.core.signer_facts import Keyring, keyring_record, newest, read_keyring, read_word
from vouchd.errors import StoreError


def test_version_is_found_by_nickname_and_number():
    """Those of a nickname come oldest first; of one that is not there is none."""
    assert RING.versions_of("ocsp_signing") == (OLD, NEW)
    assert RING.versions_of("ocsp") == ()
    assert (RING.version("ocsp_signing", 2), RING.version("ocsp_hsm", 1)) == (NEW, ON_TOKEN)
    assert (RING.version("ocsp_signing", 3), RING.version("ocsp_hsm", 2)) == (None, None)
    assert RING.nicknames == ("ocsp_hsm", "ocsp_signing")


def test_version_is_added_in_its_place_or_takes_that_of_its_number():
    """By nickname, then number; all others stay."""
    third, changed = replace(NEW, number=3), replace(OLD, algorithm="SHA512withRSA")
    assert RING.with_version(third) == replace(RING, versions=(ON_TOKEN, OLD, NEW, third))
    assert RING.with_version(changed) == replace(RING, versions=(ON_TOKEN, changed, NEW))
    assert Keyring().with_version(NEW).with_version(OLD).versions == (OLD, NEW)


def test_next_version_of_a_nickname_has_the_next_number():
    """Each nickname counts for itself, from 1."""
    assert [RING.next_number(name) for name in ("ocsp_signing", "ocsp_hsm", "other")] == [3, 2, 1]


def test_versions_that_every_member_is_to_have_are_those_that_can_sign():
    """With a certificate, and not retired."""
    assert RING.staged() == (NEW,)


def test_newest_of_no_keyring_is_an_empty_one():
    """A store that has none is read like one that has an empty one."""
    assert newest([]) == Keyring()


@pytest.mark.parametrize("name", ["request_der", "certificate_der", "chain", "sealed"])
def test_octets_of_a_record_that_are_no_base64_are_damage(name: str):
    """What is not read as it was written is told of, and never half of it taken."""
    record = keyring_record(Keyring(versions=(replace(NEW, chain=(b"\x30ca",)),)))
    (version,) = record["versions"]
    version[name] = {"chain": ["MMNh!"], "sealed": [["a", "b", "AHNl!"]]}.get(name, "MMNh!")
    with pytest.raises(StoreError):
        from_record(record, read_keyring)


def test_word_with_a_key_that_is_no_base64_is_none():
    """Keys are sealed to it: one that is damaged is not guessed at."""
    with pytest.raises(ValueError, match="base64"):
        read_word({"sealing": "MMNh!", "versions": {}, "epoch": 0})


def test_approval_is_found_by_its_whole_id():
    """What is shown by a part of it is for who looks, not for who carries it out."""
    assert (SOME.find(WAITING.id), SOME.find(DONE.id)) == (WAITING, DONE)
    assert (SOME.find(WAITING.id[:8]), SOME.find("")) == (None, None)
