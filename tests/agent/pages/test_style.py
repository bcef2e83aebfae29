"""What the style sheet promises: text that can be read in the light and in the dark."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("vouchd.agent.pages") / "static" / "agent.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
)
TEXTS = [
    *((tone, f"{tone}-soft") for tone in ("good", "warning", "bad", "info", "neutral")),
    *((tone, "surface") for tone in ("text", "muted", "accent", "good", "warning", "bad")),
    *((tone, "page") for tone in ("text", "muted", "accent")),
    ("muted", "raised"),
    ("accent-strong", "accent-soft"),
    ("on-accent", "accent"),
    ("surface", "bad"),
]


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb` (WCAG 2.2)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_text_stands_out_from_its_ground(scheme, text, ground):
    """Every pair of colours that is used for text has a contrast of 4.5 to 1 or more (WCAG 2.2, 1.4.3)."""
    light, dark = sorted((luminance(scheme[text]), luminance(scheme[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
