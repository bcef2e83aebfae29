"""`clone create` that is killed at a point of a test's choice; the master has to serve on."""

from __future__ import annotations

from collections.abc import Iterable

from tests.faults.killed import killed_after_saying
from tests.whole.clones import CloneSet

# Stops at argv[1]: `before keys`, `after keys`, or once it says something that begins so; the rest are its words.
STUCK = """
import sys
from vouchd.cli import output
from vouchd.cli.clone import commands as clone
from vouchd.cli.main import main
from vouchd.cloning.steps import Step
point, words, run_steps, note = sys.argv[1], sys.argv[2:], clone.run_steps, output.note
def here():
    print("here", flush=True)
    sys.stdin.read()
def told(text):
    note(text)
    if text.startswith(point):
        here()
def stuck(steps, journal, say):
    def around(step):
        def run():
            if point == "before " + step.name:
                here()
            step.run()
            if point == "after " + step.name:
                here()
        return Step(step.name, step.about, run)
    return run_steps([around(step) for step in steps], journal, say)
clone.run_steps, output.note = stuck, told
sys.exit(main(words))
"""


def whole(site: CloneSet, words: Iterable[str]) -> list[str]:
    """The words of the command with whole paths: what is killed runs in another folder."""
    names = {"c", "token", "keys.p12", "keys.password", "manager.password", "lab"}
    return [str(site.folder / word) if word in names else word for word in words]


def kill(site: CloneSet, point: str, words: Iterable[str]) -> None:
    """Kill the command at that point; the master goes on."""
    killed_after_saying("here", STUCK, point, *whole(site, words))
    assert site.says("m", "bad") == "revoked"
