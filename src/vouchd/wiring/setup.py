"""The set-up put together: its steps with the operations that they run."""

from __future__ import annotations

from collections.abc import Callable

from vouchd.instance.unconfigured import make_unconfigured, setting_up
from vouchd.settings.layout import Layout
from vouchd.setup.carrying_out import CarryingOut, Tools, end_set_up, steps_done
from vouchd.setup.checks import Checks
from vouchd.setup.kept import KeptAnswers
from vouchd.setup.outcome import Outcome, outcome_of
from vouchd.setup.panels import ASKING, check_all
from vouchd.setup.questionnaire import Answers
from vouchd.wiring import instance

Say = Callable[[str], None]


def tools(warn: Say) -> Tools:
    """What the set-up works with; `warn` is told of what is doubtful."""
    return Tools(
        services=instance.services,
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
