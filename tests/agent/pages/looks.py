"""What holds for a page however it is looked at: in light and in dark, at a desk and on a phone."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 60
# Where a picture of each look at a page is kept, for people: no test looks at one.
PICTURES = "VOUCHD_PICTURES"
Look = tuple[str, int, int]  # colour scheme, width and height in pixels
DESK, PHONE = (1280, 900), (360, 740)


def looks(*sizes: tuple[int, int]) -> list[Look]:
    """Each of these sizes in both schemes, so that one thing at most changes from each to the next."""
    return [("light", *size) for size in sizes] + [("dark", *size) for size in reversed(sizes)]


def require_fit(driver: Chrome, name: str, each: Sequence[Look]) -> None:
    """Neither the page nor a table in it scrolls sideways; `name` is that of the pictures."""
    for scheme, width, height in each:
        look_like(driver, scheme, width, height)
        wide, cut_off = driver.execute_script(_WIDTH_AND_CUT_OFF)
        assert wide <= width
        assert cut_off == []
        _picture(driver, f"{name}-{scheme}-{width}")
    look_as_ever(driver)


def require_names(driver: Chrome) -> None:
    """Every field has a label and every link and button a name, and ids are unique."""
    assert driver.execute_script(_NAMELESS) == []


def look_like(driver: Chrome, scheme: str, width: int, height: int) -> None:
    """Have the page shown so."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    WebDriverWait(driver, SECONDS).until(lambda _: driver.execute_script(_LOOKS_LIKE, scheme, width))


def look_as_ever(driver: Chrome) -> None:
    """Have it as large as the window again."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _picture(driver: Chrome, name: str) -> None:
    """All of the page, also what is below the window, if somebody wants pictures."""
    if folder := os.environ.get(PICTURES):
        size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        wanted = {"clip": {**size, "scale": 1}, "captureBeyondViewport": True}
        picture = driver.execute_cdp_cmd("Page.captureScreenshot", wanted)["data"]
        path = Path(folder, f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(picture))


_LOOKS_LIKE = """
const [scheme, width] = arguments;
return matchMedia(`(prefers-color-scheme: ${scheme}) and (width: ${width}px)`).matches;
"""
_WIDTH_AND_CUT_OFF = """
const scrolls = [...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth);
return [document.documentElement.scrollWidth, scrolls.map((one) => one.innerText)];
"""
_NAMELESS = """
const bad = [];
for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
  if (!field.labels.length) bad.push(field.outerHTML);
for (const named of document.querySelectorAll("a, button, summary"))
  if (!named.textContent.trim()) bad.push(named.outerHTML);
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
if (new Set(ids).size !== ids.length) bad.push("ids twice");
return bad;
"""
