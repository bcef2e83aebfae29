"""From the store's facts to the files that the workers load: index files, then the manifest that names them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from vouchd.core.facts import Authority, Epoch
from vouchd.core.ports import StatusStore
from vouchd.core.status import ServingState
from vouchd.errors import IndexFileError
from vouchd.index.manifest import load_manifest, write_manifest
from vouchd.index.serving import OpenIndexes
from vouchd.instance.report import HeldCRL, ServedPoint, UncoveredCA
from vouchd.processes.watching import Published
from vouchd.service.admitting import Refusal
from vouchd.service.cover import cover_notice
from vouchd.service.indexing import Indexing

_log = logging.getLogger(__name__)

Facts = tuple[tuple[Authority, ...], tuple[Epoch, ...], frozenset[str]]


class ManifestPublication:
    """Keeps the index folder in step with the store; implements `processes.watching.Publication`.

    The version counts on from the manifest on disk, also over restarts. `quiet` is entered to remove files: it gives
    True while nobody accepts a CRL and keeps it so until it is left. `behind` tells the ids of the CAs of which another
    member of the set has a newer CRL: they are not answered for.
    """

    def __init__(
        self,
        store: StatusStore,
        indexing: Indexing,
        directory: Path,
        quiet: Callable[[], AbstractContextManager[bool]],
        behind: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._store = store
        self._indexing = indexing
        self._directory = directory
        self._quiet = quiet
        self._behind = behind
        self._facts: Facts | None = None
        self._published = Published(0)
        self._refusals: tuple[Refusal, ...] = ()
        self._lost: frozenset[str] = frozenset()
        self._files = OpenIndexes(directory)
        self._suspects: set[str] = set()
        self._repairs = 0
        self._quarantined: tuple[HeldCRL, ...] = ()
        self.state = ServingState(0, ())  # what was published last, as the workers load it

    def revision(self) -> int:
        """See Publication."""
        return self._store.revision()

    def current(self) -> Published:
        """See Publication; a damaged manifest or index counts as none, `publish` makes it anew."""
        try:
            self._remember(load_manifest(self._directory, self._files))
        except IndexFileError as error:
            _log.info("nothing to serve yet: %s", error)
        return self._published

    def suspect(self, names: Iterable[str]) -> None:
        """See Publication."""
        self._suspects.update(names)

    @property
    def doubtful(self) -> bool:
        """See Publication."""
        return bool(self._suspects or self._files.damaged)

    def publish(self) -> Published:
        """See Publication; a file of which octets were wrong is made again, and everybody opens it anew."""
        self._suspects |= self._files.damaged
        suspects = frozenset(self._suspects)
        self._indexing.doubt(suspects)
        prepared = self._indexing.prepare()
        if suspects:
            self._repairs += len(suspects)
            self._facts = None
            _log.error("damaged index files, made again from the store: %s", ", ".join(sorted(suspects)))
        self._refusals, self._lost = prepared.refusals, prepared.lost
        labels = {authority.id: authority.label for authority in prepared.authorities}
        self._quarantined = tuple(
            HeldCRL.of(crl, labels.get(crl.issuing_point.authority_id, "")) for crl in self._store.quarantined()
        )
        self._publish(prepared.authorities, prepared.epochs)
        self._published = replace(self._published, quarantined=self._quarantined)
        self._suspects -= suspects
        return self._published

    def retell(self) -> Published:
        """See Publication."""
        return self._published if self._facts is None else self._publish(*self._facts[:2])

    def _publish(self, authorities: tuple[Authority, ...], epochs: tuple[Epoch, ...]) -> Published:
        behind = (self._behind() | self._lost) & {authority.id for authority in authorities}
        if self._facts != (authorities, epochs, behind):
            version = self._published.version + 1
            write_manifest(self._directory, version, authorities, epochs, behind)
            self._remember(load_manifest(self._directory, self._files))
            _log.info("serving manifest %d: %d issuing points", version, len(epochs))
        if self._indexing.admitting is not None:
            self._indexing.admitting.serve(authorities, epochs)
        self._published = replace(self._published, refusals=self._refusals)
        return self._published

    def tidy(self) -> bool:
        """See Publication."""
        with self._quiet() as quiet:
            removed = self._indexing.collect_garbage() if quiet else frozenset()
        if removed:
            _log.info("removed %d index files that nothing names any more", len(removed))
        return quiet

    def _remember(self, state: ServingState) -> None:
        self.state = state
        behind = frozenset(served.authority.id for served in state.authorities if served.behind)
        epochs = [point.epoch for served in state.authorities for point in served.points]
        self._facts = (
            tuple(served.authority for served in state.authorities),
            tuple(sorted(epochs, key=lambda epoch: epoch.issuing_point)),
            behind,
        )
        labels = tuple(sorted((served.authority.id, served.authority.label) for served in state.authorities))
        self._published = Published(
            state.version,
            _points(state),
            behind,
            self._repairs,
            refusals=self._refusals,
            labels=labels,
            quarantined=self._quarantined,
            epochs=self._facts[1],
            uncovered=tuple(_uncovered(state)),
        )


def _uncovered(state: ServingState) -> Iterator[UncoveredCA]:
    for served in state.authorities:
        epochs = [point.epoch for point in served.points]
        if any(epoch.idp_der for epoch in epochs):  # a CRL without it speaks for all
            notice, mend = cover_notice(served.authority, epochs)
            if notice:
                yield UncoveredCA(served.authority.label, notice, mend)


def _points(state: ServingState) -> tuple[ServedPoint, ...]:
    return tuple(
        ServedPoint.of(point.epoch, served.authority.label, len(point.index), point.index.size_bytes)
        for served in state.authorities
        for point in served.points
    )
