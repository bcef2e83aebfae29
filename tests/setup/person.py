"""A person at the wizard: Chromium that trusts the wizard's certificate, known by its fingerprint, and fills in panels."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tests.agent.pages.browser import chromium
from tests.agent.pages.test_browser import next_page

_SECONDS = 300
_MOST_TABS = 60


@contextmanager
def person(home: Path, certificate: Path, each: Callable[[Person], None] = lambda _: None) -> Iterator[Person]:
    """Someone who has compared the fingerprint of the wizard's certificate; `each` is called at every panel shown."""
    trust(home, certificate)
    with chromium(home) as driver:
        yield Person(driver, each)


def trust(home: Path, certificate: Path) -> None:
    """Have the browser at home in `home` trust this very certificate, as a click on its warning would."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True, exist_ok=True)
    where = f"sql:{database}"
    commands = [] if (database / "cert9.db").exists() else [["-N", "--empty-password", "-d", where]]
    commands.append(["-A", "-d", where, "-n", str(certificate), "-t", "P,,", "-i", str(certificate)])
    for words in commands:
        subprocess.run(["certutil", *words], check=True, capture_output=True, timeout=60)


class Person:
    """Goes through the panels."""

    def __init__(self, driver: Chrome, each: Callable[[Person], None]) -> None:
        self.driver = driver
        self._each = each

    def come_in(self, url: str) -> str:
        """Open the URL with the PIN; the panel that is open then."""
        self.driver.get(url)
        WebDriverWait(self.driver, _SECONDS).until(lambda driver: "/setup/" in driver.current_url)
        self._each(self)
        return self.panel

    @property
    def panel(self) -> str:
        """The name of the panel that is shown."""
        return self.driver.find_element(By.TAG_NAME, "h1").text

    @property
    def alert(self) -> str:
        """What the panel refuses; empty: nothing."""
        alerts = self.driver.find_elements(By.CSS_SELECTOR, ".alert.bad")
        return alerts[0].text if alerts else ""

    @property
    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "main").text

    def fill(self, values: dict[str, object]) -> None:
        """Type and choose; what is not shown cannot be typed into."""
        for name, value in values.items():
            choices = self.driver.find_elements(By.ID, f"{name}-{value}")
            if choices:
                self.driver.find_element(By.XPATH, f"//label[@class='choice'][.//input[@id='{name}-{value}']]").click()
                continue
            field = self.driver.find_element(By.ID, name)
            if field.tag_name == "select":
                field.find_element(By.XPATH, f"./option[normalize-space()={str(value)!r}]").click()
            else:
                field.send_keys(Keys.CONTROL, "a")
                field.send_keys(str(value) or Keys.DELETE)
            for again in self.driver.find_elements(By.ID, f"again-{name}"):
                again.send_keys(Keys.CONTROL, "a")
                again.send_keys(str(value) or Keys.DELETE)

    def go_on(self, **values: object) -> str:
        """Fill the panel in and press Next; the panel that is shown then."""
        self.fill(values)
        self.press("Next")
        return self.panel

    def by_keyboard(self, name: str, text: str) -> str:
        """Go to a field with the tabulator alone, type, and press Enter; the panel that is shown then."""
        for _ in range(_MOST_TABS):
            if self.driver.switch_to.active_element.get_attribute("id") == name:
                break
            ActionChains(self.driver).send_keys(Keys.TAB).perform()
        with next_page(self.driver):
            ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
            ActionChains(self.driver).send_keys(text, Keys.ENTER).perform()
        self._each(self)
        return self.panel

    def refused(self, **values: object) -> str:
        """The same, where the panel refuses it; what it says."""
        before = self.panel
        assert self.go_on(**values) == before, self.panel
        assert self.alert
        return self.alert

    def press(self, label: str) -> None:
        """Press a button of the page."""
        with next_page(self.driver):
            self.driver.find_element(By.XPATH, f"//main//button[normalize-space()={label!r}]").click()
        self._each(self)

    def until_ended(self) -> str:
        """Wait until the last act is over, and tell the panel's text."""
        WebDriverWait(self.driver, _SECONDS).until(
            lambda driver: driver.find_elements(By.XPATH, "//button[.='Close the wizard' or .='Try again']")
        )
        self._each(self)
        return self.text
