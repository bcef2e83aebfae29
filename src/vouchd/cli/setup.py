"""`vouchd setup`: an instance set up by its wizard's answers, without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vouchd.api.model import plain
from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.settings.layout import Layout
from vouchd.setup.answers_file import read_answers_file


def setup(
    answers: Annotated[
        Path,
        typer.Option(
            "--answers", metavar="FILE", help="JSON, or an INI as pkispawn has it (0600): every panel's field."
        ),
    ],
    instance: InstanceOption = DEFAULT_INSTANCE,
    json_output: JsonOption = False,
) -> None:
    """Set an instance up as its wizard does, master or clone, with the answers of a file.

    Every panel's checks come first; then the steps, each of which may be cut short: the same command goes on. The
    wizard's Review offers such a file. docs/operate/setup-wizard.md tells every field.

    Example: vouchd setup --answers ocsp2.ini --instance /srv/vouchd
    """
    from vouchd.wiring.setup import set_up  # noqa: PLC0415  the file is read first

    layout = Layout(instance.absolute())
    outcome = plain(set_up(layout, read_answers_file(answers), output.warn, output.note))
    output.record({name: value or None for name, value in outcome.items()}, json_output=json_output)
