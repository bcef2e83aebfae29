"""The lab at a terminal: `python -m tests.dogtag.lab start`, or stop, status, remove, or run with a command's words."""

from __future__ import annotations

import sys

from tests.dogtag.lab import plan
from tests.dogtag.lab.installation import LabUnavailable
from tests.dogtag.lab.lab import Lab
from tests.dogtag.lab.running import running


def main(verb: str = "status", *words: str) -> int:
    """Do it; 1 where the lab cannot be had here."""
    lab = Lab.at_home()
    if verb == "run":
        sys.stdout.write(lab.enclosure.run(*words, check=False) + "\n")
    elif verb == "status":
        for instance in plan.INSTANCES:
            sys.stdout.write(f"{instance.tomcat} {'running' if running(instance) else 'stopped'}\n")
    else:
        getattr(lab, verb)()
    return 0


try:
    sys.exit(main(*sys.argv[1:]))
except LabUnavailable as error:
    sys.exit(f"lab: {error}")
