"""The order of all tests, and what holds for the processes that they start."""

from __future__ import annotations

import os
import re
import warnings
from functools import cache
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

# Each test of a property is tried a little at every run, and at length by `make fuzz`.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("quick", max_examples=50, **_COMMON)
settings.register_profile("deep", max_examples=2000, **_COMMON)
settings.load_profile("quick")

# Where it is set, each of the many processes that tests start would compile the whole program anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What a command says depends on how busy the machine is, where it tells what takes long; see tests/cli/test_progress.py.
os.environ["VOUCHD_PROGRESS"] = "0"


# The dearest of those that start processes, the longest first.
LONGEST = (
    "tests/faults/test_set_",
    "tests/whole/test_clone_",
    "tests/faults/test_clone_",
    "tests/whole",
    "tests/faults",
)


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> None:
    """Not when this module is imported: what is covered is to be imported later."""
    from tests.cheap_passwords import cheapen

    cheapen()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: run side by side, a long test that is begun last would be waited for alone."""
    processes = {item.path for item in items if item.get_closest_marker("process")}
    items.sort(key=lambda item: (item.path not in processes, _rank(item)))


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, place in enumerate(LONGEST) if item.nodeid.startswith(place)), len(LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test once more whose directory server crashed beneath it, and say so at the end.

    389 DS 2.3 ends itself once in some thousand agreements that are deleted (agmt_notify_change), which nobody outside can
    prevent; nothing else is run again.
    """
    if not item.get_closest_marker("process"):
        return None
    from tests.ds389 import CRASHES

    CRASHES.clear()
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if CRASHES and any(report.failed for report in reports):
        warnings.warn(f"{item.nodeid} was run again: {'; '.join(CRASHES)}", stacklevel=1)
        CRASHES.clear()
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Who gets which tests when they run side by side."""
    return Sharing(config, log)


class Sharing(LoadScopeScheduling):
    """A file's tests stay in one process; where each starts processes and they share nothing, each goes for itself."""

    def _split_scope(self, nodeid: str) -> str:
        place = nodeid.split("::", maxsplit=1)[0]
        return nodeid if _separate(ROOT / place) else place


@cache
def _separate(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return "pytest.mark.process" in text and not re.search(r'scope="(module|session|class)"', text)
