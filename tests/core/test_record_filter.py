"""Filters over the facts of a record, as a directory has them (RFC 4515)."""

from __future__ import annotations

import pytest

from vouchd.core.record_filter import matches

FACTS = {"outcome": "Failure", "target": "cn=a", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(outcome=Failure)", True),
        (" (Outcome = failure ) ", True),
        ("(outcome=success)", False),
        ("(outcome=*)", True),
        ("(empty=*)", True),
        ("(empty=)", True),
        ("(missing=*)", False),
        ("(missing=)", False),
        ("(target=cn=a)", True),
        ("(target=a)", False),
        ("(!(outcome=success))", True),
        ("(!(outcome=*))", False),
        ("(&(outcome=*)(target=*))", True),
        ("(&(outcome=*)(missing=*))", False),
        ("(|(missing=*)(target=*))", True),
        ("(|(missing=*)(outcome=x))", False),
        ("(&(|(missing=*)(outcome=*))(!(missing=*)))", True),
    ],
)
def test_filter_holds_by_equality_presence_and_what_joins_them(text: str, expected: bool):
    """Names and values are compared without case, blanks around them are none of them; the first `=` ends the name."""
    assert matches(text, FACTS) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "outcome=x",
        "(outcome)",
        "(=x)",
        "( =x)",
        "(outcome=x",
        "(&)",
        "(!)",
        "(!(a=b)(c=d))",
        "(&(a=b)",
        "(a=b)c",
        "(a=b)(c=d)",
    ],
)
def test_text_that_is_no_filter_is_refused(text: str):
    """A filter that was cut short, or goes on, would let through what somebody meant to see."""
    with pytest.raises(ValueError, match="filter"):
        matches(text, FACTS)
