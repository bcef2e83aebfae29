"""A child process that is killed at a point it names itself: no sleeps, the pipe says when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def killed_after_saying(word: str, script: str, *arguments: str) -> list[str]:
    """Run Python `script` until it prints `word`, kill it there with SIGKILL; the lines it printed."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,  # never written to: reading it keeps the child where it is
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    lines: list[str] = []
    try:
        for line in child.stdout:
            lines.append(line.strip())
            if lines[-1] == word:
                break
    finally:
        child.send_signal(signal.SIGKILL)
        status = child.wait()
        child.stdin.close()
        child.stdout.close()
    assert lines[-1:] == [word], f"the child ended before it said {word!r}: {lines}"
    assert status == -signal.SIGKILL
    return lines
