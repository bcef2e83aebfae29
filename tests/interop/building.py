"""Programs of the tests in other languages, each compiled once on a host: kept beside what its compilers keep there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp


def build_folder(compiler: str, sources: tuple[Path, ...], build: Callable[[Path], None]) -> Path:
    """The folder into which `build` has put what it makes of the sources with that compiler, now or in a former run."""
    program = Path(shutil.which(compiler) or compiler).resolve()
    state = program.stat()
    parts = [f"{program} {state.st_size} {state.st_mtime_ns}".encode(), *(source.read_bytes() for source in sources)]
    digest = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "vouchd-tests")
    folder = kept / digest
    if not folder.exists():
        kept.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(dir=kept))
        build(draft)
        try:
            draft.rename(folder)
        except OSError:  # somebody else has build_folder the same meanwhile
            shutil.rmtree(draft)
    return folder
