"""`vouchd run`: the instance in the foreground."""

from __future__ import annotations

from vouchd import wiring
from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption
from vouchd.instance.layout import Layout


def run(instance: InstanceOption = DEFAULT_INSTANCE) -> None:
    """Run the instance in the foreground until SIGTERM or Ctrl-C; SIGHUP restarts it without dropping a request.

    Example: vouchd run --instance /srv/vouchd
    """
    wiring.run_instance(Layout(instance.absolute()), warn=output.warn)
