"""The serving manifest: what the workers answer from, in one small JSON file that is replaced as a whole.

The manager writes it when every index file that it names is there; a worker opens it and the files and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vouchd.core import records
from vouchd.core.facts import Authority, Epoch
from vouchd.core.status import ServingState
from vouchd.errors import CRLError, IndexFileError, StoreError
from vouchd.files import replace_file
from vouchd.index.serving import OpenIndexes
from vouchd.service.admitting import Served

MANIFEST = "manifest.json"
FORMAT = 1
_HINT = "restart the instance: it writes the manifest anew from the store"


def write_manifest(
    directory: Path,
    version: int,
    authorities: Iterable[Authority],
    epochs: Iterable[Epoch],
    behind: Iterable[str] = (),
) -> Path:
    """Replace the manifest in `directory` by one of these facts, durable on return; `version` is the caller's count.

    `behind` are the ids of CAs that are not answered for, because another member of the set has a newer CRL.

    Raises: StoreUnavailable.
    """
    manifest = {
        "format": FORMAT,
        "version": version,
        "authorities": [records.authority_record(authority) for authority in authorities],
        "epochs": [records.epoch_record(epoch) for epoch in epochs],
        "behind": sorted(behind),
        "verified": True,
    }
    path = directory / MANIFEST
    replace_file(path, json.dumps(manifest, indent=1).encode())
    return path


def read_served(directory: Path) -> Served:
    """The facts of the manifest, whatever became of the index files; none when there is no manifest of this format."""
    try:
        text = (directory / MANIFEST).read_bytes()
        return records.from_json(text, _served)
    except (OSError, StoreError, CRLError):
        return Served()


def _served(manifest: dict[str, Any]) -> Served:
    if manifest["format"] != FORMAT:
        return Served()
    return Served(
        tuple(records.read_authority(record) for record in manifest["authorities"]),
        tuple(records.read_epoch(record) for record in manifest["epochs"]),
        verified=manifest.get("verified") is True,
    )


def load_manifest(directory: Path, files: OpenIndexes | None = None) -> ServingState:
    """The state that the manifest in `directory` names; `files` keeps its index files open for the next one.

    Raises: IndexFileError when the manifest or a file that it names is missing or damaged.
    """
    path = directory / MANIFEST
    opened = files or OpenIndexes(directory)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise IndexFileError(f"{path}: {error.strerror}", hint=_HINT) from error
    try:
        return records.from_json(text, lambda manifest: _state(path, manifest, opened))
    except IndexFileError:
        raise
    except (StoreError, CRLError) as error:
        raise IndexFileError(f"{path}: {error}", hint=_HINT) from error


def _state(path: Path, manifest: dict[str, Any], files: OpenIndexes) -> ServingState:
    if manifest["format"] != FORMAT:
        raise IndexFileError(f"{path}: format {manifest['format']} is not known", hint=_HINT)
    return files.state(
        int(manifest["version"]),
        [records.read_authority(record) for record in manifest["authorities"]],
        [records.read_epoch(record) for record in manifest["epochs"]],
        frozenset(manifest.get("behind", ())),
    )
