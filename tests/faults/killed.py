"""A child process that is killed at a point it names itself: no sleeps, the pipe says when."""

from __future__ import annotations

import signal
import subprocess

from tests.commands import ROOT, start_python


def killed_after_saying(word: str, script: str, *arguments: str) -> list[str]:
    """Run Python `script` until it prints `word`, kill it there with SIGKILL; the lines it printed."""
    # Nothing is written to its input: reading it keeps the child where it is.
    child = start_python(script, *arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
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
