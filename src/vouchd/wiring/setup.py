"""The set-up put together: its steps with the operations that they run, and its wizard as a process."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

from vouchd.errors import LifecycleError
from vouchd.hardening import PROGRAM, harden
from vouchd.instance import lifecycle
from vouchd.instance.unconfigured import is_under_way, make_unconfigured, setting_up
from vouchd.processes.supervisor import Supervisor
from vouchd.settings.layout import Layout
from vouchd.setup import serving
from vouchd.setup.carrying_out import CarryingOut, Tools, end_set_up, steps_done
from vouchd.setup.checks import Checks
from vouchd.setup.panels import ASKING, check_all
from vouchd.setup.questionnaire import Answers
from vouchd.setup.serving import OpenWizard
from vouchd.setup.state import KeptAnswers
from vouchd.setup.wizard import Outcome, outcome_of
from vouchd.wiring import instance
from vouchd.wiring import services as wiring

Say = Callable[[str], None]
OPEN_SECONDS = 60.0
_STOP_SECONDS = 60.0


def tools(warn: Say) -> Tools:
    """What the set-up works with; `warn` is told of what is doubtful."""
    return Tools(
        services=wiring.services,
        creation=lambda say: instance.instance_creation(warn, say),
        check=instance.check_instance,
        compare=instance.compare,
    )


def set_up(layout: Layout, answers: Answers, warn: Say, say: Say) -> Outcome:
    """Set the instance in that folder up with these answers, all of which are checked first; goes on with one begun.

    Raises: PanelRefused; what a step raises.
    """
    make_unconfigured(layout)
    checks = Checks(layout)
    with setting_up(layout):
        check_all(checks, answers, steps_done(layout))
        KeptAnswers(layout).keep(answers, frozenset(panel.slug for panel in ASKING))
        CarryingOut(layout, answers, checks, tools(warn), say).run()
        outcome = outcome_of(layout, answers)
        end_set_up(layout)
    return outcome


# The wizard: in this process, or in one of its own.


def serve_wizard(layout: Layout, warn: Say) -> bool:
    """Be the wizard until it is left, closed or told to stop; whether the instance is set up.

    Raises: LifecycleError when another process sets it up, or it cannot listen; ConfigError.
    """
    harden()  # before a secret is typed
    with setting_up(layout):
        return serving.serve(layout, tools(warn), Supervisor(os.environ, os.getpid()))


def wizard_command(layout: Layout) -> list[str]:
    """The command that is the wizard, in the foreground."""
    return [*PROGRAM, "vouchd.cli.main", "setup", "--instance", str(layout.root)]


def start_wizard(layout: Layout) -> OpenWizard:
    """Open the wizard in a process of its own, with a new PIN; one that is open ends. Raises: LifecycleError."""
    stop_wizard(layout)
    (layout.setup / "wizard.json").unlink(missing_ok=True)

    def ready(process: int) -> OpenWizard | None:
        opened = serving.open_wizard(layout)
        return opened if opened is not None and opened.process == process else None

    return lifecycle.launch(wizard_command(layout), layout.setup / "wizard.log", layout, ready, OPEN_SECONDS)


def stop_wizard(layout: Layout) -> bool:
    """End the wizard that is open; whether one was. Raises: LifecycleError when it does not end."""
    if not layout.setup.is_dir() or not is_under_way(layout):
        return False
    opened = serving.open_wizard(layout)
    if opened is None:
        raise LifecycleError(f"{layout.root}: its set-up is under way in another process", hint="finish it there")
    try:
        descriptor = os.pidfd_open(opened.process)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not select.select([descriptor], [], [], _STOP_SECONDS)[0]:
            raise LifecycleError(f"process {opened.process} does not end", hint=f"kill -9 {opened.process}")
    finally:
        os.close(descriptor)
    return True
