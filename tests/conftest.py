"""The order of all tests, and what holds for the processes that they start."""

from __future__ import annotations

import gc
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, Phase, settings
from tests.bounds import bounded, remember_stderr
from tests.scratch import keep_in_memory
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

ROOT = Path(__file__).parents[1]

# Each test of a property is tried a little by `make quick`, more by `make test`, and at length by `make fuzz`.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("quick", max_examples=20, **_COMMON)
settings.register_profile("whole", max_examples=50, **_COMMON)
settings.register_profile("deep", max_examples=2000, **_COMMON)
# A mutant has the same verdict each time, and needs no smallest example.
settings.register_profile(
    "mutate", max_examples=50, derandomize=True, phases=(Phase.explicit, Phase.generate), **_COMMON
)
settings.load_profile("whole")

# Where it is set, each of the many processes that tests start would compile the whole program anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What a command says depends on how busy the machine is, where it tells what takes long; see tests/cli/test_progress.py.
os.environ["VOUCHD_PROGRESS"] = "0"


keep_in_memory()

# How long what was never timed here may take, in seconds, by the first of these marks that it has.
GUESSES = {"browser": 60.0, "directory": 60.0, "process": 20.0, "interop": 10.0}
_FAILURE_CHARACTERS = 4000
# Tests leave little in circles, and a look through all that they keep takes longer each time: seldom.
_COLLECTING = (50_000, 20, 20)
# Whether this process ran a test again for which no server is known to have crashed.
_RUN_AGAIN = pytest.StashKey[bool]()
DURATIONS = "vouchd/durations"  # in pytest's cache: by scope, as of the run that had it last


def pytest_collection_finish() -> None:
    """Have passwords cheap, and what reads a command line kept where that is loaded.

    Not when this module is imported: what is covered is to be imported later. Nor by fixtures: each test would ask for them.
    """
    from tests.cheap_passwords import cheapen

    cheapen()
    if "vouchd.cli.main" in sys.modules:
        from tests.parsers import keep

        keep()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What is collected stays to the end: no garbage is looked for in it, neither meanwhile nor at any test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*_COLLECTING)
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest: run side by side, a long test that is begun last would be waited for alone."""
    if hasattr(config, "workerinput"):
        known = _durations(config)
        items.sort(key=lambda item: -_seconds(item, known))


def _durations(config: pytest.Config) -> dict[str, float]:
    return dict(config.cache.get(DURATIONS, {})) if config.cache else {}


def _seconds(item: pytest.Item, known: Mapping[str, float]) -> float:
    scope = scope_of(item.nodeid)
    return known[scope] if scope in known else _guess(item)


def _guess(item: pytest.Item) -> float:
    return next((seconds for mark, seconds in GUESSES.items() if item.get_closest_marker(mark)), 0.0)


class Timing:
    """Remembers how long each scope took, for the order of the next run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        scope = scope_of(report.nodeid)
        self._seconds[scope] = self._seconds.get(scope, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        if self._config.cache:
            self._config.cache.set(DURATIONS, _durations(self._config) | self._seconds)


def pytest_configure(config: pytest.Config) -> None:
    """Whole runs are timed, by the process that has them all told."""
    remember_stderr()
    if getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(Timing(config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Iterator[None]:
    """No set-up stands still for ever."""
    with bounded():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call() -> Iterator[None]:
    """Nor does a test."""
    with bounded():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Nor what comes after it."""
    with bounded():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test once more that failed beside other programs, and say so, with what failed, at the end of the run.

    Servers of others, browsers and a machine that is busy fail by themselves at times: 389 DS 2.3 crashes once in some
    thousand agreements that are deleted (agmt_notify_change), or stands still while another fills it. In a run of ten
    thousand tests one such failure says nothing of a change; two in one process of tests do, and fail it.
    """
    if not any(item.get_closest_marker(mark) for mark in GUESSES):
        return None
    from tests.ds389 import CRASHES

    CRASHES.clear()
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    failed = [report for report in reports if report.failed]
    if failed and (CRASHES or not item.config.stash.get(_RUN_AGAIN, False)):
        item.config.stash[_RUN_AGAIN] = item.config.stash.get(_RUN_AGAIN, False) or not CRASHES
        why = (
            "; ".join(CRASHES) or f"it failed at its {failed[0].when}:\n{failed[0].longreprtext[-_FAILURE_CHARACTERS:]}"
        )
        warnings.warn(f"{item.nodeid} was run again: {why}", stacklevel=1)
        item._initrequest()
        _forget_failed_fixtures(item)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _forget_failed_fixtures(item: pytest.Item) -> None:
    """Have those made anew that failed: pytest keeps the failure of one that tests share, as it keeps what one made."""
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        for one in definitions:
            if one.cached_result is not None and one.cached_result[2] is not None:
                with bounded(), suppress(Exception):  # what it left behind is ended, as far as it can be
                    one.finish(item._request)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Who gets which tests when they run side by side."""
    return Sharing(config, log)


class Collection(list[str]):
    """The tests that a process collected, in their order, each of them once."""

    def __init__(self, tests: Iterable[str]) -> None:
        super().__init__(tests)
        self._places = {test: place for place, test in enumerate(self)}

    def index(self, test: str, *_bounds: int) -> int:
        """Where it is, without a search."""
        return self._places[test]


class Sharing(LoadScopeScheduling):
    """A file's tests stay in one process; where each starts processes and they share nothing, each goes for itself."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """What a process collected, with the place of each test kept, which is asked for once for each."""
        super().add_node_collection(node, collection)
        if node in self.registered_collections:
            self.registered_collections[node] = Collection(collection)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Forget what is done to its end: all that a process has is looked through at each of its tests."""
        super().mark_test_complete(node, item_index, duration)
        scope = self._split_scope(self.registered_collections[node][item_index])
        units = self.assigned_work.get(node, {})
        if all(units.get(scope, {}).values()):
            units.pop(scope, None)

    def remove_node(self, node: WorkerController) -> str | None:
        """The test in which a process ended; it is not begun again, or it would end one process after the other."""
        units = self.assigned_work.get(node, {}).values()
        caught = next(((unit, name) for unit in units for name, done in unit.items() if not done), None)
        if caught is None:
            return super().remove_node(node)
        unit, name = caught
        unit[name] = True
        super().remove_node(node)
        return name


def scope_of(nodeid: str) -> str:
    """What is run by one process from its begin to its end: a file, or one test of it."""
    place = nodeid.split("::", maxsplit=1)[0]
    return nodeid if _separate(place) else place


@cache
def _separate(place: str) -> bool:
    path = ROOT / place
    text = path.read_text(encoding="utf-8")
    beside = path.with_name("conftest.py")
    shared = text + (beside.read_text(encoding="utf-8") if beside.exists() and beside.parent != ROOT / "tests" else "")
    dear = re.search(rf"pytest\.mark\.({'|'.join(GUESSES)})\b", text)
    return dear is not None and not re.search(r'scope="(module|session|class)"', shared)
