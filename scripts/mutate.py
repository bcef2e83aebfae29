"""Changes in `core/` and `service/` that no test notices: python -m scripts.mutate core/status "service/*".

mutmut writes each changed function beside its original, and chooses between them by a name. Its own run begins pytest
anew for each change, which takes longer than the tests that reach it. Here pytest collects once; each test is run once,
which tells what it reaches, and once more in a forked process without any change. Then a process is forked for each
change and runs those that reach it, the quickest first, until one fails.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from time import process_time

import pytest
from _pytest.runner import runtestprotocol
from mutmut.__main__ import create_mutants
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.file_utils import (
    change_cwd,
    copy_also_copy_files,
    copy_src_dir,
    setup_source_paths,
    walk_mutatable_files,
)
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from tests import bounds

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "mutants"
ROOMS = ["core/*", "service/*"]
# A change that makes a test wait for ever, or go round and round, is noticed; on a busy machine others only take long.
STILL_SECONDS, STILL_TIMES = 120.0, 100
CPU_SECONDS, CPU_TIMES = 10, 10
UNCHANGED = "no change"  # what is tried first
_BROKEN = 3  # exit code of a process that did not get through
SURVIVED, NOTICED, ENDLESS, UNREACHED = "survived", "noticed", "endless", "reached by no test"


@dataclass
class Mutation:
    """A plug-in of pytest that runs each test once, then for each change those that reach it."""

    changes: dict[str, Path]  # the file by the name of the change
    jobs: int
    verdicts: dict[str, str] = field(default_factory=dict)
    _reach: dict[str, list[pytest.Item]] = field(default_factory=lambda: defaultdict(list))
    _seconds: dict[pytest.Item, float] = field(default_factory=dict)
    _running: dict[int, str] = field(default_factory=dict)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of pytest's own."""
        self._learn(session.items)
        self._begin(UNCHANGED, session.items)
        self._end_one()
        for number, change in enumerate(self.changes):
            print(f"{number} of {len(self.changes)}", end="\r", file=sys.stderr)
            if tests := self._reach[mangled_name_from_mutant_name(change)]:
                if len(self._running) == self.jobs:
                    self._end_one()
                self._begin(change, sorted(tests, key=self._seconds.__getitem__))
            else:
                self._note(change, UNREACHED)
        while self._running:
            self._end_one()
        return True

    def _learn(self, tests: list[pytest.Item]) -> None:
        """Which functions each test reaches, and how long it takes."""
        set_mutant_under_test("stats")
        for test, following in zip(tests, [*tests[1:], None], strict=True):
            self._forget()
            begin = process_time()
            if failure := _failure(test, following):
                raise pytest.UsageError(f"{test.nodeid} fails without any change:\n{failure}")
            self._seconds[test] = process_time() - begin
            reached = state()._stats  # noqa: SLF001  mutmut's own runner reads it there, too
            for function in reached:
                self._reach[function].append(test)
            reached.clear()

    def _forget(self) -> None:
        """Let go of what functions have kept (`functools.cache`): each test reaches them, and changes count in them."""
        for path in set(self.changes.values()):
            module = sys.modules.get(".".join(path.with_suffix("").parts[1:]))
            for value in vars(module).values() if module else ():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()

    def _begin(self, change: str, tests: list[pytest.Item]) -> None:
        if pid := os.fork():
            self._running[pid] = change
            return
        try:
            seconds = sum(map(self._seconds.__getitem__, tests))
            bounds.SECONDS = STILL_SECONDS + STILL_TIMES * seconds
            limit = int(process_time() + CPU_TIMES * seconds) + CPU_SECONDS
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            sys.stdout = sys.stderr = io.StringIO()
            set_mutant_under_test(change)
            self._forget()
            os._exit(_exit_code(tests))
        finally:
            os._exit(_BROKEN)  # the run itself, not a test

    def _end_one(self) -> None:
        pid, status = os.wait()
        change, code = self._running.pop(pid), os.waitstatus_to_exitcode(status)
        if code == _BROKEN:
            raise SystemExit(f"{change}: the process that was to try it broke down before its tests ended")
        if change == UNCHANGED and code:  # else every change that such a test reaches would count as noticed
            raise SystemExit("a test fails when it is run a second time in a forked process, without any change")
        self._note(change, {0: SURVIVED, 1: NOTICED, 2: ENDLESS}.get(code, ENDLESS))

    def _note(self, change: str, verdict: str) -> None:
        if change == UNCHANGED:
            return
        self.verdicts[change] = verdict
        if verdict != NOTICED:
            with change_cwd(ROOT):
                print(f"\n# {change}: {verdict}\n{get_diff_for_mutant(change, path=self.changes[change])}", flush=True)


def _exit_code(tests: list[pytest.Item]) -> int:
    for test, following in zip(tests, [*tests[1:], None], strict=True):
        if failure := _failure(test, following):
            return 2 if bounds.STOOD_STILL in failure else 1
    return 0


def _failure(test: pytest.Item, following: pytest.Item | None) -> str:
    reports = runtestprotocol(test, nextitem=following, log=False)
    return next((report.longreprtext or report.outcome for report in reports if report.failed), "")


def changes_of(modules: list[str]) -> dict[str, Path]:
    """All changes of these modules, in this order, written below the folder with the tests and what they read."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    config().only_mutate = [f"src/vouchd/{module}.py" for module in modules]
    set_mutant_under_test("mutant_generation")
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(1)
    paths = sorted(walk_mutatable_files(), key=lambda path: (_rank(path), path))
    changes = {}
    for path in paths:
        data = SourceFileMutationData(path=path)
        data.load()
        changes |= dict.fromkeys(data.exit_code_by_key, path)
    return changes


def _rank(path: Path) -> int:
    return next(number for number, pattern in enumerate(config().only_mutate) if fnmatch(str(path), pattern))


def table(changes: dict[str, Path], verdicts: dict[str, str]) -> str:
    """Counts by module, as a table of Markdown."""
    kinds = [NOTICED, ENDLESS, SURVIVED, UNREACHED]
    counts: dict[Path, Counter[str]] = defaultdict(Counter)
    for change, verdict in verdicts.items():
        counts[changes[change]][verdict] += 1
    rows = [["module", "changes", *kinds], ["---"] * 6]
    for path, count in counts.items():
        rows.append([f"{path.parent.name}/{path.stem}", str(count.total()), *(str(count[kind]) for kind in kinds)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=ROOMS)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    mutation = Mutation(changes_of(arguments.modules), arguments.jobs)
    options = ["--rootdir=.", "--tb=native", *config().pytest_add_cli_args]
    with change_cwd(FOLDER):
        code = pytest.main([*options, *config().pytest_add_cli_args_test_selection], plugins=[mutation])
    print(table(mutation.changes, mutation.verdicts))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
