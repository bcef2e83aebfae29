"""Facts to JSON and back."""

from __future__ import annotations

import json

import pytest
from tests.contract.backends import DELTA, FIRST, SECOND, a_quarantined, a_record, an_authority, an_epoch

from vouchd.core import records
from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy, Group, User
from vouchd.errors import StoreError

CA = an_authority("a", policy=AuthorityPolicy(expired_crl=ExpiredCRLPolicy.UNKNOWN, crl_issuers=(b"\x00\xff",)))
EPOCH = an_epoch(CA, delta=a_record(DELTA, 2**159, 1100, base=1), idp_der=b"\x30\x00")
USER = User("alice", "Alice Ëxample", frozenset({Group.AGENTS, Group.AUDITORS}), (b"\x30\x00", b"\xff"), enabled=False)
FACTS = [
    (CA, records.authority_record, records.read_authority),
    (EPOCH, records.epoch_record, records.read_epoch),
    (an_epoch(CA, base=a_record(FIRST, None)), records.epoch_record, records.read_epoch),
    (a_quarantined(CA, SECOND), records.quarantined_record, records.read_quarantined),
    (USER, records.user_record, records.read_user),
]


@pytest.mark.parametrize("fact, write, read", FACTS)
def test_record_round_trip_is_the_fact(fact, write, read):
    """What is read is what was written."""
    assert records.from_json(records.to_json(write(fact)), read) == fact


@pytest.mark.parametrize("fact, write, read", FACTS)
def test_record_unknown_field_is_passed_over(fact, write, read):
    """A field that a newer version wrote does not stop an older one, at any depth."""

    def with_news(value: object) -> object:
        return (
            {key: with_news(inner) for key, inner in value.items()} | {"news": 1} if isinstance(value, dict) else value
        )

    assert records.from_json(json.dumps(with_news(write(fact))), read) == fact


def test_record_missing_policy_field_has_its_default():
    """A field that an older version did not write yet has its default."""
    record = records.authority_record(CA) | {"policy": {}}
    assert records.from_json(json.dumps(record), records.read_authority).policy == AuthorityPolicy()


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"id":"x","certificate":"%","label":"","policy":{}}', "{"])
def test_record_damaged_is_a_store_error(text):
    """Whatever is wrong with a record is told as damage."""
    with pytest.raises(StoreError, match="damaged"):
        records.from_json(text, records.read_authority)


def test_user_of_a_group_that_is_not_known_is_read_without_it():
    """A group of a newer version gives no right here, and hides neither the user nor its other groups."""
    record = records.user_record(USER) | {"groups": [Group.AGENTS, "Backup Operators"]}
    assert records.read_user(record).groups == {Group.AGENTS}


def test_user_is_enabled_only_by_true():
    """Whatever else stands there, a damaged record lets nobody in."""
    assert not records.read_user(records.user_record(USER) | {"enabled": "false"}).enabled
