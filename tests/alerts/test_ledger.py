"""The ledger of alerts: each condition is raised once and resolved once, over restarts, and a quiet time says nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.alerts.planted import DAY, NOW, PLANTED, SOUND

from vouchd.alerts.conditions import CONDITIONS, Situation
from vouchd.alerts.ledger import Ledger, Outcome, Wanting, read_ledger, read_rhythms, write_rhythms
from vouchd.alerts.notice import LONGEST_WORDS, Event, Notice, plain
from vouchd.alerts.rhythm import Rhythm, Rhythms
from vouchd.errors import StoreUnavailable
from vouchd.pkix.memo import shared
from vouchd.settings.carriers import Severity

ROOT = Path(__file__).parents[2]
CARRIERS = (
    *(Wanting(name, Severity.WARNING) for name in ("mail", "webhook", "snmp", "syslog")),
    Wanting("pager", Severity.CRITICAL),
)
OF = {condition.name: condition for condition in CONDITIONS}
LOOK_SECONDS = 10


def a_ledger(path: Path, carriers: tuple[Wanting, ...] = CARRIERS) -> Ledger:
    return Ledger(path / "alerts.json", "o1.example:8443", carriers)


def at(situation: Situation, seconds: int) -> Situation:
    return replace(situation, now=NOW + seconds)


def queue(ledger: Ledger, carrier: str) -> list[Notice]:
    """All that waits for a carrier, taken out."""
    taken = []
    while (notice := ledger.next_of(carrier)) is not None:
        ledger.carried(carrier, notice, NOW)
        taken.append(notice)
    return taken


def test_every_condition_is_planted():
    """No row of the table is left untried, and the table has those that an operator has to know of."""
    assert list(PLANTED) == [condition.name for condition in CONDITIONS]
    assert len(CONDITIONS) >= 25


@pytest.mark.parametrize("name", PLANTED)
def test_condition_is_raised_once_and_resolved_once_by_each_carrier(tmp_path, name):
    """Looked at every ten seconds, with a restart after each look; neither early nor twice, nor is anything else said."""
    situation, word = PLANTED[name]
    condition = OF[name]
    said: list[tuple[Event, int]] = []
    begin, end = 600, 600 + condition.patience_seconds + 600
    for second in range(0, end + condition.patience_seconds + 600, LOOK_SECONDS):
        present = begin <= second < end
        for notice in a_ledger(tmp_path).look(at(situation if present else SOUND, second)):
            assert (notice.condition, notice.severity) == (name, condition.severity)
            assert word in f"{notice.subject} {notice.words}"
            said.append((notice.event, second))
    assert said == [
        (Event.RAISED, begin + condition.patience_seconds),
        (Event.RESOLVED, end + condition.patience_seconds),
    ]
    ledger = a_ledger(tmp_path)
    assert not ledger.standing
    for carrier in CARRIERS:
        events = [notice.event for notice in queue(ledger, carrier.name)]
        wanted = carrier.severity is Severity.WARNING or condition.severity is Severity.CRITICAL
        assert events == ([Event.RAISED, Event.RESOLVED] if wanted else [])


def test_quiet_hour_says_nothing(tmp_path):
    """An instance that is well, for an hour: no notice, no alert that stands, and no file that is written again."""
    ledger = a_ledger(tmp_path)
    assert ledger.look(at(SOUND, 0)) == ()
    written = (tmp_path / "alerts.json").stat()
    for second in range(LOOK_SECONDS, 3600, LOOK_SECONDS):
        assert ledger.look(at(SOUND, second)) == ()
    assert ledger.standing == ()
    assert (tmp_path / "alerts.json").stat() == written


def test_condition_shorter_than_its_patience_is_not_told(tmp_path):
    """A member that is away for a minute wakes nobody, and its next absence is counted from its own beginning."""
    ledger, (away, _) = a_ledger(tmp_path), PLANTED["member-away"]
    for second in (0, 60, 110):
        assert ledger.look(at(away, second)) == ()
    assert ledger.look(at(SOUND, 115)) == ()
    assert ledger.look(at(away, 130)) == ()
    (notice,) = ledger.look(at(away, 250))
    assert notice.since == NOW + 130


def test_condition_that_comes_back_at_once_stays_one_alert(tmp_path):
    """What is gone for less than its patience is neither resolved nor raised again."""
    ledger, (away, _) = a_ledger(tmp_path), PLANTED["member-away"]
    ledger.look(at(away, 0))
    assert [one.event for one in ledger.look(at(away, 120))] == [Event.RAISED]
    for second in range(140, 600, 20):
        assert ledger.look(at(SOUND if second % 40 else away, second)) == ()
    assert len(ledger.standing) == 1


def test_alert_after_a_restart_keeps_its_beginning_and_the_order_of_what_waits(tmp_path):
    """What was not carried before the process ended is carried after it, the oldest first."""
    for name, second in (("halted", 0), ("audit", 5)):
        a_ledger(tmp_path).look(at(PLANTED[name][0], second))
    a_ledger(tmp_path).look(at(SOUND, 10))
    events = [(one.condition, one.event) for one in queue(a_ledger(tmp_path), "mail")]
    assert events == [
        ("halted", Event.RAISED),
        ("audit", Event.RAISED),
        ("halted", Event.RESOLVED),
        ("audit", Event.RESOLVED),
    ]


def test_notice_sent_again_has_the_same_identifier_and_another_event_has_not(tmp_path):
    """A receiver knows by it what it has seen already."""
    ledger = a_ledger(tmp_path)
    (raised,) = ledger.look(at(PLANTED["halted"][0], 0))
    assert a_ledger(tmp_path).next_of("mail") == raised
    (resolved,) = ledger.look(at(SOUND, 1))
    (again,) = ledger.look(at(PLANTED["halted"][0], 2))
    assert len({raised.id, resolved.id, again.id}) == 3


def test_queue_that_is_full_gives_up_the_oldest_and_counts_it(tmp_path):
    """A carrier that never takes anything costs a bounded file, and it shows what was given up."""
    pager = tuple(one for one in CARRIERS if one.name == "pager")  # alone: each look writes the queues of all
    ledger = a_ledger(tmp_path, pager)
    for second in range(0, 1004, 2):
        ledger.look(at(PLANTED["halted"][0], second))
        ledger.look(at(SOUND, second + 1))
    assert ledger.waiting("pager") == 500
    assert a_ledger(tmp_path, pager).lost("pager") == 1004 - 500


def test_alert_that_is_over_is_kept_with_its_end_and_the_oldest_goes(tmp_path):
    """Who looks in the morning sees what was in the night; a condition that flickers fills no disk."""
    ledger = a_ledger(tmp_path)
    for second in range(0, 220, 2):
        ledger.look(at(PLANTED["halted"][0], second))
        ledger.look(at(SOUND, second + 1))
    over = read_ledger(tmp_path / "alerts.json").resolved
    assert len(over) == 100
    assert [(one.condition, one.since, one.resolved) for one in over[-2:]] == [
        ("halted", NOW + 216, NOW + 217),
        ("halted", NOW + 218, NOW + 219),
    ]


def test_last_outcome_of_a_carrier_is_kept_over_a_restart(tmp_path):
    """When it delivered last, or since when and why it fails, which its further attempts do not change."""
    ledger = a_ledger(tmp_path)
    (notice,) = ledger.look(at(PLANTED["halted"][0], 0))
    for second in (1, 6, 16):
        ledger.failed("mail", "refused", NOW + second)
    assert read_ledger(tmp_path / "alerts.json").outcomes["mail"] == Outcome(NOW + 1, "refused")
    a_ledger(tmp_path).carried("mail", notice, NOW + 30)
    assert read_ledger(tmp_path / "alerts.json").outcomes == {"mail": Outcome(NOW + 30)}


def test_alert_that_cannot_be_kept_is_not_said(tmp_path):
    """Nothing goes out that a restart would forget; the next look says it."""
    ledger = Ledger(tmp_path / "folder" / "alerts.json", "o1", CARRIERS)
    with pytest.raises(StoreUnavailable):
        ledger.look(at(PLANTED["halted"][0], 0))
    (tmp_path / "folder").mkdir()
    assert [one.event for one in ledger.look(at(PLANTED["halted"][0], 1))] == [Event.RAISED]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"standing": [{"condition": "no such"}]}'])
def test_file_that_is_not_ours_is_begun_anew(tmp_path, content):
    """A damaged file keeps no instance from starting."""
    (tmp_path / "alerts.json").write_text(content)
    assert a_ledger(tmp_path).look(at(SOUND, 0)) == ()


def test_file_that_cannot_be_read_keeps_no_instance_from_starting(tmp_path, caplog):
    """A folder in its place, say: it is said in the log, and alerts are begun anew."""
    (tmp_path / "alerts.json").mkdir()
    assert a_ledger(tmp_path).standing == ()
    assert "is begun anew" in caplog.text


def test_condition_that_this_version_does_not_know_is_forgotten(tmp_path):
    """An alert of another version neither stands for ever nor breaks the table."""
    ledger = a_ledger(tmp_path)
    ledger.look(at(PLANTED["halted"][0], 0))
    path = tmp_path / "alerts.json"
    path.write_text(path.read_text().replace('"halted"', '"of another version"'))
    assert a_ledger(tmp_path).standing == ()


def test_words_of_a_stranger_stay_on_one_line_and_are_cut():
    """A label with line ends, control characters or a thousand words makes no second header or log line."""
    assert plain("Root\r\nBcc: all\x00\x1b[31m") == "Root Bcc: all [31m"
    assert len(plain("x" * 5000)) == LONGEST_WORDS


def test_page_has_every_condition_with_severity_patience_and_remedy():
    """The operator's page is the table of the code, and each page that it names is there."""
    page = (ROOT / "docs/operate/alerts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (\d+) s \| .*\|$", page, re.MULTILINE)
    assert rows == [(one.name, one.severity.value, str(one.patience_seconds)) for one in CONDITIONS]
    for condition in CONDITIONS:
        assert (ROOT / condition.page.partition("#")[0]).is_file(), condition.page


def test_rhythms_kept_are_read_back(tmp_path):
    """When and by which numbers CRLs came is known after a restart; a damaged file is begun anew."""
    rhythms = Rhythms({("ab", "complete"): Rhythm(3, 9, (NOW, NOW + DAY), (1,))})
    write_rhythms(tmp_path / "rhythms.json", rhythms)
    kept = read_rhythms(tmp_path / "rhythms.json")
    assert kept == rhythms
    ((authority, _),) = kept.points
    assert authority is shared("ab")  # the text that the facts have
    (tmp_path / "rhythms.json").write_text("{")
    assert read_rhythms(tmp_path / "rhythms.json") == Rhythms()
