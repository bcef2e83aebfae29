"""Whatever is done to the users, every store does it alike, and the rules hold after each step."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.backends import BACKENDS

from vouchd.core.facts import Group, User
from vouchd.errors import StoreError

IDS = st.sampled_from(["a", "b", "c"])
USERS = st.builds(
    User,
    id=IDS,
    full_name=st.sampled_from(["one", "two"]),
    groups=st.frozensets(st.sampled_from([Group.ADMINISTRATORS, Group.AGENTS])),
    certificates=st.lists(st.sampled_from([b"\x01", b"\x02", b"\x03"]), unique=True, max_size=2).map(tuple),
    enabled=st.booleans(),
)
# A change is a user to put, with whether its latest state was read before, or the id of one to remove.
STEPS = st.lists(st.one_of(st.tuples(USERS, st.booleans()), IDS), max_size=12)


def done(store, step) -> str:
    """What became of one step: nothing to say, or the name of the error."""
    try:
        if isinstance(step, str):
            store.remove_user(step)
        else:
            user, was_read = step
            by_id = {one.id: one for one in store.users()}
            store.put_user(user, by_id.get(user.id) if was_read else None)
    except StoreError as error:
        return type(error).__name__
    return ""


def administered(users) -> bool:
    return any(user.enabled and Group.ADMINISTRATORS in user.groups for user in users)


@pytest.mark.directory
@given(steps=STEPS)
def test_users_any_steps_stores_alike_and_rules_kept(steps):
    """Same results and users in each store; no certificate twice; once administered, always administered."""
    with tempfile.TemporaryDirectory() as folder:
        backends = [make(Path(folder)) for make in BACKENDS.values()]
        stores = [backend.open() for backend in backends]
        had_administrator = False
        for step in steps:
            assert len({done(store, step) for store in stores}) == 1
            (users,) = {store.users() for store in stores}
            certificates = [der for user in users for der in user.certificates]
            assert len(certificates) == len(set(certificates))
            had_administrator = had_administrator or administered(users)
            assert administered(users) == had_administrator
        for backend in backends:
            backend.close()
