"""What the operator chose for the instance, and what a CA's own policy says instead."""

from __future__ import annotations

import pytest

from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy
from vouchd.core.policy import ResponsePolicy


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("not_found_as_good", (True, False)),
        ("include_next_update", (True, False)),
        ("reasons", (True, False)),
        ("expired_crl", tuple(ExpiredCRLPolicy)),
    ],
)
def test_policy_of_a_ca_goes_before_where_it_speaks(name, choices):
    """A CA that says nothing has what holds for the instance, whatever that is."""
    for common in choices:
        choice = getattr(ResponsePolicy(**{name: common}), f"{name}_for")
        assert choice(AuthorityPolicy()) == common
        assert [choice(AuthorityPolicy(**{name: own})) for own in choices] == list(choices)
