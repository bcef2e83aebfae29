"""Options that belong together are one parameter of a verb, and each by itself on the command line."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from vouchd.cli.options import spread


@dataclass(frozen=True, slots=True)
class Size:
    """A group of options."""

    width: Annotated[int, typer.Option("--width", help="Across.")] = 2
    height: Annotated[int, typer.Option("--tall", help="Upwards.")] = 3


@spread
def area(
    name: Annotated[str, typer.Argument(help="Whose.")], *, size: Size, twice: Annotated[bool, typer.Option()] = False
) -> None:
    """Tell an area."""
    typer.echo(f"{name} {size.width * size.height * (1 + twice)}")


def test_group_of_options_stands_in_the_place_of_its_parameter():
    """Help and reference show the options in the order in which the verb names their groups."""
    assert list(inspect.signature(area).parameters) == ["name", "width", "height", "twice"]


def test_verb_gets_its_group_filled_from_the_command_line():
    """What was not given has the default that the group declares."""
    app = typer.Typer()
    app.command()(area)
    assert CliRunner().invoke(app, ["hall", "--tall", "5", "--twice"]).output == "hall 20\n"
