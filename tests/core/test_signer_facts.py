"""What may be said of a keyring without looking anywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.test_keyring_store import NEW, OLD, ON_TOKEN, RING

from vouchd.core.signer_facts import Keyring, SignerState, hold_ups, keyring_record, newest, read_keyring, state

REQUESTED = replace(NEW, certificate_der=b"", sealed=())


@pytest.mark.parametrize(
    ("version", "rehearsed", "expected"),
    [
        (ON_TOKEN, False, SignerState.WANTED),
        (REQUESTED, False, SignerState.REQUESTED),
        (NEW, False, SignerState.STAGED),
        (NEW, True, SignerState.REHEARSED),
        (replace(OLD, retired_at=None), False, SignerState.CURRENT),
        (OLD, True, SignerState.RETIRED),
    ],
    ids=lambda value: str(value) if isinstance(value, SignerState) else None,
)
def test_state_follows_from_the_facts(version, rehearsed, expected):
    """A version's state is never stored: it is what its facts, and what members say of it, make it."""
    assert state(RING, version, rehearsed) is expected


def test_hold_ups_none_where_every_member_could_sign():
    """Nothing is in the way once every member said of every version that it could sign with it."""
    assert hold_ups([NEW], ["a", "b"], {"a": {NEW.name: ""}, "b": {NEW.name: ""}}) == ()


def test_hold_ups_name_the_version_the_member_and_the_reason():
    """A member that failed, one that does not have it and one that is silent are named, each with why."""
    words = {"a": {NEW.name: "it has expired"}, "b": {}}
    reasons = hold_ups([NEW], ["a", "b", "c"], words)
    assert [(version, member) for version, member, _ in reasons] == [(NEW.name, name) for name in "abc"]
    assert [why for *_, why in reasons[:2]] == ["it has expired", "not here yet"]


def test_switched_makes_the_target_sign_and_raises_the_epoch():
    """A switch is one act over all nicknames: the target signs from the moment on, and the epoch counts it."""
    ring = Keyring(versions=(replace(OLD, retired_at=None), NEW)).aiming_at(NEW)
    after = ring.switched(2000)
    assert (ring.is_switching, after.is_switching) == (True, False)
    assert (after.epoch, after.switch_at, after.signing()) == (1, 2000, (NEW,))
    assert after.aiming_at(OLD).switched(3000).signing() == (replace(OLD, retired_at=None),)


def test_newest_is_the_same_whatever_the_order():
    """Of two keyrings that were changed at one time all members take the same one."""
    twins = [replace(RING, change=4), replace(RING, change=4, epoch=9)]
    assert newest(twins) == newest(reversed(twins))
    assert newest([*twins, replace(RING, change=5)]).change == 5


def test_record_passes_over_what_a_newer_version_added():
    """A keyring of a newer program is read by an older one, as all facts are."""
    record = keyring_record(RING)
    record["later"] = record["versions"][0]["later"] = 1
    assert read_keyring(record) == RING
