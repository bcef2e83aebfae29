"""Alerting in a running instance: what real receivers get, and what a carrier that fails or hangs costs."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

import pytest
from tests.alerts.planted import NOW, PLANTED, SOUND
from tests.alerts.receivers import DEADLINE_SECONDS, datagrams, mail_server, nobody, web_server
from tests.processes.running import eventually

from vouchd.alerts.alerting import Alerting
from vouchd.alerts.carriers.table import open_carriers
from vouchd.alerts.conditions import Bounds
from vouchd.alerts.ledger import Ledger, Wanting
from vouchd.instance.report import InstanceReport
from vouchd.settings.carriers import AlertWay, CarrierSettings, MailSecurity, SNMPVersion
from vouchd.settings.layout import Layout

MEMBER = "o1.example:8443"


class Hand:
    """A clock that stands where it is set."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at


class Bench:
    """An alerting with these carriers, in a thread of its own as the manager's loop is."""

    def __init__(self, folder, carriers: tuple[CarrierSettings, ...], min_free_bytes: int = 0) -> None:
        self.layout = Layout(folder)
        for one in self.layout.folders:
            one.mkdir(exist_ok=True)
        self.clock = Hand()
        self.pauses: list[float] = []
        secrets = {f"alert.{one.name}": "correct horse" for one in carriers}
        ledger = Ledger(self.layout.alerts, MEMBER, [Wanting(one.name, one.severity) for one in carriers])
        self.alerting = Alerting(
            self.layout,
            ledger,
            open_carriers(carriers, secrets, MEMBER),
            self.clock,
            Bounds(),
            min_free_bytes,
            pause=lambda seconds: self.pauses.append(seconds) or 0.01,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self.alerting.run())
        with pytest.raises(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(DEADLINE_SECONDS)

    def look(self, report: InstanceReport, seconds: int = 0) -> None:
        """The instance is like this at that time."""
        self.clock.at = NOW + seconds
        self._loop.call_soon_threadsafe(self.alerting.look, report)

    def standing(self) -> list[str]:
        return [one.condition for one in self.alerting.standing()]

    def carrier(self, name: str):
        return next(one for one in self.alerting.carriers() if one.name == name)


def webhook(name: str, port: int, **fields) -> CarrierSettings:
    return CarrierSettings(name, AlertWay.WEBHOOK, url=f"http://127.0.0.1:{port}/", **fields)


def events(requests: queue.SimpleQueue, count: int) -> list[tuple[str, str]]:
    """Event and condition of the next requests."""
    bodies = [json.loads(requests.get(timeout=DEADLINE_SECONDS)[2]) for _ in range(count)]
    return [(one["event"], one["condition"]) for one in bodies]


def test_alert_reaches_every_kind_of_receiver_once_when_it_begins_and_once_when_it_ends(tmp_path):
    """Mail, webhook, trap and syslog, from one look at the instance to the next, over a restart of the process."""
    with ExitStack() as stack:
        mail_port, box = stack.enter_context(mail_server(None))
        web_port, requests = stack.enter_context(web_server())
        (_, trap_port), trap = stack.enter_context(datagrams())
        log, line = stack.enter_context(datagrams(str(tmp_path / "log")))
        plain = {"host": "127.0.0.1", "timeout_seconds": DEADLINE_SECONDS}
        carriers = (
            CarrierSettings(
                "m", AlertWay.MAIL, **plain, port=mail_port, recipients=("a@b.example",), security=MailSecurity.NONE
            ),
            webhook("w", web_port, timeout_seconds=DEADLINE_SECONDS),
            CarrierSettings("t", AlertWay.SNMP, **plain, port=trap_port, version=SNMPVersion.V2C),
            CarrierSettings("s", AlertWay.SYSLOG, host=log),
        )
        for report, word in ((PLANTED["halted"][0].report, "raised"), (SOUND.report, "resolved")):
            with Bench(tmp_path / "i", carriers) as bench:
                bench.look(report)
                assert events(requests, 1) == [(word, "halted")]
                assert word.upper() in box.letters.get(timeout=DEADLINE_SECONDS)[0]["Subject"].replace(
                    "CRITICAL", "RAISED"
                )
                assert b"halted" in trap()
                assert f": {word} critical halted" in line().decode()
                eventually(lambda b=bench: all(one.sent == 1 for one in b.alerting.carriers()), "all have carried it")
                bench.look(report, 10)
                bench.look(report, 20)
        assert requests.empty()
        assert box.letters.empty()


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "i").mkdir()


def test_carrier_that_fails_shows_and_is_told_of_by_the_others(tmp_path):
    """Its failures are counted, what it could not carry waits, and after two minutes the other carries that."""
    with web_server() as (port, requests):
        carriers = (webhook("good", port), webhook("bad", nobody()))
        with Bench(tmp_path / "i", carriers) as bench:
            bench.look(PLANTED["halted"][0].report)
            assert events(requests, 1) == [("raised", "halted")]
            eventually(lambda: bench.carrier("bad").failures > 2, "it is tried again")
            assert "efused" in bench.carrier("bad").error
            assert (bench.carrier("bad").waiting, bench.carrier("good").waiting) == (1, 0)
            failing = replace(PLANTED["halted"][0].report, carriers=bench.alerting.carriers())
            bench.look(failing, 10)
            eventually(lambda: '"carrier"' in bench.layout.alerts.read_text(), "it is seen")
            bench.look(failing, 140)
            assert events(requests, 1) == [("raised", "carrier")]


def test_a_look_is_followed_by_a_pause(tmp_path):
    """However fast reports follow each other, as when CRLs come, the alerts are gone through once a second."""
    with Bench(tmp_path / "i", ()) as bench:
        bench.look(SOUND.report)
        eventually(lambda: bench.pauses, "the look is over")
    assert set(bench.pauses) == {1.0}


def test_carrier_that_hangs_keeps_no_other_waiting(tmp_path):
    """A server that takes the connection and says nothing costs its own carrier alone."""
    with socket.create_server(("127.0.0.1", 0)) as silent, web_server() as (port, requests):
        carriers = (webhook("hangs", silent.getsockname()[1], timeout_seconds=600), webhook("good", port))
        with Bench(tmp_path / "i", carriers) as bench:
            bench.look(PLANTED["halted"][0].report)
            assert events(requests, 1) == [("raised", "halted")]
            bench.look(SOUND.report, 10)
            assert events(requests, 1) == [("resolved", "halted")]
            assert bench.carrier("hangs").sent == 0


def test_carrier_without_its_password_keeps_no_other_from_carrying(tmp_path):
    """It shows as failing from the start, with what is missing."""
    with web_server() as (port, requests):
        mail = CarrierSettings("mail", AlertWay.MAIL, host="a", recipients=("a@b.c",), user="u")
        bench = Bench(tmp_path / "i", (mail, webhook("good", port)))
        broken = dict(open_carriers((mail,), {}, MEMBER))
        bench.alerting._couriers[0].carrier, bench.alerting._couriers[0].broken = None, str(broken["mail"])
        with bench:
            bench.look(PLANTED["audit"][0].report)
            assert events(requests, 1) == [("raised", "audit")]
            assert "no password of u" in bench.carrier("mail").error


def test_disk_without_room_is_seen_by_looking_at_it(tmp_path):
    """The folders of the instance are measured at each look, not only when somebody runs the self tests."""
    with web_server() as (port, requests), Bench(tmp_path / "i", (webhook("w", port),), 1 << 60) as bench:
        bench.look(SOUND.report)
        eventually(bench.layout.alerts.exists, "the first look")
        bench.look(SOUND.report, 60)
        assert events(requests, 1) == [("raised", "disk")]


def test_crls_that_came_are_remembered_over_a_restart(tmp_path):
    """The habit of a CA is not forgotten by a process that ends."""
    point = SOUND.report.issuing_points[0]
    for number in range(1, 6):
        with Bench(tmp_path / "i", ()) as bench:
            newer = replace(point, sequence=number, crl_number=number, this_update=NOW + number * 3600)
            bench.look(replace(SOUND.report, issuing_points=(newer,)), number * 3600)
            eventually(
                lambda b=bench, n=number: (
                    b.layout.rhythms.exists() and str(NOW + n * 3600) in b.layout.rhythms.read_text()
                ),
                "it is kept",
            )
    with web_server() as (port, requests), Bench(tmp_path / "i", (webhook("w", port),)) as bench:
        late = replace(SOUND.report, issuing_points=(newer,))
        for second in (5 * 3600 + 5400, 5 * 3600 + 5460):
            bench.look(late, second)
            eventually(lambda: f'"since":{NOW + 5 * 3600 + 5400}' in bench.layout.alerts.read_text(), "looked at")
        assert events(requests, 1) == [("raised", "crl-overdue")]
