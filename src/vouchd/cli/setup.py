"""`vouchd setup`: an instance set up by its wizard, or by the wizard's answers in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vouchd.api.model import plain
from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.errors import LifecycleError
from vouchd.instance.unconfigured import is_being_set_up
from vouchd.settings.layout import Layout
from vouchd.setup.answers_file import read_answers_file
from vouchd.setup.serving import OpenWizard

CLOSED = 1


def setup(
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="FILE", help="JSON, or an INI as pkispawn has it (0600): all panels' fields."
        ),
    ] = None,
    instance: InstanceOption = DEFAULT_INSTANCE,
    json_output: JsonOption = False,
) -> None:
    """Set an instance up as its wizard does, master or clone, with the answers of a file.

    Every panel's checks come first; then the steps, each of which may be cut short: the same command goes on. The
    wizard's Review offers such a file; docs/operate/setup-wizard.md tells every field. Without --answers this is the
    wizard of an instance that was made with `vouchd create --unconfigured`, in the foreground, until it is done.

    Example: vouchd setup --answers ocsp2.ini --instance /srv/vouchd
    """
    from vouchd.wiring.setup import serve_wizard, set_up  # noqa: PLC0415  the file is read first

    layout = Layout(instance.absolute())
    if answers is not None:
        outcome = plain(set_up(layout, read_answers_file(answers), output.warn, output.note))
        output.record({name: value or None for name, value in outcome.items()}, json_output=json_output)
        return
    if not is_being_set_up(layout):
        raise LifecycleError(
            f"{layout.root}: nothing is to be set up", hint="vouchd create --unconfigured makes what is"
        )
    if not serve_wizard(layout, output.warn):
        output.note("the wizard is closed; what was typed is kept")
        output.hint("vouchd start opens it again, with another PIN")
        raise typer.Exit(CLOSED)


def show_wizard(layout: Layout, opened: OpenWizard, json_output: bool) -> None:
    """Tell where the wizard is."""
    fields = {"instance": str(layout.root), "wizard": opened.url, "fingerprint": opened.fingerprint}
    output.record(fields | {"process": opened.process}, json_output=json_output)
    output.hint("open the URL in a browser, and compare the fingerprint of its certificate; the PIN opens it once")
