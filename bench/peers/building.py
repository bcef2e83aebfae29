"""Where built responders are kept: below VOUCHD_PEERS, else the user's cache folder; never in the repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from bench.peers.peer import Unavailable

GO = Path(__file__).parent / "go"  # go.mod names the versions, go.sum the hashes
_BUILD_SECONDS = 1800


def cache() -> Path:
    """The folder, made where it is not there."""
    folder = Path(os.environ.get("VOUCHD_PEERS") or Path.home() / ".cache" / "vouchd-peers")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def version_in_go(module: str) -> str:
    """The version of a module that is pinned.

    Raises:
        KeyError: none is.
    """
    lines = (GO / "go.mod").read_text(encoding="utf-8").splitlines()
    return {words[0]: words[1] for words in map(str.split, lines) if len(words) > 1}[module]


def program(package: str) -> Path:
    """Where the program of a Go package is kept: another place as soon as anything of what is pinned is another."""
    pins = hashlib.sha256((GO / "go.mod").read_bytes() + (GO / "go.sum").read_bytes()).hexdigest()
    return cache() / f"{package.rpartition('/')[2]}-{pins[:16]}"


def built_by_go(package: str) -> Path:
    """The program of a Go package, built where it is not kept yet.

    Raises:
        Unavailable: with what Go said last.
    """
    kept = program(package)
    if kept.exists():
        return kept
    if not shutil.which("go"):
        raise Unavailable("it is built by Go, which is not here")
    print(f"building {package}, once; it takes some minutes", flush=True)
    made = kept.with_suffix(f".{os.getpid()}")
    # Without C: cfssl has a database driver in it that it does not need here, and that takes longer than all the rest.
    command = ["nice", "env", "CGO_ENABLED=0", "go", "build", "-C", str(GO), "-p", "2", "-mod=readonly", "-trimpath"]
    command += ["-o", str(made), package]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_BUILD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"its building did not end in {_BUILD_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines() or [""]
        raise Unavailable(f"it cannot be built: {words[-1]}") from error
    made.rename(kept)
    return kept
