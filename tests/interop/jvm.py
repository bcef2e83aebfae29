"""A Java machine that stays: to start one for each question costs more than all that it is asked."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

_QUICK = ("-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class Jvm:
    """Runs the programs among these classes, one after the other; `properties` are the machine's."""

    def __init__(self, classes: Path, **properties: object) -> None:
        options = [f"-D{name}={value}" for name, value in properties.items()]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            ["java", *_QUICK, *options, "-cp", classes, "Programs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def said(self, program: str, *words: object) -> list[str]:
        """The lines that a program prints, an exception among them."""
        with self._lock:
            self._process.stdin.write("\t".join([program, *map(str, words)]).encode() + b"\n")
            self._process.stdin.flush()
            octets = int(self._process.stdout.readline())
            return self._process.stdout.read(octets).decode().splitlines()

    def end(self) -> None:
        """It ends when nobody orders any more."""
        self._process.communicate(timeout=60)
