"""A change in an instance's store, and its way to the workers: the running instance is told and waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from vouchd.api.operation import LONGEST_WAIT_SECONDS
from vouchd.cli import output
from vouchd.cli.instance import Folder, Instance
from vouchd.core.facts import Epoch
from vouchd.errors import LifecycleError
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout

WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until every worker answers from it.")]


def changed(layout: Layout, epochs: Sequence[Epoch] = (), *, wait: bool = True) -> bool:
    """Have a running instance take the change up; whether `epochs` are served now, with a hint where they are not."""
    if not lifecycle.look_now(layout):
        output.hint("the instance does not run; start it with `vouchd start`")
        return False
    if wait and epochs:
        try:
            lifecycle.wait_until_served(layout, epochs)
        except LifecycleError as error:
            output.hint(f"{error}; {error.hint}")
            return False
    return wait


def seconds_to_wait(wait: bool) -> int:
    """What the operations take as `wait` for what `--wait` says."""
    return LONGEST_WAIT_SECONDS if wait else 0


def warn_unserved(instance: Instance, served: bool, *, wait: bool) -> None:
    """Say that a running instance was waited for in vain; on a folder the operation does."""
    if wait and not served and not isinstance(instance, Folder):
        output.warn("the CRL is stored, and not every worker answers from it yet", "look at: vouchd status")
