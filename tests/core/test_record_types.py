"""Facts that are read have values of the types that they are declared with, or they are damaged."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from tests.contract.backends import FIRST, a_record, an_authority, an_epoch

from vouchd.core import records
from vouchd.core.facts import AuthorityPolicy, Epoch, User
from vouchd.errors import StoreError

EPOCH = an_epoch(an_authority(), base=a_record(FIRST))


@pytest.mark.parametrize("name", [one.name for one in fields(Epoch)])
@pytest.mark.parametrize("value", [1.5, [], {}, "text"])
def test_record_of_an_epoch_with_a_value_of_another_type_is_damaged(name, value):
    """A value that is none is found where it is read, and costs that fact alone."""
    record = records.epoch_record(EPOCH)
    if isinstance(value, type(record[name])):
        return
    with pytest.raises(StoreError, match="damaged"):
        records.from_json(json.dumps(record | {name: value}), records.read_epoch)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "[" * 100_000, '{"id": 7}', "\xff"])
def test_text_that_is_no_record_is_damaged(text):
    """Whatever stands where a record should be is told as such."""
    with pytest.raises(StoreError, match="damaged"):
        records.from_json(text.encode("latin-1"), records.read_user)


def test_records_of_all_kinds_come_back_as_they_were():
    """The types that are demanded are those that are written."""
    policy = AuthorityPolicy(quarantine_percent=5, archive_cutoff_seconds=7, crl_issuers=(b"x",), issued_serials="a")
    authority = an_authority(policy=policy, history=(b"y",), retired_scopes=("z",))
    assert records.from_json(records.to_json(records.authority_record(authority)), records.read_authority) == authority
    user = User("a", "A", frozenset(), (b"z",))
    assert records.from_json(records.to_json(records.user_record(user)), records.read_user) == user
