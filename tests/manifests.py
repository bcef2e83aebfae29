"""A manifest of any facts, written as the process that serves writes its first one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from vouchd.core.facts import Authority, Epoch, by_authority
from vouchd.index.manifest import MANIFEST, Difference, ManifestWriter


def write_manifest(
    directory: Path,
    version: int,
    authorities: Iterable[Authority],
    epochs: Iterable[Epoch],
    behind: Collection[str] = (),
) -> Path:
    """Replace the manifest in `directory` by one of these facts; `behind` are the ids of CAs that are late."""
    facts = by_authority(authorities, epochs, behind)
    difference = Difference.between(version, {}, facts, (), facts)
    ManifestWriter(directory).write((0, {}), facts, difference)
    return directory / MANIFEST
