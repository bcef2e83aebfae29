"""A folder as it was once, to be had again: what many tests begin with is made once for all of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryDirectory


@dataclass(frozen=True, slots=True)
class Image:
    """Folders, and files with what they hold, each with its mode; paths are relative, a folder comes before what is in it."""

    folders: tuple[tuple[Path, int], ...]
    files: tuple[tuple[Path, int, bytes], ...]

    @classmethod
    def of(cls, root: Path) -> Image:
        """Of a folder that nobody uses meanwhile, and that does not name itself: it can be put elsewhere."""
        paths = [root, *sorted(root.rglob("*"))]
        modes = {path: S_IMODE(path.stat().st_mode) for path in paths}
        files = [(path, path.read_bytes()) for path in paths if path.is_file()]
        assert not [path for path, content in files if bytes(root) in content]
        return cls(
            tuple((path.relative_to(root), modes[path]) for path in paths if path.is_dir()),
            tuple((path.relative_to(root), modes[path], content) for path, content in files),
        )

    def put(self, root: Path) -> None:
        """Make it anew at `root`, which may be there with other files in it."""
        for name, mode in self.folders:
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
        for name, mode, content in self.files:
            path = root / name
            path.write_bytes(content)
            path.chmod(mode)


@cache
def image_of(make: Callable[[Path], object]) -> Image:
    """What `make` puts into an empty folder, once in a process, whatever it says meanwhile."""
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        make(Path(folder))
        return Image.of(Path(folder))
