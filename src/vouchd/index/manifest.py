"""The serving manifest: what the workers answer from, and what this member has served, so that nothing goes back.

The manager writes it when every index file that it names is there; a worker opens it and the files and nothing else. It
is a journal (`index.journal`): one more CRL among ten thousand CAs costs one line, in the manager and in each worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from vouchd.core import records
from vouchd.core.facts import Authority, AuthorityFacts, Epoch, IssuingPointId, by_authority, in_order
from vouchd.core.status import ServingState
from vouchd.errors import CRLError, IndexFileError, StoreError
from vouchd.files import read_file
from vouchd.index.journal import HINT, MAX_MANIFEST_BYTES, JournalReader, JournalWriter
from vouchd.index.serving import OpenIndexes
from vouchd.service.admitting import Served

MANIFEST = "manifest.log"
_FORMER, _FORMER_FORMAT = "manifest.json", 1  # of earlier versions of this program: the whole alone

T = TypeVar("T")
Facts = Mapping[str, AuthorityFacts]
_NO_FACTS: Facts = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version of the manifest has otherwise than the one before; of `reopened` CAs the files are others."""

    version: int
    authorities: tuple[Authority, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    gone: tuple[IssuingPointId, ...] = ()
    removed: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()  # from now on
    abreast: tuple[str, ...] = ()  # behind until now
    reopened: tuple[str, ...] = ()

    @classmethod
    def between(
        cls, version: int, before: Facts, after: Facts, reopened: Collection[str], ids: Iterable[str]
    ) -> Difference:
        """What differs, of the CAs of these ids."""
        authorities: list[Authority] = []
        epochs: list[Epoch] = []
        gone: list[IssuingPointId] = []
        ids = tuple(ids)
        for each in ids:
            new, old = after.get(each), before.get(each)
            if new is not None:
                known = {epoch.issuing_point: epoch for epoch in old.epochs} if old else {}
                authorities += [new.authority] if old is None or old.authority != new.authority else []
                epochs += [epoch for epoch in new.epochs if known.pop(epoch.issuing_point, None) != epoch]
                gone += known

        def behind(facts: Facts, each: str) -> bool:
            return each in facts and facts[each].behind

        return cls(
            version,
            tuple(authorities),
            tuple(epochs),
            tuple(gone),
            removed=tuple(each for each in ids if each in before and each not in after),
            behind=tuple(each for each in ids if behind(after, each) and not behind(before, each)),
            abreast=tuple(each for each in ids if behind(before, each) and each in after and not behind(after, each)),
            reopened=tuple(sorted(reopened)),
        )

    @property
    def concerned(self) -> frozenset[str]:
        """The ids of the CAs that it is about."""
        return frozenset(
            (
                *(authority.id for authority in self.authorities),
                *(epoch.issuing_point.authority_id for epoch in self.epochs),
                *(point.authority_id for point in self.gone),
                *self.removed,
                *self.behind,
                *self.abreast,
                *self.reopened,
            )
        )

    def applied(self, facts: dict[str, AuthorityFacts]) -> None:
        """Change facts of the version before into those of this one. Raises: KeyError for a CA that is not there."""
        for each in self.removed:
            facts.pop(each, None)
        for authority in self.authorities:
            known = facts.get(authority.id, AuthorityFacts(authority))
            facts[authority.id] = known._replace(authority=authority)
        points: dict[str, dict[IssuingPointId, Epoch | None]] = {}
        for point in self.gone:
            points.setdefault(point.authority_id, {})[point] = None
        for epoch in self.epochs:
            points.setdefault(epoch.issuing_point.authority_id, {})[epoch.issuing_point] = epoch
        for each, changed in points.items():
            epochs = {epoch.issuing_point: epoch for epoch in facts[each].epochs} | changed
            facts[each] = facts[each]._replace(epochs=in_order(filter(None, epochs.values())))
        for ids, mark in ((self.behind, True), (self.abreast, False)):
            for each in ids:
                facts[each] = facts[each]._replace(behind=mark)

    def record(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "version": self.version,
            "authorities": [records.authority_record(authority) for authority in self.authorities],
            "epochs": [records.served_record(epoch) for epoch in self.epochs],
            "gone": [[point.authority_id, point.scope_id] for point in self.gone],
            "removed": self.removed,
            "behind": self.behind,
            "abreast": self.abreast,
            "reopened": self.reopened,
        }

    @classmethod
    def of(cls, record: dict[str, Any]) -> Difference:
        """What such a record says; one that knows more kinds of change is not understood in part."""
        if unknown := record.keys() - set(cls.__slots__):
            raise ValueError(f"unknown changes {sorted(unknown)}")
        return cls(
            int(record["version"]),
            tuple(map(records.read_authority, record["authorities"])),
            tuple(map(records.read_epoch, record["epochs"])),
            tuple(IssuingPointId(*point) for point in record["gone"]),
            tuple(record["removed"]),
            tuple(record["behind"]),
            tuple(record["abreast"]),
            tuple(record["reopened"]),
        )


class ManifestWriter:
    """Writes the manifest in `directory`, which only the process that serves does."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._journal = JournalWriter(directory / MANIFEST)

    def write(self, before: tuple[int, Facts], after: Facts, difference: Difference, *, anew: bool = False) -> None:
        """Have the manifest name what is served `after`, durable on return; `anew`: what is there is not believed.

        `before` is the version and the facts that were served, which differ by `difference`. Raises: StoreUnavailable;
        its version is not to be used again then.
        """
        if not before[0]:
            self._journal.begin(difference.version, _whole(after), alone=True)
        elif self._journal.may_grow and not anew:
            self._journal.add(_line(difference))
        else:
            self._journal.begin(before[0], _whole(before[1]), [_line(difference)], alone=anew)
        with suppress(OSError):
            (self._directory / _FORMER).unlink(missing_ok=True)


class Manifest:
    """The manifest in `directory`, read again and again: each time what has come since."""

    def __init__(self, directory: Path, files: OpenIndexes | None = None) -> None:
        self._path = directory / MANIFEST
        self._journal = JournalReader(self._path)
        self._files = files or OpenIndexes(directory)
        self.version, self.facts = 0, dict[str, AuthorityFacts]()
        self.is_former = False  # written by an earlier version of this program, which may not have judged all

    def load(self, known: Facts = _NO_FACTS) -> ServingState:
        """The state that it names now; of facts that are `known`, and equal to its own, those are in it.

        Raises: IndexFileError when it, or a file that it names, is missing or damaged.
        """
        try:
            reading = self._journal.read(self.version)
        except FileNotFoundError as error:
            return self._former(error)
        facts = dict(self.facts) if reading.whole is None else _read_whole(self._path, reading.whole, known)
        version, concerned, reopened = reading.version, set[str](), set[str]()
        for text in reading.differences:
            difference = _understood(self._path, text, Difference.of)
            if difference.version <= version:
                raise IndexFileError(f"{self._path}: version {difference.version} after {version}", hint=HINT)
            self._apply(difference, facts)
            concerned |= difference.concerned
            reopened.update(difference.reopened)
            version = difference.version
        state = self._opened(version, facts, None if reading.whole is not None else concerned, reopened)
        self.version, self.facts, self.is_former = version, facts, False
        self._journal.keep(reading)
        return state

    def _apply(self, difference: Difference, facts: dict[str, AuthorityFacts]) -> None:
        try:
            difference.applied(facts)
        except KeyError as error:
            raise IndexFileError(f"{self._path}: it has no CA {error}", hint=HINT) from error

    def _former(self, missing: FileNotFoundError) -> ServingState:
        """That of an earlier version of this program, which is written anew with the first change."""
        path = self._path.with_name(_FORMER)
        try:
            text = read_file(path, MAX_MANIFEST_BYTES, error=IndexFileError)
        except FileNotFoundError:
            raise IndexFileError(f"{self._path}: {missing.strerror}", hint=HINT) from missing
        version, facts = _understood(path, text, _read_former)
        state = self._opened(version, facts, None, ())
        self.version, self.facts, self.is_former = version, facts, True
        return state

    def _opened(
        self, version: int, facts: Facts, concerned: Collection[str] | None, reopened: Collection[str]
    ) -> ServingState:
        try:
            return self._files.state(version, facts, concerned, reopened)
        except CRLError as error:  # a scope that cannot be read
            raise IndexFileError(f"{self._path}: {error}", hint=HINT) from error


def load_manifest(directory: Path, files: OpenIndexes | None = None) -> ServingState:
    """The state that the manifest in `directory` names. Raises: IndexFileError."""
    return Manifest(directory, files).load()


def read_served(directory: Path) -> Served:
    """The facts of the manifest, whatever became of the index files; none when there is no manifest that is known."""
    path = directory / MANIFEST
    try:
        reading = JournalReader(path).read(0)
        facts = _read_whole(path, reading.whole or b"{}")
        for text in reading.differences:
            _understood(path, text, lambda record: Difference.of(record).applied(facts))
        return Served(facts, verified=True)
    except FileNotFoundError:
        return _read_former_served(directory)
    except IndexFileError:
        return Served()


def _read_former_served(directory: Path) -> Served:
    try:
        text = read_file(directory / _FORMER, MAX_MANIFEST_BYTES)
        verified = records.from_json(text, lambda record: record.get("verified") is True)
        return Served(_understood(directory / _FORMER, text, _read_former)[1], verified=verified)
    except (FileNotFoundError, StoreError):
        return Served()


def _line(difference: Difference) -> bytes:
    return records.to_json(difference.record()).encode()


def _whole(facts: Facts) -> Iterator[bytes]:
    """The JSON of a whole, a record a piece: those of ten thousand CAs take 60 MiB while they are all there."""
    yield b'{"authorities":['
    yield from _listed(records.authority_record(one.authority) for one in facts.values())
    yield b'],"epochs":['
    yield from _listed(records.served_record(epoch) for one in facts.values() for epoch in one.epochs)
    yield b'],"behind":%b}' % json.dumps([each for each, one in facts.items() if one.behind]).encode()


def _listed(members: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    comma = b""
    for member in members:
        yield comma + records.to_json(member).encode()
        comma = b","


def _read_whole(path: Path, text: bytes, known: Facts = _NO_FACTS) -> dict[str, AuthorityFacts]:
    """The facts of a whole; one that is `known`, as from the store at a start, is not there a second time.

    Each record becomes its fact at once, as those of ten thousand CAs take many times more. Raises: IndexFileError.
    """
    import msgspec  # noqa: PLC0415  commands that read no manifest start without it

    raw, ids = list[msgspec.Raw], frozenset[str]  # records as they stand in it
    form = msgspec.defstruct("Whole", [("authorities", raw), ("epochs", raw), ("behind", ids, frozenset())])
    epochs = {epoch.issuing_point: epoch for one in known.values() for epoch in one.epochs}

    def authority(text: msgspec.Raw) -> Authority:
        read = records.from_json(bytes(text), records.read_authority)
        same = known[read.id].authority if read.id in known else None
        return same if same == read and same is not None else read

    def epoch(text: msgspec.Raw) -> Epoch:
        read = records.from_json(bytes(text), records.read_epoch)
        same = epochs.get(read.issuing_point)
        return same if same == read and same is not None else read

    try:
        whole: Any = msgspec.json.decode(text, type=form)
        return by_authority(map(authority, whole.authorities), map(epoch, whole.epochs), whole.behind)
    except (msgspec.DecodeError, StoreError, CRLError, ValueError) as error:
        raise IndexFileError(f"{path}: damaged: {type(error).__name__}: {error}", hint=HINT) from error


def _read_former(record: dict[str, Any]) -> tuple[int, dict[str, AuthorityFacts]]:
    if record["format"] != _FORMER_FORMAT:
        raise ValueError(f"format {record['format']} is not known")
    facts = by_authority(
        map(records.read_authority, record["authorities"]),
        map(records.read_epoch, record["epochs"]),
        frozenset(record.get("behind", ())),
    )
    return int(record["version"]), facts


def _understood(path: Path, text: bytes, read: Callable[[dict[str, Any]], T]) -> T:
    try:
        return records.from_json(text, read)
    except (StoreError, CRLError) as error:
        raise IndexFileError(f"{path}: {error}", hint=HINT) from error
