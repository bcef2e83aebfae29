"""Headless Chromium with a user's certificate, as a person at a desk has it: nothing about TLS is switched off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # A window without tabs and buttons of its own: those are pages as well, and dearer than ours.
    "--app=data:,",
)
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


def prepare_home(home: Path, ca: Path, pkcs12: Path | None = None, password: Path | None = None) -> None:
    """An NSS database in a home folder: it trusts the CA for servers and has the user's certificate, if there is one."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    where = f"sql:{database}"
    _run("certutil", "-N", "--empty-password", "-d", where)
    _run("certutil", "-A", "-d", where, "-n", "ca", "-t", "C,,", "-i", str(ca))
    if pkcs12 is not None:
        _run("pk12util", "-i", str(pkcs12), "-w", str(password), "-d", where)


@contextmanager
def chromium(home: Path, *, width: int = 1280, height: int = 900) -> Iterator[webdriver.Chrome]:
    """Chromium at home in `home`; it offers its only certificate unasked, as a click in its dialog would."""
    options = Options()
    options.binary_location = CHROMIUM
    profile = home / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    _always_offer(profile)
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = {**os.environ, "HOME": str(home)}
    driver = webdriver.Chrome(options, Service(DRIVER, env=environment))
    try:
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()


def _always_offer(profile: Path) -> None:
    """Answer "which certificate?" in the profile's preferences."""
    folder = profile / "Default"
    folder.mkdir(parents=True)
    answer = {"*,*": {"setting": {"filters": [{}]}}}
    preferences = {"profile": {"content_settings": {"exceptions": {"auto_select_certificate": answer}}}}
    (folder / "Preferences").write_text(json.dumps(preferences))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
