"""The reference of CS.cfg in Markdown, made from the table of known keys: `python -m vouchd.settings.reference`."""

from __future__ import annotations

import sys

from vouchd.settings.declared import KNOWN
from vouchd.settings.keys import KnownKey


def reference() -> str:
    """Two Markdown tables: the keys that have an effect, and those that are accepted with a warning."""
    active = [known for known in KNOWN if not known.inert]
    inert = [known for known in KNOWN if known.inert]
    lines = ["| key | value | default | shared | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{known.name}` | {known.accepts} | {_default(known)} | {_shared(known)} | {_cell(known.about)} |"
        for known in active
    ]
    lines += ["", "Accepted with a warning, because they have no effect here:", ""]
    lines += ["| key | instead |", "|---|---|"]
    lines += [f"| `{known.name}` | {_cell(known.about)} |" for known in inert]
    return "\n".join(lines) + "\n"


def _default(known: KnownKey) -> str:
    text = known.kind.write(known.default)
    return f"`{text}`" if text else "empty"


def _shared(known: KnownKey) -> str:
    return "yes" if known.shared else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    sys.stdout.write(reference())
