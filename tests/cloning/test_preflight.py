"""What is looked at before a clone is made, decided from facts alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pki import NOW

from vouchd.cloning.preflight import MAX_SKEW_SECONDS, check_set
from vouchd.cloning.set_info import SetInfo
from vouchd.core.facts import Member
from vouchd.errors import AlreadyExists, ConfigError, LifecycleError

MASTER = Member("ocsp1.example.org", 8443, 8080, "m", clone=False, joined_at=1, term=1)
OTHER = Member("ocsp2.example.org", 8443, 8080, "c", clone=True, joined_at=2)
NEW = Member("ocsp3.example.org", 8443, 8080, "", clone=True, joined_at=0)


def set_info(**differently) -> SetInfo:
    """The set as its master tells of it."""
    set_of_two = SetInfo("domain", "1", NOW, 600, MASTER, (MASTER, OTHER), {}, {})
    return replace(set_of_two, **differently)


@pytest.mark.parametrize("seconds", [1, 600, 21599, 21601])
def test_master_with_a_refresh_of_its_own_is_taken(seconds):
    """Of a master any number but two will do."""
    check_set(set_info(refresh_seconds=seconds), NEW, NOW)


@pytest.mark.parametrize("seconds", [0, 21600])
def test_master_with_the_refresh_of_a_clone_or_none_is_refused(seconds):
    """0 and 21600 are refused, with the command that mends it."""
    with pytest.raises(ConfigError, match=f"refreshInSec of the master is {seconds}") as caught:
        check_set(set_info(refresh_seconds=seconds), NEW, NOW)
    assert "vouchd clone prepare" in caught.value.hint


@pytest.mark.parametrize("seconds", [0, 600])
def test_clone_with_the_refresh_of_a_master_is_refused(seconds):
    """A clone that is to be cloned is marked as one, or it is told which line to change there."""
    with pytest.raises(ConfigError, match=f"refreshInSec of the clone ocsp2.example.org:8443 is {seconds}") as caught:
        check_set(set_info(told_by=OTHER, refresh_seconds=seconds), NEW, NOW)
    assert "refreshInSec=21600" in caught.value.hint
    check_set(set_info(told_by=OTHER, refresh_seconds=21600), NEW, NOW)


@pytest.mark.parametrize("side", [-1, 1])
def test_clocks_are_compared_to_the_second(side):
    """Up to the bound the clocks may differ, to either side; past it the hint is how to set them."""
    check_set(set_info(), NEW, NOW + side * MAX_SKEW_SECONDS)
    with pytest.raises(LifecycleError, match=f"{MAX_SKEW_SECONDS + 1} s {'ahead of' if side > 0 else 'behind'}"):
        check_set(set_info(), NEW, NOW + side * (MAX_SKEW_SECONDS + 1))


def test_address_of_a_member_is_taken():
    """Nobody joins under the address of another one."""
    with pytest.raises(AlreadyExists, match="in this domain"):
        check_set(set_info(), replace(NEW, host=OTHER.host), NOW)
