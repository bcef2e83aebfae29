"""Access rules of a Certificate System held against the rights here."""

from __future__ import annotations

import pytest

from vouchd.migration.their_users import differences

AGENTS = "Online Certificate Status Manager Agents"


def of(acl: str) -> list[tuple[str, str]]:
    """Right and difference of each that differs."""
    return [(one.right, one.difference) for one in differences([acl])]


def test_rule_that_says_the_same_is_no_difference():
    """Agents and Trusted Managers bring CRLs there and here."""
    acl = f'certServer.ocsp.crl:add:allow (add) group="{AGENTS}" || group="Trusted Managers":Those may: add CRLs'
    assert of(acl) == []


def test_wider_and_narrower_rights_are_told_apart():
    """Who may here and could not there is one thing, who could there and may not here another."""
    acl = 'certServer.ocsp.ca:add:allow (add) group="Administrators":Administrators alone'
    assert of(acl) == [("add", f"{AGENTS} may here; Administrators may not here")]


def test_denied_group_does_not_count_as_allowed():
    """A deny rule takes away what an allow rule gave."""
    acl = f'certServer.ocsp.crl:add:deny (add) group="Trusted Managers";allow (add) group="{AGENTS}" || group="Trusted Managers":x'
    assert of(acl) == [("add", "Trusted Managers may here")]


@pytest.mark.parametrize(("address", "count"), [(".*", 0), ("10\\\\.0\\\\..*", 1)])
def test_ocsp_service_by_address_is_told_where_it_restricts_anybody(address, count):
    """The installer's rule lets everybody ask; one of a site's own is not kept here."""
    assert len(of(f'certServer.ee.request.ocsp:submit:allow (submit) ipaddress="{address}":x')) == count


def test_resource_without_counterpart_is_passed_over():
    """What has no act here makes no row."""
    assert of('certServer.registry.configuration:read:allow (read) group="Administrators":x') == []
