"""What reads a command line, made once for each verb: tests say hundreds of lines to it, a user one.

Making it takes longer than most of what is done by it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from typer.main import get_command

from vouchd.cli import main


def keep() -> None:
    """Have this process keep the reader of each verb, with what it has made for each option."""
    made = main.command_line

    @cache
    def reader(verb: str = "") -> Callable[..., Any]:
        return get_command(made(verb))

    main.command_line = reader
