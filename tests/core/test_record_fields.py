"""Every field of every fact is in its record, and a record without one that came later has its default."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, replace
from typing import Any

import pytest
from tests.contract.test_keyring_store import NEW, OLD, ON_TOKEN

from vouchd.core import records
from vouchd.core.approval_facts import Approval, Approvals, ApprovalState, approvals_record, read_approvals
from vouchd.core.changes import Concerned
from vouchd.core.facts import (
    Authority,
    AuthorityPolicy,
    CompromisedAnswer,
    CRLRecord,
    DirectoryServer,
    Epoch,
    ExpiredCRLPolicy,
    ExpiredDeltaPolicy,
    Facts,
    Group,
    IssuingPointId,
    JoinToken,
    Member,
    QuarantinedCRL,
    StepBack,
    Transport,
    User,
)
from vouchd.core.signer_facts import (
    Keyring,
    KeyringWord,
    SignerVersion,
    keyring_record,
    read_keyring,
    read_word,
    word_record,
)
from vouchd.errors import StoreError

POINT = IssuingPointId("a" * 64, "b" * 64)
BASE = CRLRecord("1" * 64, 1000, 1, 2, 7, None, 3)
DELTA = CRLRecord("2" * 64, 1001, 3, 4, 8, 7, 4)
POLICY = AuthorityPolicy(
    not_found_as_good=False,
    include_next_update=False,
    reasons=False,
    expired_crl=ExpiredCRLPolicy.SERVE,
    invalidity_date=True,
    crl_reference=True,
    archive_cutoff_seconds=5,
    extended_revoke=True,
    signer="ocsp",
    trusted_responder=True,
    crl_issuers=(b"\x30\x01", b"\xff"),
    expected_scopes=("complete", "b" * 64),
    named_point_covers_all=True,
    expired_delta=ExpiredDeltaPolicy.EXPIRED,
    live_times=True,
    live_this_update=True,
    slot_seconds=60,
    quarantine_percent=2.5,
    quarantine_entries=10,
    quarantine_gains=True,
    compromised_at=99,
    compromised_answer=CompromisedAnswer.TRY_LATER,
    issued_serials="3" * 64,
)
AUTHORITY = Authority(
    "a" * 64, b"\x30\x00", "CÄ", POLICY, (b"\x30\x02", b"\xfe"), ("b" * 64,), (StepBack("x.idx", "y.idx"),)
)
EPOCH = Epoch(
    issuing_point=POINT,
    sequence=2,
    base=BASE,
    accepted_at=9,
    delta=DELTA,
    idp_der=b"\x30\xff",
    origin="push",
    merged_count=6,
    issuer_key="4" * 40,
    key_only=True,
    renumbered=1,
    renumbering="a reason",
    former=(replace(BASE, sha256="5" * 64, next_update=None, crl_number=None), BASE),
)
QUARANTINED = QuarantinedCRL(POINT, DELTA, 5, "push", "9 of 10 entries lost")
USER = User("alice", "Alicë", frozenset({Group.AGENTS, Group.AUDITORS}), (b"\x30\x03",), enabled=False)
SERVER = DirectoryServer("ds1.example", 636, Transport.STARTTLS, "o=ocsp", 7)
MEMBER = Member(
    host="ocsp1.example",
    secure_port=8443,
    ee_port=8080,
    name="Onë",
    clone=True,
    joined_at=1,
    term=2,
    subsystem="KRA",
    tls_sha256="6" * 64,
    directory=SERVER,
    appointment="an appointment",
    other_tls_sha256="7" * 64,
    client_certificates=(b"\x30\x04",),
)
TOKEN = JoinToken("8" * 64, 77, "alice")
VERSION = replace(NEW, chain=(b"\x30ca", b"\x30root"), token="hsm", retired_at=8)
KEYRING = Keyring(4, 3, 1750, (OLD.key, ON_TOKEN.key), (NEW.key,), (VERSION, OLD, ON_TOKEN), ("aa",), ("m:8443",))
APPROVAL = Approval("aa", "op", '{"path":{}}', "alice", "192.0.2.1", 1, 2, ApprovalState.DENIED, "bob", 3, "nö")
APPROVALS = Approvals(5, (APPROVAL, replace(APPROVAL, id="bb")))
FACTS = Facts(
    (AUTHORITY,), (EPOCH,), (QUARANTINED,), ((POINT, 9, 10), (POINT, None, 11)), (USER,), (MEMBER,), KEYRING, APPROVALS
)
CONCERNED = Concerned(frozenset({"b", "a"}), frozenset({POINT, IssuingPointId("c" * 64)}))


def read_policy(record: dict) -> AuthorityPolicy:
    """The policy of an authority with that record of it."""
    return records.read_authority(records.authority_record(AUTHORITY) | {"policy": record}).policy


KINDS: dict[str, tuple[Any, Callable, Callable]] = {
    "policy": (POLICY, records.policy_record, read_policy),
    "authority": (AUTHORITY, records.authority_record, records.read_authority),
    "epoch": (EPOCH, records.epoch_record, records.read_epoch),
    "quarantined": (QUARANTINED, records.quarantined_record, records.read_quarantined),
    "user": (USER, records.user_record, records.read_user),
    "member": (MEMBER, records.member_record, records.read_member),
    "token": (TOKEN, records.token_record, records.read_token),
    "keyring": (KEYRING, keyring_record, read_keyring),
    "approvals": (APPROVALS, approvals_record, read_approvals),
    "facts": (FACTS, records.facts_record, records.read_facts),
}


def default_of(field: Field) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


@pytest.mark.parametrize(
    "fact", [fact for fact, _, _ in KINDS.values()] + [SERVER, VERSION, APPROVAL], ids=lambda one: type(one).__name__
)
def test_facts_of_these_tests_have_no_default_in_them(fact):
    """A field that comes later is tried here as well: none of those written is what it would be without its record."""
    for field in fields(fact):
        assert getattr(fact, field.name) != default_of(field), field.name


@pytest.mark.parametrize("kind", KINDS)
def test_record_holds_every_field(kind: str):
    """What is written as JSON is read as the same fact, and writing that gives the same text."""
    fact, write, read = KINDS[kind]
    text = records.to_json(write(fact))
    assert text.isascii()
    assert ": " not in text.replace("a reason", "")
    back = records.from_json(text, read)
    assert back == fact
    assert records.to_json(write(back)) == text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"user", "facts"}])
def test_record_without_a_field_that_came_later_has_its_default(kind: str):
    """A field that an earlier version did not write is what it was then; one that was always there is missed."""
    fact, write, read = KINDS[kind]
    required = {"authority": {"policy"}}.get(kind, set())
    for field in fields(fact):
        name = {"certificate_der": "certificate"}.get(field.name, field.name)
        record = json.loads(json.dumps(write(fact)))
        del record[name]
        if default_of(field) is MISSING or name in required:
            with pytest.raises(StoreError):
                records.from_record(record, read)
        else:
            assert records.from_record(record, read) == replace(fact, **{field.name: default_of(field)}), name


@pytest.mark.parametrize("part", ["versions", "entries"])
def test_part_of_a_record_without_a_field_that_came_later_has_its_default(part: str):
    """The same of each version of a signer, and of each approval."""
    whole, kind, one = {"versions": (KEYRING, "keyring", VERSION), "entries": (APPROVALS, "approvals", APPROVAL)}[part]
    _, write, read = KINDS[kind]
    for field in fields(one):
        record = json.loads(json.dumps(write(whole)))
        del record[part][0][field.name]
        if default_of(field) is MISSING:
            with pytest.raises(StoreError):
                records.from_record(record, read)
        else:
            (first, *_) = getattr(records.from_record(record, read), part)
            assert first == replace(one, **{field.name: default_of(field)})


@pytest.mark.parametrize("name", ["keyring", "approvals"])
def test_facts_of_an_earlier_version_have_no_keyring_and_no_approvals(name: str):
    """Without any they are not written either, so that an earlier version reads nothing it does not know."""
    record = records.facts_record(FACTS)
    del record[name]
    empty = {"keyring": Keyring(), "approvals": Approvals()}[name]
    expected = replace(FACTS, **{name: empty})
    assert records.read_facts(record) == expected
    assert name not in records.facts_record(expected)


def test_member_that_changes_nothing_has_no_record_of_a_change():
    """What few members have, and none for long, stands where it is there: an earlier version reads the others alike."""
    settled = replace(MEMBER, other_tls_sha256="", client_certificates=())
    record = records.member_record(settled)
    assert not {"other_tls_sha256", "client_certificates"} & record.keys()
    assert records.read_member(record) == settled
    bare = replace(settled, term=0, clone=False, directory=None, appointment="", tls_sha256="")
    record = records.member_record(bare)
    assert {"term", "clone", "directory", "appointment", "tls_sha256"} <= record.keys()
    assert records.read_member(record) == bare


def test_keyring_that_disowns_nothing_has_no_record_of_that():
    """So an earlier version reads it alike; all else is always written."""
    ring = replace(KEYRING, disowned=(), unasked=(), change=0, epoch=0, current=())
    record = keyring_record(ring)
    assert not {"disowned", "unasked"} & record.keys()
    assert {"change", "epoch", "current"} <= record.keys()
    assert read_keyring(record) == ring


def test_served_epoch_has_no_record_of_crls_of_before():
    """The manifest holds what is answered from, and that alone."""
    record = records.served_record(EPOCH)
    assert records.read_epoch(record) == replace(EPOCH, former=())
    assert record.keys() == records.epoch_record(EPOCH).keys() - {"former"}


def test_what_a_part_of_the_facts_is_of_comes_back_in_one_order():
    """The same text for the same part, whichever member says it."""
    record = records.concerned_record(CONCERNED)
    assert records.read_concerned(json.loads(json.dumps(record))) == CONCERNED
    assert record["authorities"] == ["a", "b"]
    assert [one["authority_id"][0] for one in record["points"]] == ["a", "c"]


def test_word_of_a_member_comes_back_and_is_cut_to_what_can_be_shown():
    """What a member says of its keys is text of a stranger: so many versions, and so many characters of each."""
    word = KeyringWord(b"\x00sealing\xff", {"ocsp#1": "", "ocsp#2": "it has expired"}, 3)
    assert read_word(json.loads(json.dumps(word_record(word)))) == word
    many = {f"{number:04}": "x" * 501 for number in range(1001)} | {"y" * 501: ""}
    record = word_record(KeyringWord(versions=many))
    cut = read_word(record)
    assert len(cut.versions) == 1000
    assert set(cut.versions.values()) == {"x" * 500}
    assert list(read_word(word_record(KeyringWord(versions={"y" * 501: ""}))).versions) == ["y" * 500]


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"host": "h" * 255}, True),
        ({"host": "h" * 256}, False),
        ({"appointment": "a" * (1 << 14)}, True),
        ({"appointment": "a" * ((1 << 14) + 1)}, False),
        ({"appointment": None}, False),
        ({"client_certificates": (b"x" * (1 << 14),) * 4}, True),
        ({"client_certificates": (b"x",) * 5}, False),
        ({"client_certificates": (b"x" * ((1 << 14) + 1),)}, False),
        ({"directory": replace(SERVER, suffix="s" * 255, replica_id=None)}, True),
        ({"directory": replace(SERVER, suffix="s" * 256)}, False),
        ({"directory": replace(SERVER, host="h" * 256)}, False),
        ({"directory": None}, True),
        ({"subsystem": "s\n"}, False),
        ({"other_tls_sha256": "s\n"}, False),
        ({"joined_at": "1"}, False),
        ({"ee_port": None}, False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_member_of_a_stranger_is_read_up_to_the_limits(changes: dict, accepted: bool):
    """Each text and list has a length, the last of which still belongs to it."""
    member = replace(MEMBER, **changes)
    record = records.member_record(member)
    if accepted:
        assert records.checked_member(record) == member
    else:
        with pytest.raises((TypeError, ValueError)):
            records.checked_member(record)


@pytest.mark.parametrize(
    ("read", "record", "names"),
    [
        (records.read_epoch, records.epoch_record(EPOCH) | {"sequence": "2"}, r"got `str` - at `\$\.sequence`"),
        (records.read_epoch, records.epoch_record(EPOCH) | {"sequence": True}, r"got `bool` - at `\$\.sequence`"),
        (records.read_epoch, records.epoch_record(EPOCH) | {"former": ""}, r"got `str` - at `\$\.former`"),
        (records.read_authority, records.authority_record(AUTHORITY) | {"history": [7]}, r"at `\$\.history\[0\]`"),
        (records.read_authority, records.authority_record(AUTHORITY) | {"label": 7}, r"got `int` - at `\$\.label`"),
        (records.read_authority, records.authority_record(AUTHORITY) | {"certificate": "%"}, "a stored record"),
        (
            records.read_authority,
            records.authority_record(replace(AUTHORITY, policy=AuthorityPolicy())) | {"policy": {"signer": 7}},
            r"got `int` - at `\$\.policy\.signer`",
        ),
        (records.read_quarantined, records.quarantined_record(QUARANTINED) | {"record": {}}, "TypeError"),
        (records.read_user, records.user_record(USER) | {"full_name": None}, "full_name is NoneType"),
    ],
)
def test_damaged_record_says_what_is_wrong_with_it(read: Callable, record: dict, names: str):
    """By the field, and the type that it has: also of a fact in a fact, and of each in a list."""
    with pytest.raises(StoreError, match=names):
        records.from_record(record, read)
    with pytest.raises(StoreError, match=names):
        records.from_record({"all": [record]}, lambda whole: tuple(map(read, whole["all"])))


def test_share_of_entries_may_be_a_whole_number():
    """JSON does not tell 5 from 5.0, and a truth is no number."""
    record = records.policy_record(replace(POLICY, quarantine_percent=5))
    assert records.from_record(record, read_policy).quarantine_percent == 5
    with pytest.raises(StoreError):
        records.from_record(record | {"quarantine_percent": True}, read_policy)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_930_904, "2026-11-29T05:41:44Z"),
        (-62135596800, "0001-01-01T00:00:00Z"),
        (-62135596801, "0001-01-01T00:00:00Z"),
        (253402300799, "9999-12-31T23:59:59Z"),
        (253402300800, "9999-12-31T23:59:59Z"),
        (2**70, "9999-12-31T23:59:59Z"),
    ],
)
def test_moment_is_told_as_rfc_3339_has_it(at: int, text: str):
    """Years have four digits; what lies before or after them is told as the nearest moment that they hold."""
    assert records.rfc3339(at) == text


def test_signer_version_is_named_by_nickname_and_number():
    """As people and the keyring call it."""
    version = SignerVersion("ocsp", 2, "SHA256withEC")
    assert (version.name, version.key, version.is_usable) == ("ocsp#2", ("ocsp", 2), False)
    assert replace(version, certificate_der=b"x").is_usable
    assert not replace(version, certificate_der=b"x", retired_at=0).is_usable


ODD = {
    "a number of 160 bits": ('"crl_number":7', f'"crl_number":{1 << 159}'),
    "half of a pair of code units": ('"push"', '"pu\\udcffsh"'),
    "a field that came later": ('"sequence":2', '"sequence":2,"later":{"x":[1]}'),
    "a field twice": ('"sequence":2', '"sequence":1,"sequence":2'),
    "white space": ('"sequence":2', '\n "sequence" : 2 '),
}


@pytest.mark.parametrize("what", ODD)
def test_json_is_read_alike_by_both_readers(what: str):
    """The quicker reader makes the same fact of a text as one record by record, or leaves it to that."""
    text = records.to_json(records.epoch_record(EPOCH))
    old, new = ODD[what]
    assert old in text
    odd = text.replace(old, new)
    assert records.from_json(odd, records.read_epoch) == records.read_epoch(json.loads(odd))
    assert records.from_json(odd.encode(), records.read_epoch).issuing_point == POINT
