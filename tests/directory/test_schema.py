"""The schema of a server: added where it lacks, widened where it is an older one of ours, refused where it is another's."""

from __future__ import annotations

import pytest
from tests.ds389 import directories

from vouchd.directory.connection import Change
from vouchd.directory.schema import ATTRIBUTE_TYPES, OBJECT_CLASSES, AttributeType, ObjectClass, ensure_schema, lacking
from vouchd.errors import ConfigError

pytestmark = pytest.mark.interop

OCTETS = "1.3.6.1.4.1.1466.115.121.1.40"
TEXT = "1.3.6.1.4.1.1466.115.121.1.15"
OURS = f"( 2.25.9 NAME 'vouchdOne' SYNTAX {OCTETS} )"
THEIRS = f"( crlThing-oid NAME 'crlThing' SYNTAX {TEXT} SINGLE-VALUE )"
CLASS = "( 2.25.8 NAME 'vouchdClass' SUP top AUXILIARY MUST cn MAY ( vouchdOne $ vouchdTwo ) )"


@pytest.mark.parametrize(
    ("wanted", "present", "addition"),
    [
        (OURS, "", True),
        (OURS, OURS, False),
        (OURS, OURS.replace(" )", " SINGLE-VALUE )"), True),
        (THEIRS, THEIRS, False),
        (THEIRS, f"( 1.2.3 NAME ( 'other' 'CRLTHING' ) SYNTAX {TEXT} )", False),
        (CLASS, CLASS, False),
        (CLASS, CLASS.replace("( vouchdOne $ vouchdTwo )", "vouchdOne"), True),
        (
            CLASS,
            CLASS.replace("MUST cn", "MUST ( cn $ vouchdTwo )").replace("( vouchdOne $ vouchdTwo )", "vouchdOne"),
            True,
        ),
        (CLASS, CLASS.replace("MUST cn MAY ( ", "MAY ( cn $ sn $ "), False),
    ],
)
def test_definition_that_holds_what_is_needed_stays_and_a_narrower_one_of_ours_is_widened(wanted, present, addition):
    """Who made it does not count, what it allows does; a single value, an attribute less or a MUST more is too narrow."""
    kind = ObjectClass if wanted is CLASS else AttributeType
    assert list(lacking(kind, [wanted], [present] if present else [])) == ([wanted] if addition else [])


@pytest.mark.parametrize(
    ("wanted", "present"),
    [
        (OURS, OURS.replace(OCTETS, TEXT)),
        (OURS, OURS.replace("2.25.9", "1.2.3")),
        (OURS, OURS.replace("vouchdOne", "somethingElse")),
        (THEIRS, THEIRS.replace(TEXT, OCTETS)),
        (THEIRS.replace(" SINGLE-VALUE", ""), THEIRS.replace("crlThing-oid", "1.2.3")),
        (CLASS, CLASS.replace("AUXILIARY", "STRUCTURAL")),
        (CLASS, CLASS.replace("( vouchdOne $ vouchdTwo )", "description")),
    ],
)
def test_definition_of_another_program_is_refused_with_both_told(wanted, present):
    """What cannot hold our facts, and may hold another's, is not changed: the message shows what is there and needed."""
    kind = ObjectClass if wanted is CLASS else AttributeType
    with pytest.raises(ConfigError, match="needed is") as refused:
        list(lacking(kind, [wanted], [present]))
    assert str(kind.of(present)) in str(refused.value)
    assert "`vouchd directory create`" in refused.value.hint


def test_server_is_given_what_it_lacks_once_and_an_older_class_is_widened():
    """A real server takes our definitions, as it shows them they count as ours, and an older one of ours grows."""
    (older,) = (text for text in OBJECT_CLASSES if "'vouchdIssuingPoint'" in text)
    older = older.replace(" $ vouchdHighWater", "")
    text = next(text for text in ATTRIBUTE_TYPES if "'vouchdStamp'" in text)
    other = text.replace("octetStringMatch", "caseIgnoreMatch").replace(OCTETS, TEXT)
    with directories(tls=False) as [directory]:
        admin = directory.admin()
        # All but `Host`, which every server has.
        assert ensure_schema(admin) == len(ATTRIBUTE_TYPES) + len(OBJECT_CLASSES) - 1
        assert ensure_schema(admin) == 0
        admin.modify("cn=schema", [Change("add", "objectClasses", (older.encode(),))])
        assert ensure_schema(admin) == 1
        assert ensure_schema(admin) == 0
        admin.modify("cn=schema", [Change("add", "attributeTypes", (other.encode(),))])
        with pytest.raises(ConfigError, match="vouchdstamp"):
            ensure_schema(admin)
        admin.close()
