"""The wheel and the source distribution of the tree in the current folder; the same tree gives the same octets.

`python scripts/build_python.py OUT` builds them; `… --changes CHANGELOG.md VERSION` prints what is new in it.
"""

from __future__ import annotations

import gzip
import os
import re
import sys
import tarfile
import tempfile
from pathlib import Path

from setuptools import build_meta


def build(out: Path) -> tuple[Path, Path]:
    """Build both into that folder; returns wheel and source distribution."""
    wheel = out / build_meta.build_wheel(str(out))
    with tempfile.TemporaryDirectory() as folder:
        name = build_meta.build_sdist(folder)
        _repack(Path(folder) / name, out / name)
    return wheel, out / name


def _repack(source: Path, target: Path) -> None:
    """The same members in the order of their names, without owner, and at one time: the commit's."""
    at = int(os.environ["SOURCE_DATE_EPOCH"])
    with (
        tarfile.open(source) as original,
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=at) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in sorted(original.getmembers(), key=lambda one: one.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = at, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            archive.addfile(member, original.extractfile(member) if member.isfile() else None)


def changes(text: str, version: str) -> str:
    """The section of that version in the changelog, else that of what is not released yet."""
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    named = next((name for name in sections if name.split()[0] == version), "Unreleased")
    return f"# vouchd {version}\n{sections[named].rstrip()}\n"


if __name__ == "__main__":
    if sys.argv[1] == "--changes":
        sys.stdout.write(changes(Path(sys.argv[2]).read_text("utf-8"), sys.argv[3]))
    else:
        build(Path(sys.argv[1]))
