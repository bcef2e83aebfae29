"""List Certificate Authorities of two members is compared in every field."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.pki import CA, DAY, NOW
from tests.serving import entry, point, serving

from vouchd.cloning.listing import list_differences, listing, read_listing
from vouchd.cloning.membership import effective_settings
from vouchd.core.status import ServingState
from vouchd.pkix.scope import Scope
from vouchd.settings import cs_cfg

SITE, OTHER = CA.create("Site CA"), CA.create("Other CA")


def state(*points, **changes):
    """Two CAs, the second without a CRL."""
    first = replace(serving(SITE, *(points or (point(SITE, entry(1)),))), **changes)
    return ServingState(1, (first, serving(OTHER)))


def differences(one: ServingState, other: ServingState, at: int = NOW) -> set[tuple[str, str]]:
    """Row and field, as found after the way over the network."""
    theirs = read_listing(json.loads(json.dumps(listing(other, at))))
    return {(difference.what, difference.field) for difference in list_differences(listing(one, NOW), theirs)}


def test_equal_lists_differ_in_nothing():
    """What a member lists is what the same facts list elsewhere."""
    assert len(listing(state(), NOW)) == 3
    assert not differences(state(), state())


LABEL = serving(SITE).authority.label


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (state(point(SITE, entry(1), entry(2))), "entries"),
        (state(point(SITE, entry(1), next_update=None)), "nextUpdate"),
        (state(point(SITE, entry(1), this_update=NOW - 1)), "thisUpdate"),
        (state(point(SITE, entry(1), accepted_at=NOW - 1)), "accepted at"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_field_of_a_crl_that_differs_is_named(other, field):
    """Times, number, entries and bytes of a CRL are compared, each by its name."""
    assert (f"CRL of {LABEL}", field) in differences(state(), other)


def test_state_policy_and_crl_of_a_ca_are_compared():
    """A CA that one member does not answer for, or answers for in another way, is named."""
    assert differences(state(), state(behind=True)) == {(f"CA {LABEL}", "state")}
    strict = replace(state(), authorities=(serving(SITE, point(SITE, entry(1)), not_found_as_good=False),))
    assert (f"CA {LABEL}", "policy not_found_as_good") in differences(state(), strict)
    with_issuer = replace(state(), authorities=(serving(SITE, point(SITE, entry(1)), crl_issuers=(b"x",)),))
    assert (f"CA {LABEL}", "policy crl_issuers") in differences(state(), with_issuer)
    assert differences(state(), state(), at=NOW + 2 * DAY) == {(f"CRL of {LABEL}", "state")}


def test_row_on_one_side_only_is_named():
    """A CA or a CRL that the other does not list at all is one difference."""
    rows = differences(state(), ServingState(1, (serving(OTHER),)))
    assert rows == {(f"CA {LABEL}", "listed"), (f"CRL of {LABEL}", "listed")}
    scope = Scope(scope_id="ab" * 32, only_user=True)
    partial = state(point(SITE, entry(1)), point(SITE, scope=scope))
    assert differences(state(), partial) == {(f"CRL {scope.scope_id[:8]} of {LABEL}", "listed")}


@pytest.mark.parametrize("document", [None, [], {"a": 1}, {"a": {"b": []}}])
def test_what_is_no_list_is_refused(document):
    """A member that tells something else is not taken for one without CAs."""
    with pytest.raises(ValueError, match="list of CAs"):
        read_listing(document)


def test_effective_settings_are_compared_whether_they_are_written_or_not():
    """A default that one member has written down is no difference; a value that is in effect on one alone is."""
    absent = cs_cfg.parse("vouchd.ee.port=8080\n", "CS.cfg")
    written = cs_cfg.parse("vouchd.ee.port=9090\nocsp.rejectAlgorithms=\nsecuritydomain.name=vouchd\n", "CS.cfg")
    other = cs_cfg.parse("ocsp.rejectAlgorithms=SHA-1\n", "CS.cfg")
    mine, same, theirs = (listing(state(), NOW, effective_settings(one)) for one in (absent, written, other))
    assert not list(list_differences(mine, same))
    (difference,) = list_differences(mine, theirs)
    assert (difference.what, difference.field, difference.theirs) == (
        "shared settings",
        "ocsp.rejectAlgorithms",
        "SHA-1",
    )


def test_settings_that_an_older_member_does_not_tell_are_no_difference():
    """While the members of a set are upgraded one after the other they stay alike."""
    assert not list(list_differences(listing(state(), NOW, {"a": "b"}), listing(state(), NOW)))
