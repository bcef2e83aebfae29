"""The entry point of a worker process: `python -m vouchd.cli.worker INSTANCE SLOT`; the manager process starts it."""

from __future__ import annotations

import sys
from pathlib import Path

from vouchd.cli import output
from vouchd.errors import VouchdError
from vouchd.settings.layout import Layout
from vouchd.wiring.worker import run_worker


def main(arguments: list[str]) -> int:
    """Run the worker of a slot until it is told to drain; returns the exit code."""
    instance, slot = arguments
    try:
        run_worker(Layout(Path(instance)), int(slot))
    except VouchdError as error:
        return output.fail(error)
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
