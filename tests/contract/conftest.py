"""The stores under contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.contract.backends import (
    BACKENDS,
    CA,
    FIRST,
    PARAMS,
    Backend,
    an_epoch,
    sha256,
)

from vouchd.core.ports import StatusStore


@pytest.fixture(params=PARAMS)
def backend(request, tmp_path) -> Iterator[Backend]:
    backend = BACKENDS[request.param](tmp_path)
    yield backend
    backend.close()


@pytest.fixture
def store(backend) -> StatusStore:
    return backend.open()


@pytest.fixture
def full_store(store) -> StatusStore:
    """A store with one authority and its first epoch."""
    store.put_authority(CA)
    store.commit_epoch(an_epoch(CA), {sha256(FIRST): FIRST})
    return store
