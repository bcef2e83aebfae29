"""The table of events in docs/operate/audit.md holds the events that the code records."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVENT = re.compile(r"[A-Z]+(_[A-Z]+)*")
NAMING = re.compile(rf"""= \(?\s*["']{EVENT.pattern}["']|\.record\(|\bEntry\(""")


def modules() -> list[ast.Module]:
    """Those that record something, or give a name to a text that looks like an event."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    return [ast.parse(text) for text in texts if NAMING.search(text)]


def constants(trees: list[ast.Module]) -> dict[str, str]:
    """Module-level names that stand for a text which looks like an event."""
    values: dict[str, str] = {}
    for module in trees:
        for node in module.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                text = node.value.value
                if isinstance(text, str) and EVENT.fullmatch(text):
                    values.update({target.id: text for target in node.targets if isinstance(target, ast.Name)})
    return values


def texts(node: ast.expr, known: dict[str, str]) -> Iterator[str]:
    """What an argument may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in known:
        yield known[node.id]
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body, known)
        yield from texts(node.orelse, known)


def recorded() -> set[str]:
    """The events in calls of `….record(EVENT, …)` and `Entry(time, EVENT, …)`."""
    trees = modules()
    known = constants(trees)
    events: set[str] = set()
    for module in trees:
        for node in ast.walk(module):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute) and node.func.attr == "record" and len(node.args) > 2:
                events |= set(texts(node.args[0], known))
            elif isinstance(node.func, ast.Name) and node.func.id == "Entry" and len(node.args) == 5:
                events |= set(texts(node.args[1], known))
    return events


def documented() -> set[str]:
    text = (ROOT / "docs" / "operate" / "audit.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))


def test_every_event_is_in_the_table():
    """Who reads the log finds what each event means."""
    events = recorded()
    assert len(events) > 15
    assert not events - documented()
