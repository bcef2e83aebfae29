"""Lines of CS.cfg put in place by the instance itself, without a rehearsal: see `instance.configuration` for people."""

from __future__ import annotations

from collections.abc import Mapping

from vouchd.settings import cs_cfg
from vouchd.settings.layout import Layout
from vouchd.instance.locking import config_lock
from vouchd.signing.files import replace_file


def write_values(layout: Layout, values: Mapping[str, str]) -> bool:
    """Put lines into CS.cfg; whether that changed it. Raises: ConfigError."""
    with config_lock(layout.config_lock):
        before = cs_cfg.read(layout.cs_cfg)
        after = before.with_values(dict(values))
        if after.lines == before.lines:
            return False
        replace_file(layout.cs_cfg, after.render().encode(), 0o600)
        return True
