"""Facts to JSON and back."""

from __future__ import annotations

import json

import pytest
from tests.contract.backends import DELTA, FIRST, SECOND, a_quarantined, a_record, an_authority, an_epoch

from vouchd.core import records
from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy
from vouchd.errors import StoreError

CA = an_authority("a", policy=AuthorityPolicy(expired_crl=ExpiredCRLPolicy.UNKNOWN, crl_issuers=(b"\x00\xff",)))
EPOCH = an_epoch(CA, delta=a_record(DELTA, 2**159, 1100, base=1), idp_der=b"\x30\x00")
FACTS = [
    (CA, records.authority_record, records.read_authority),
    (EPOCH, records.epoch_record, records.read_epoch),
    (an_epoch(CA, base=a_record(FIRST, None)), records.epoch_record, records.read_epoch),
    (a_quarantined(CA, SECOND), records.quarantined_record, records.read_quarantined),
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
