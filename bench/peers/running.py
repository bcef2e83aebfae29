"""A responder's process from its start to its end, whatever happens meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.peer import Unavailable

_GOOD_ORDER_SECONDS = 10


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[int]:
    """Its process id; what it says is kept in the folder.

    Raises:
        Unavailable: it cannot be started, or the block found that it does not answer; with its last words.
    """
    said = folder / "said"
    with said.open("w") as output:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder)
        except OSError as error:
            raise Unavailable(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        yield child.pid
    except Unavailable as error:
        words = said.read_text(errors="replace").strip().splitlines()[-1:]
        raise Unavailable("; ".join([str(error), *words])) from error
    finally:
        child.terminate()
        try:
            child.wait(_GOOD_ORDER_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
