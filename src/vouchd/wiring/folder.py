"""An instance as a command sees it that works on its folder: told by its PID file, its serving report, its manifest."""

from __future__ import annotations

import http.client
import json
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from vouchd.api.checks import Check
from vouchd.api.services import SETTLE_SECONDS
from vouchd.core.facts import Epoch
from vouchd.core.ports import Store
from vouchd.core.status import ServingState
from vouchd.ee.counters import Snapshot
from vouchd.errors import LifecycleError
from vouchd.index.manifest import load_manifest
from vouchd.index.serving import open_state
from vouchd.instance import lifecycle
from vouchd.instance.certificates.signers import known_signers
from vouchd.instance.report import InstanceReport
from vouchd.service.explaining import TRY_LATER, Explanation, Signers, explain
from vouchd.service.indexing import Indexing
from vouchd.service.pulling import SourceState
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.reading import active_settings, read_settings

_TIMEOUT_SECONDS = 10
_MAX_BYTES = 1 << 20

Hint = Callable[[str], None]


class FolderRunning:
    """See api.services.Running, for the instance in a folder, whether it runs or not.

    `store` and `indexing` are opened when they are first asked for; `check` tries what a start would; `hint` is told
    how to go on where a change waits for the next start.
    """

    def __init__(
        self,
        layout: Layout,
        store: Callable[[], Store],
        indexing: Callable[[], Indexing],
        check: Callable[[], object],
        hint: Hint,
    ) -> None:
        self._layout = layout
        self._store = store
        self._indexing = indexing
        self._check = check
        self._hint = hint

    def pid(self) -> int | None:
        """The manager process, None while there is none. Raises: LifecycleError where the folder holds no instance."""
        lifecycle.require_instance(self._layout)
        return lifecycle.status(self._layout).pid

    def report(self) -> InstanceReport:
        """What is served now, as the instance has written it down. Raises: LifecycleError."""
        now = lifecycle.status(self._layout)
        if now.report is None:
            raise LifecycleError(
                "the instance is starting" if now.pid else "the instance does not run", hint="look at: vouchd status"
            )
        return now.report

    def _serves(self) -> bool:
        return lifecycle.status(self._layout).report is not None

    def checks(self) -> tuple[Check, ...]:
        """The readiness checks, from the health port of this host; none while the instance does not run."""
        if not self._serves():
            return ()
        host, port = self.report().health
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/readyz")
            records = json.loads(connection.getresponse().read(_MAX_BYTES))["checks"]
            return tuple(Check(**one) for one in records)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            return (Check("health port", ok=False, detail=f"does not answer: {error}"),)
        finally:
            connection.close()

    def snapshot(self) -> Snapshot:
        """Raises: LifecycleError, since only the instance itself can add its workers' counters."""
        raise LifecycleError(
            "the figures are told by the running instance", hint="ask its agent port with --url, or /metrics"
        )

    def fetch(self, source: str) -> SourceState:
        """Have the running instance ask that source now. Raises: NotFound, LifecycleError."""
        return lifecycle.fetch_now(self._layout, source)

    def restart(self) -> None:
        """Have the running instance restart, after all that a start would check. Raises: VouchdError."""
        self._check()
        if not lifecycle.ask_restart(self._layout):
            raise LifecycleError("the instance does not run", hint="start it with `vouchd start`")

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Stop a running instance first. Raises: LifecycleError."""
        lifecycle.stop(self._layout)
        yield

    def settle(self, within_seconds: float = SETTLE_SECONDS, epochs: Sequence[Epoch] = ()) -> bool:
        """Have a running instance take the change up and wait; a hint says why these epochs are not served then."""
        if not lifecycle.look_now(self._layout):
            self._hint("the instance does not run; start it with `vouchd start`")
            return False
        if not within_seconds:
            return False
        try:
            lifecycle.wait_until_caught_up(self._layout, self._store().revision(), seconds=within_seconds)
            lifecycle.wait_until_served(self._layout, epochs, seconds=0)
        except LifecycleError as error:
            self._hint(f"{error}; {error.hint}")
            return False
        return True

    def state(self) -> ServingState:
        """What is answered from: the manifest of the running instance, else one made of the store as a start does."""
        if self._serves():
            return load_manifest(self._layout.index)
        return open_state(self._indexing().prepare(), self._layout.index)

    def explain(self, authority_id: str, serial: bytes, at: int, key: str) -> Explanation:
        """Why that serial is answered as it is."""
        settings = active_settings(self._layout) if self._serves() else read_settings(self._layout)
        explanation = explain(
            self.state(),
            settings.responder,
            _ready_signers(settings),
            authority_id=authority_id,
            serial=serial,
            at=at,
            key=key,
        )
        self._warn(explanation)
        return explanation

    def _warn(self, explanation: Explanation) -> None:
        """Say that the CA may be answered tryLater whatever its CRLs say: of each the running instance alone knows."""
        report, authority = lifecycle.status(self._layout).report, explanation.authority
        if report is None or authority is None or explanation.answer == TRY_LATER:
            return
        if report.starting:
            self._hint(f"{report.starting} since the start; until this one is, it is answered tryLater")
        for part in report.failing:
            if part.ca == authority.label:
                self._hint(f"{part.part}: {part.cause}")


def _ready_signers(settings: Settings) -> Signers:
    known = known_signers(settings)
    certificates = {name: der for name, der in known.certificates.items() if der is not None}
    return Signers(SignerCertificates(certificates), known.default)


# The operating system's account that this process runs under.


def user_name() -> str:
    """Its name, or `uid N` for one without an entry."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user
        return f"uid {os.getuid()}"
