#!/usr/bin/env python3
"""The built site in Chromium: words are searched, a result is followed, and the browser asks nobody but the site."""

from __future__ import annotations

import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from tests.agent.pages.browser import chromium

ROOT = Path(__file__).resolve().parents[1]
# What people look for, and the page that has to be among the results.
SEARCHED = {
    "stolen": "set/stolen-member.html",
    "uninstall": "operate/removing.html",
    "trustedProxies": "operate/proxy.html",
    "quarantine release": "use/commands.html",
    "port 80": "operate/services.html",
    "operations of the REST API": "use/rest-operations.html",
}
_RESULTS = ".md-search-result__link"
_ASKED = "return performance.getEntriesByType('resource').map(one => one.name)"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def main() -> None:
    """Look at the site in the folder that the first argument names; write pictures into the second one's."""
    site = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    with tempfile.TemporaryDirectory() as home, chromium(Path(home)) as browser:
        for words, page in SEARCHED.items():
            _search(browser, base, words, page)
        elsewhere = {name for name in browser.execute_script(_ASKED) if not name.startswith(base)}
        if elsewhere:
            raise SystemExit(f"docs: the site asks {', '.join(sorted(elsewhere))}")
        if len(sys.argv) > 2:
            _picture(browser, base, Path(sys.argv[2]))
    server.shutdown()
    sys.stdout.write(f"docs: {len(SEARCHED)} searches led to their pages\n")


def _search(browser: Chrome, base: str, words: str, page: str) -> None:
    """Type words into the search field; one of the results is the page, and it is there."""
    browser.get(f"{base}index.html")
    wait = WebDriverWait(browser, 60)
    wait.until(lambda one: one.find_element(By.CSS_SELECTOR, "[data-md-component=search-query]"))
    browser.execute_script("document.querySelector('[data-md-toggle=search]').click()")
    browser.find_element(By.CSS_SELECTOR, "[data-md-component=search-query]").send_keys(words)
    wait.until(lambda one: any(f"/{page}" in link for link in _links(one)), f"{words!r} does not lead to {page}")
    browser.get(next(link for link in _links(browser) if f"/{page}" in link))
    wait.until(lambda one: one.find_element(By.TAG_NAME, "h1").is_displayed())


def _links(browser: Chrome) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(one => one.href)"
    return list(browser.execute_script(script, _RESULTS))


def _picture(browser: Chrome, base: str, folder: Path) -> None:
    """Pictures of some pages, wide and narrow."""
    for width in (1280, 420):
        browser.set_window_size(width, 900)
        for page in ("index", "use/rest-operations", "operate/proxy", "start/own-ca"):
            browser.get(f"{base}{page}.html")
            browser.save_screenshot(str(folder / f"{page.replace('/', '-')}-{width}.png"))


if __name__ == "__main__":
    main()
