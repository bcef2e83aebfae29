"""`vouchd run`: the instance in the foreground."""

from __future__ import annotations

import os

from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption
from vouchd.instance import lifecycle
from vouchd.instance.unconfigured import is_being_set_up, is_configured, is_under_way
from vouchd.settings.layout import Layout
from vouchd.wiring.manager import run_instance


def run(instance: InstanceOption = DEFAULT_INSTANCE) -> None:
    """Run the instance in the foreground until SIGTERM or Ctrl-C; SIGHUP restarts it without dropping a request.

    Of one that is being set up this is the wizard, and afterwards the instance, in the same process.

    Example: vouchd run --instance /srv/vouchd
    """
    layout = Layout(instance.absolute())
    # Whoever sets it up starts it by this command too, when its keys and settings are there.
    if is_being_set_up(layout) and not (is_under_way(layout) and is_configured(layout)):
        _set_up(layout)
        return
    run_instance(layout, warn=output.warn)


def _set_up(layout: Layout) -> None:
    from vouchd.cli.setup import setup  # noqa: PLC0415  it brings the wizard along

    setup(None, layout.root)
    lifecycle.stop(layout)  # the set-up has started it, beside this process
    command = lifecycle.manager_command(layout)
    os.execv(command[0], command)  # noqa: S606  our own program
