"""A CA, and a responder in memory that knows it."""

from __future__ import annotations

import pytest
from tests.pki import CA
from tests.service.recording import AGENT
from tests.service.world import World


@pytest.fixture
def ca():
    return CA.create("Lab CA")


@pytest.fixture
def world(ca):
    world = World()
    world.authorities.add(ca.der, AGENT)
    return world
