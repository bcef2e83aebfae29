"""`vouchd run`: the instance in the foreground."""

from __future__ import annotations

from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption
from vouchd.settings.layout import Layout
from vouchd.wiring.manager import run_instance


def run(instance: InstanceOption = DEFAULT_INSTANCE) -> None:
    """Run the instance in the foreground until SIGTERM or Ctrl-C; SIGHUP restarts it without dropping a request.

    Example: vouchd run --instance /srv/vouchd
    """
    run_instance(Layout(instance.absolute()), warn=output.warn)
