"""The documentation of CS.cfg is the table of known keys."""

from __future__ import annotations

from pathlib import Path

from vouchd.settings.declared import KNOWN
from vouchd.settings.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "use" / "configuration.md"


def test_configuration_page_holds_the_reference():
    """Every key with its kind, default and meaning stands in docs/use/configuration.md, word for word."""
    assert PAGE.read_text(encoding="utf-8").endswith(reference())


def test_known_keys_are_declared_once():
    """No key has two declarations."""
    names = [known.name for known in KNOWN]
    assert len(names) == len(set(names))


def test_known_keys_are_documented_with_a_sentence():
    """Each key says what it means."""
    assert [known.name for known in KNOWN if not known.about.endswith(".")] == []
