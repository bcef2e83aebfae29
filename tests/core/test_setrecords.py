"""Members, tokens and what a joining instance is told, to JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vouchd.cloning.set_info import Joined, SetInfo, info_record, joined_record, read_info, read_joined
from vouchd.core import records
from vouchd.core.facts import DirectoryServer, JoinToken, Member, Transport
from vouchd.core.records import checked_member, member_record, read_member, read_token, token_record

SERVER = DirectoryServer("ds1.example", 636, Transport.TLS, "o=ocsp.example", 7)
MASTER = Member("ocsp1.example", 8443, 8080, "OCSP öne", clone=False, joined_at=1, term=2, tls_sha256="ab" * 32)
CLONE = replace(MASTER, host="ocsp2.example", clone=True, directory=SERVER)
TOKEN = JoinToken("cd" * 32, 2000, "alice")
INFO = SetInfo(
    domain="vouchd",
    version="1.0",
    now=5,
    refresh_seconds=600,
    told_by=MASTER,
    members=(MASTER, CLONE),
    certificates={"ocsp_signing": b"\x30\x00"},
    values={"a.b": "ü"},
)
FACTS = [
    (MASTER, member_record, read_member),
    (CLONE, member_record, read_member),
    (TOKEN, token_record, read_token),
    (INFO, info_record, read_info),
    (Joined(CLONE, INFO, "password"), joined_record, read_joined),
    (Joined(CLONE, INFO, "password", {"user": {"a": [7, []]}}), joined_record, read_joined),
]


@pytest.mark.parametrize("fact, write, read", FACTS)
def test_record_round_trip_is_the_fact(fact, write, read):
    """What is read is what was written."""
    assert read(json.loads(json.dumps(write(fact)))) == fact


@pytest.mark.parametrize("fact, write, read", FACTS[:3])
def test_record_unknown_field_is_passed_over(fact, write, read):
    """A member of a newer version can be read by an older one."""
    record = json.loads(records.to_json(write(fact))) | {"news": 1}
    if record.get("directory"):
        record["directory"]["news"] = 1
    assert read(record) == fact


def test_checked_member_takes_what_is_one():
    """What a well-behaved instance sends is read."""
    assert checked_member(member_record(CLONE)) == CLONE
    assert checked_member(member_record(MASTER)) == MASTER


@pytest.mark.parametrize(
    "changes",
    [
        {"host": 7},
        {"host": "o" * 256},
        {"name": "two\nlines"},
        {"name": "\ud800"},
        {"tls_sha256": None},
        {"other_tls_sha256": 7},
        {"client_certificates": 7},
        {"client_certificates": ["!"]},
        {"client_certificates": ["AAAA"] * 5},
        {"client_certificates": ["AAAA" * 6000]},
        {"secure_port": "8443"},
        {"secure_port": True},
        {"ee_port": 1.5},
        {"term": None},
        {"clone": 1},
        {"directory": 7},
        {"directory": {}},
        {"directory": {"host": "h", "port": 1, "transport": "pigeon", "suffix": "o=x"}},
        {"directory": {"host": "h", "port": 1, "transport": [], "suffix": "o=x"}},
        {"directory": {"host": "h", "port": "1", "transport": "tls", "suffix": "o=x"}},
        {"directory": {"host": "h", "port": 1, "transport": "tls", "suffix": 7}},
        {"directory": {"host": "h", "port": 1, "transport": "tls", "suffix": "o=x", "replica_id": "1"}},
    ],
)
def test_checked_member_refuses_what_is_none(changes):
    """A stranger's record is read with suspicion: types, lengths, printable text."""
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        checked_member(member_record(MASTER) | changes)


@pytest.mark.parametrize("record", [None, [], "member", 7, {}, {"host": "h"}])
def test_checked_member_refuses_what_is_no_record(record):
    """Nor is anything else a member."""
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        checked_member(record)


def test_replication_password_is_in_no_representation():
    """What is logged by mistake does not hold it."""
    assert "password" not in repr(Joined(CLONE, INFO, "password")).replace("replication_password", "")


def test_info_has_what_members_of_earlier_versions_do_not_read_it_without():
    """A master that is upgraded last goes on asking its clones for what they have of the set."""
    assert info_record(INFO)["authorities"] == []
