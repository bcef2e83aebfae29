"""The files of its own certificates that a manager process goes by: those of its start, and what it has taken on since.

CS.cfg may name others meanwhile, which count from the next start on. A certificate that renews itself is taken on at
once: whoever has it in memory listens, and whoever reads its files asks here which they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vouchd.instance.certificates.places import AUDIT_SIGNING, FIXED, SSLSERVER, SUBSYSTEM
from vouchd.settings import cs_cfg
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings, write_active

_TAKEN: dict[str, Callable[[Settings, Settings], Settings]] = {
    SSLSERVER: lambda now, fresh: replace(now, agent=replace(now.agent, tls=fresh.agent.tls)),
    SUBSYSTEM: lambda now, fresh: replace(now, subsystem=fresh.subsystem),
    AUDIT_SIGNING: lambda now, fresh: replace(now, audit_signing=fresh.audit_signing),
}
RENEWED = tuple(_TAKEN)  # the certificates that a member renews by itself


class CertificatesInUse:
    """Used by several threads; `now` may be called for each use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: dict[str, list[Callable[[Settings], None]]] = {}

    def now(self) -> Settings:
        """The settings of the start, with the files in use."""
        return self._settings

    def listen(self, act: Callable[[Settings], None], *names: str) -> None:
        """Call `act` when one of these certificates is taken on."""
        for name in names:
            self._listeners.setdefault(name, []).append(act)

    def take_on(self, layout: Layout, name: str) -> None:
        """Go by what CS.cfg names. It may be called again, and does then what failed. Raises: as a listener does."""
        self._settings = _TAKEN[name](self._settings, read_settings(layout))
        for act in self._listeners.get(name, []):
            act(self._settings)
        if layout.active_cs_cfg.exists():  # by which workers and self tests go
            written, active = cs_cfg.read(layout.cs_cfg), cs_cfg.read(layout.active_cs_cfg)
            keys = [f"{FIXED[name][1]}.{part}" for part in ("key", "certificate")]
            lines = {key: written.assignments[key].text for key in keys if key in written.assignments}
            write_active(layout, active.with_values(lines))
