"""Starting and stopping the parts of the lab."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping

from tests.dogtag.lab import plan
from tests.dogtag.lab.enclosure import CommandFailed, Enclosure

_DEADLINE_SECONDS = 300


def start(enclosure: Enclosure, *instances: plan.Instance) -> None:
    """Have these answer, each with its directory server."""
    for instance in instances:
        enclosure.run("systemctl", "start", f"dirsrv@{instance.name}")
        enclosure.run("systemctl", "start", f"pki-tomcatd@{instance.tomcat}")
    for instance in instances:
        answers(instance)


def configure(enclosure: Enclosure, instance: plan.Instance, settings: Mapping[str, str | None]) -> None:
    """Have it begin anew with these settings in its CS.cfg; None takes a key away."""
    file = enclosure.root / f"etc/pki/{instance.tomcat}{instance.path}/CS.cfg"
    enclosure.run("systemctl", "stop", f"pki-tomcatd@{instance.tomcat}")
    lines: dict[str, str | None] = dict(line.partition("=")[::2] for line in file.read_text("utf-8").splitlines())
    lines |= settings
    text = "".join(f"{key}={value}\n" for key, value in lines.items() if value is not None)
    file.write_text(text, encoding="utf-8")
    start(enclosure, instance)


def answers(instance: plan.Instance) -> None:
    """Wait until it says that it is running."""
    end = time.monotonic() + _DEADLINE_SECONDS
    while not running(instance):
        if time.monotonic() > end:
            raise CommandFailed(f"{instance.tomcat} did not come up")
        time.sleep(0.5)


def running(instance: plan.Instance) -> bool:
    """Whether it says so now."""
    connection = http.client.HTTPConnection(plan.ADDRESS, instance.http_port, timeout=20)
    try:
        connection.request("GET", f"{instance.path}/admin{instance.path}/getStatus")
        return b"<Status>running" in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
