"""What takes longer than a second says so, and for how long it has been at it.

On a terminal a line that turns and counts the seconds, and is gone when the work is done; else a line after a second
and one every ten; nothing with `--json`, and nothing where VOUCHD_PROGRESS is 0, as for a job whose stderr becomes a
mail.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vouchd.cli import output

SWITCH = "VOUCHD_PROGRESS"
AFTER_SECONDS = 1.0
EVERY_SECONDS = 10.0
STAGE_SECONDS = 2.0
_TURN_SECONDS = 0.5


@contextmanager
def working(words: str, *, shown: bool = True) -> Iterator[None]:
    """Say what is done, until the block ends."""
    if not shown or os.environ.get(SWITCH) == "0":
        yield
        return
    done = threading.Event()
    tell = _turn if sys.stderr.isatty() else _lines
    teller = threading.Thread(target=tell, args=(words, done), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def stages() -> Callable[[str], None]:
    """What says how far something is, when that is other than before and some time has passed."""
    begun = said = time.monotonic()
    before = ""

    def say(words: str) -> None:
        nonlocal before, said
        now = time.monotonic()
        if words == before or now - said < STAGE_SECONDS or os.environ.get(SWITCH) == "0":
            return
        before, said = words, now
        output.note(f"{words}: {now - begun:.0f} s")

    return say


def _lines(words: str, done: threading.Event) -> None:
    begun, pause = time.monotonic(), AFTER_SECONDS
    while not done.wait(pause):
        output.note(f"{words}: {time.monotonic() - begun:.0f} s")
        pause = EVERY_SECONDS


def _turn(words: str, done: threading.Event) -> None:
    begun = time.monotonic()
    if done.wait(AFTER_SECONDS):
        return
    from rich.console import Console  # noqa: PLC0415  it takes a tenth of a second to load
    from rich.markup import escape  # noqa: PLC0415

    with Console(file=sys.stderr, highlight=False, emoji=False).status("") as status:
        while True:
            status.update(f"{escape(words)}: {time.monotonic() - begun:.0f} s")
            if done.wait(_TURN_SECONDS):
                return
