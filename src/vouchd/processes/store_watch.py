"""The store watch: whatever changes in the store becomes files that the workers load.

One task looks at the store's revision, a number that rises with every change by anyone, five times a second, once a
second where the store tells of changes itself, and whenever somebody says that there is something to see (`look_now`).
How it works:

    revision as before  ->  nothing, but old files are removed once every worker has loaded the present ones
    revision differs    ->  publish: facts of one revision, index files, manifest; then the workers are told
    store away          ->  what was published stays; a manifest is written only to say which CAs are late

Why this is right:

- Nothing is missed. The revision is read before the facts, so a change while they are read is seen by the next look;
  `prepare` reads it again afterwards, so the facts are those of one revision. A push notice (a persistent search of the
  directory) makes a look come sooner and is never relied upon.
- Nothing is forgotten. A look that was asked for and failed is still wanted: `_forced` is set again, and the revision
  counts as seen by the workers' files only when they were written.
- Nothing is done twice at a time. One task looks, each look ends before the next one begins, and it blocks no loop: the
  work is done in a thread.
- Who waits waits for the right look. `caught_up` waits for one that began after the call: the one under way may have
  read the revision before the change that the caller has just made.
- No failure ends it. An error of ours is shown and tried again, ever more slowly up to ten seconds; a bug is logged and
  treated alike. That something newer is known and not served is the watermark's to say, which does not go through here.
- What takes long holds up no look: deltas that have stood for some time are folded into their bases by a task beside.
- Files are removed only when every worker answers from the newest manifest, the start is proved and no CRL is being
  taken in: a file that an older manifest names, or that the next one will, is never pulled away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from vouchd.core.facts import Epoch
from vouchd.errors import VouchdError
from vouchd.instance.report import HeldCRL, ServedPoint, UncoveredCA
from vouchd.service.admitting import Refusal
from vouchd.threads import in_thread

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
NOTIFIED_POLL_SECONDS = 1.0  # of a store that tells of changes, when it can
_LONGEST_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Published:
    """The serving manifest now on disk: its version (0: there is none yet) and the issuing points in it.

    `behind` are the ids of the CAs that it says to be behind another member. `repairs` counts the index files that
    turned out to be damaged and were made again since this process began. `refusals` are of the epochs that the store
    has and this member does not serve. `labels` are those of the CAs by id, `quarantined` the CRLs that the store held
    back when it was read last. `epochs` are those that the manifest names, by the CA's id. `uncovered` are the CAs
    whose CRLs do not speak for every certificate. `changed` are the ids of the CAs that the manifest of version
    `former` has otherwise; None: any may be.
    """

    version: int
    points: tuple[ServedPoint, ...] = ()
    behind: frozenset[str] = frozenset()
    repairs: int = 0
    refusals: tuple[Refusal, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    quarantined: tuple[HeldCRL, ...] = ()
    epochs: Mapping[str, tuple[Epoch, ...]] = field(default_factory=dict)
    uncovered: tuple[UncoveredCA, ...] = ()
    former: int = 0
    changed: frozenset[str] | None = None


class Publication(Protocol):
    """Makes files of the store's facts. Blocking; called by one caller at a time."""

    def revision(self) -> int:
        """The store's revision. Raises: StoreError."""

    def current(self) -> Published:
        """What an earlier process published, without asking the store."""

    def publish(self) -> Published:
        """See to it that the index files and the manifest on disk are those of the store's present facts.

        Returns the version on disk, unchanged when nothing changed. Raises: VouchdError; then the earlier files stand.
        """

    def suspect(self, names: Iterable[str]) -> None:
        """Look at these index files when next publishing: what a worker read of them was not what was written."""

    def suspect_all(self, *, manifest: bool = False) -> None:
        """Look at every index file when next publishing, and write the manifest anew where that is to be doubted."""

    @property
    def doubtful(self) -> bool:
        """Whether there are such files, some that are to be opened anew, or a refusal that may have passed."""

    def retell(self) -> Published:
        """Publish once more what was published last, with what is behind another member now; the store is not asked."""

    @property
    def has_folds(self) -> bool:
        """Whether there are deltas that have stood for so long that they are to be folded; costs nothing."""

    def fold(self) -> bool:
        """Put deltas that have stood for some time into their bases; whether there were any.

        It takes its time, and may be called while the others are; what it made is published with the next `publish`.
        """

    def tidy(self) -> bool:
        """Remove the files that only earlier versions name; every worker has loaded the present one.

        False when that has to wait, because a CRL is being taken in.
        """


class StoreWatch:
    """Looks at the store's revision every `poll_seconds` and whenever it is told to."""

    def __init__(
        self,
        publication: Publication,
        published: Callable[[Published], None],
        changed: Callable[[], None],
        loaded: Callable[[], bool],
        refresh_seconds: int = 0,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`loaded` tells whether every worker answers from what was published last.

        `refresh_seconds`: publish at least this often, changed or not (refreshInSec); 0: only after a change.
        """
        self._publication = publication
        self._on_published = published
        self.published = publication.current()
        self._changed = changed
        self._loaded = loaded
        self._refresh_seconds = refresh_seconds
        self._poll_seconds = poll_seconds
        self._look = asyncio.Event()
        self._revision: int | None = None
        self._seen = -1  # the revision that was read last, published or not
        self._begun = self._done = 0  # looks at the store
        self._looked = asyncio.Condition()
        self._forced = False
        self._untidy = False
        self._refreshed = 0.0
        self._folding: asyncio.Task[None] | None = None
        self.error = ""

    def begin(self) -> None:
        """Publish before `run`, so that all of a start goes by the same facts; where it fails, `run` does it anew."""
        try:
            revision = self._publication.revision()
            self.published = self._publication.publish()
            self._revision, self._refreshed, self._untidy = revision, asyncio.get_running_loop().time(), True
        except VouchdError:
            pass  # `run` says so
        except Exception:  # noqa: BLE001  as in `run`
            _log.exception("the first publication failed")

    def look_now(self) -> None:
        """Publish without waiting for the revision to differ."""
        self._forced = True
        self._look.set()

    def suspect(self, names: Iterable[str]) -> None:
        """Have index files made again that a worker found damaged."""
        self._publication.suspect(names)
        self.look_now()

    def mend(self) -> None:
        """Have every index file looked at: a worker could not load what was published."""
        self._publication.suspect_all(manifest=True)
        self.look_now()

    async def caught_up(self) -> None:
        """Wait until what is in the store at the time of this call is published."""
        target = self._begun + 1  # the look under way may have begun before the change
        self.look_now()
        async with self._looked:
            await self._looked.wait_for(lambda: self._done >= target)

    async def newer_than(self, revision: int) -> None:
        """Wait until the store has a higher revision, as far as this watch has looked."""
        async with self._looked:
            await self._looked.wait_for(lambda: self._seen > revision)

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            self._look.clear()
            self._begun += 1
            try:
                await self._step()
                await self._show_done(self._begun)
                failures = 0
                self._show("")
            except VouchdError as error:
                failures += 1
                await self._retell()
                self._show(str(error))
            except Exception:  # noqa: BLE001  outermost: a bug here must not stop the watch
                failures += 1
                _log.exception("the store watch failed")
                self._show("internal error, see the log")
            retry = min(POLL_SECONDS * 2 ** min(failures, 10), _LONGEST_RETRY_SECONDS)
            await self._rest(retry if failures else self._poll_seconds)

    async def _step(self) -> None:
        revision = await in_thread(self._publication.revision)
        await self._show_seen(revision)
        now = asyncio.get_running_loop().time()
        due = bool(self._refresh_seconds) and now - self._refreshed >= self._refresh_seconds
        if due:
            self._publication.suspect_all()
        if revision == self._revision and not self._forced and not self._publication.doubtful:
            await self._tidy()
            self._fold()
            return
        self._untidy, self._forced = True, False
        try:
            await self._publish()
        except BaseException:
            self._forced = True  # still wanted
            raise
        self._revision, self._refreshed = revision, now

    @property
    def revision(self) -> int:
        """The store's revision that was published last, -1 before the first one."""
        return -1 if self._revision is None else self._revision

    async def _publish(self) -> None:
        self.published = await in_thread(self._publication.publish)
        self._on_published(self.published)

    async def _retell(self) -> None:
        """The store is away: that others have newer CRLs is told all the same."""
        try:
            published = await in_thread(self._publication.retell)
        except Exception as error:  # noqa: BLE001  here too: a bug must not stop the watch
            if not isinstance(error, VouchdError):
                _log.exception("the store watch failed")
            self._changed()  # what cannot be published may matter more by now
            return
        if published != self.published:
            self.published = published
            self._on_published(published)
            self._changed()

    async def _show_seen(self, revision: int) -> None:
        if revision != self._seen:
            async with self._looked:
                self._seen = revision
                self._looked.notify_all()

    async def _show_done(self, number: int) -> None:
        async with self._looked:
            self._done = number
            self._looked.notify_all()

    async def _tidy(self) -> None:
        """Not while a file is being made that nothing names yet."""
        if self._untidy and self._folding is None and self._loaded():
            self._untidy = not await in_thread(self._publication.tidy)

    def _fold(self) -> None:
        """Beside the looks, which it would hold up."""
        if self._folding is None and self._publication.has_folds:
            self._folding = asyncio.create_task(self._folded())

    async def _folded(self) -> None:
        try:
            await in_thread(self._publication.fold)
        except Exception:  # noqa: BLE001  as in `run`
            _log.exception("deltas cannot be folded into their bases")
        finally:
            self._folding = None

    def _show(self, error: str) -> None:
        if error != self.error:
            if error:
                _log.error("store: %s", error)
            else:
                _log.info("store: can be reached again")
            self.error = error
            self._changed()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._look.wait()
