#!/usr/bin/env python3
"""The tables of docs/operate/setup-wizard.md: every panel's fields, made from their declarations in the source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vouchd.setup.fields import Field
from vouchd.setup.panels import ASKING, Panel

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operate" / "setup-wizard.md"
BEGIN, END = "<!-- fields: made by python scripts/setup_answers.py -->\n", "<!-- fields: end -->"


def tables() -> str:
    """A table for each panel that asks something."""
    return "\n".join("".join(f"{line}\n" for line in _table(panel)) for panel in ASKING)


def _table(panel: Panel) -> Iterator[str]:
    yield f"### {panel.name}: `{panel.section}`"
    yield ""
    yield "| field | in the INI | default | what it is |"
    yield "|---|---|---|---|"
    for field in panel.fields:
        yield f"| `{field.name}` | {_ini(field)} | {_default(field)} | {_about(field)} |"


def _ini(field: Field) -> str:
    return ", ".join(f"`{name}`" for name in (field.ini, *field.also))


def _default(field: Field) -> str:
    if field.secret or field.default == "":
        return ""
    value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{value}`"


def _about(field: Field) -> str:
    parts = [f"{field.title}. {field.about}"]
    for value, (words, more) in field.choices.items():
        ini = f" (INI: `{field.words[value]}`)" if value in field.words else ""
        parts.append(f"`{value}`{ini}: {words[:1].lower()}{words[1:]}. {more}")
    if not field.choices and field.options:
        parts.append("One of " + ", ".join(f"`{one}`" for one in field.options) + ".")
    if field.when:
        parts.append(f"With `kind` {' or '.join(f'`{one}`' for one in field.when)}.")
    if field.secret:
        parts.append("A secret: never in a file that the wizard gives away.")
    if field.example and not field.secret:
        parts.append(f"Such as `{field.example}`.")
    return " ".join(parts).replace("|", "\\|")


def with_tables(page: str) -> str:
    """`page` with the tables as they are now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + tables() + "\n" + rest[rest.index(END) :]


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
