"""Law 8: whatever keeps a revocation from being answered shows in status, /readyz, the metrics, the pages and the log."""

from __future__ import annotations

import html
import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.agent.domain_site import a_clone
from tests.agent.pages.conftest import AgentSite
from tests.agent.pages.conftest import site as running_site
from tests.commands import run_vouchd
from tests.faults.page import FaultTable
from tests.laws.broken_site import FAULTS as REAL
from tests.laws.broken_site import Broken
from tests.processes.running import eventually
from tests.service.recording import RecordingAudit

from vouchd.agent.pages.forms import FormTokens
from vouchd.agent.pages.rendering import Pages
from vouchd.api.checks import checks
from vouchd.api.instance import Instance
from vouchd.api.model import plain
from vouchd.api.operation import operation_of
from vouchd.audit.keeping import AuditState
from vouchd.cli.lifecycle import _show
from vouchd.clock import SystemClock
from vouchd.instance.hindrances import Cause, Hindrance, hindrances
from vouchd.instance.refusals import RefusedCRL
from vouchd.instance.report import (
    FailingPart,
    HeldCRL,
    InstanceReport,
    MemberReport,
    RefusedPoint,
    ReplicationReport,
    ServedPoint,
    ServerReport,
    UncoveredCA,
    read_report,
)
from vouchd.pkix.purposes import Validity
from vouchd.processes.manager import announce
from vouchd.processes.metrics import render
from vouchd.service.permission import Permission
from vouchd.service.pulling import SourceState
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

site = running_site

NOW = int(time.time())
POINT = ServedPoint("ab", "complete", "Root", 4, 17, NOW - 900, NOW + 900, NOW - 800, 1000, 34000)
SOUND = InstanceReport(1, NOW, ("127.0.0.1", 1), ("127.0.0.1", 2), issuing_points=(POINT,), labels=(("ab", "Root"),))
SERVER = ServerReport("o2:8443", "ds2:636", "red", why="no agreement")

# Each fault as it comes into the report, by the cause that it has to be shown under, with what has to be named.
FAULTS = {
    Cause.HALTED: (replace(SOUND, halting="KeyFileModes failed"), "KeyFileModes"),
    Cause.STARTING: (replace(SOUND, proved=3000, to_prove=10000), "3,000 of 10,000 CAs proved"),
    Cause.QUARANTINE: (
        replace(SOUND, quarantined=(HeldCRL("ab", "complete", "Root", 18, NOW, "x", "9 lost"),)),
        "9 lost",
    ),
    Cause.REFUSED: (
        replace(SOUND, refused_crls=(RefusedCRL("ab", POINT.sequence, NOW, "x", "CRLForked: two"),)),
        "CRLForked",
    ),
    Cause.UNVERIFIED: (replace(SOUND, unverified=(RefusedPoint("ab", "complete", "Root", "older"),)), "older"),
    Cause.SOURCE: (replace(SOUND, sources=(SourceState("main", last_error="status 404"),)), "404"),
    Cause.CRL: (replace(SOUND, issuing_points=(replace(POINT, next_update=NOW - 1),)), "Root"),
    Cause.COVER: (
        replace(SOUND, uncovered=(UncoveredCA("Root", "it names its point", "vouchd authority set ab --named-point"),)),
        "--named-point",
    ),
    Cause.CERTIFICATE: (replace(SOUND, certificates=(("ocspSigningCert", Validity(0, NOW - 1)),)), "ocspSigningCert"),
    Cause.PART: (replace(SOUND, failing=(FailingPart("signer two", "no certificate yet"),)), "signer two"),
    Cause.STORE: (replace(SOUND, store_error="Can't contact LDAP server"), "LDAP"),
    Cause.AUDIT: (replace(SOUND, audit=AuditState(up=False)), "audit log"),
    Cause.BEHIND: (replace(SOUND, behind=("Root",)), "Root"),
    Cause.MEMBER: (replace(SOUND, members=(MemberReport("o2:8443", "clone", reachable=False),)), "o2:8443"),
    Cause.UPKEEP: (replace(SOUND, upkeep=(("following", "refused"),)), "following"),
    Cause.REPLICATION: (replace(SOUND, replication=ReplicationReport(NOW, (SERVER,))), "ds2:636"),
}


def shown_in_readiness(report: InstanceReport, _) -> str:
    (check,) = (one for one in checks(report, None, NOW) if one.name == "revocations")
    assert check.ok is not bool(hindrances(report, NOW))
    return check.detail


def shown_in_metrics(report: InstanceReport, _) -> str:
    families = text_string_to_metric_families(render(report, {}, None, NOW).decode())
    (family,) = (one for one in families if one.name == "vouchd_hindrance")
    return " ".join(f"{one.labels['cause']} {one.labels['name']}" for one in family.samples if one.value)


def shown_in_pages(report: InstanceReport, _) -> str:
    pages = Pages.of(Permission(RecordingAudit()), FormTokens(), SystemClock(), "test")
    return html.unescape(pages.environment.get_template("_hindrances.html").render(hindrances=hindrances(report, NOW)))


def shown_in_status(report: InstanceReport, capsys) -> str:
    """What `vouchd status` prints of what REST answers."""
    _show(plain(_rest(report)), json_output=False)
    return capsys.readouterr().out


def shown_in_rest(report: InstanceReport, _) -> str:
    return " ".join(f"{one.cause}: {one.name} {one.why}" for one in _rest(report).hindrances)


def _rest(report: InstanceReport) -> Instance:
    running = SimpleNamespace(report=lambda: report, checks=lambda: checks(report, None, NOW))
    call = SimpleNamespace(running=running, clock=SimpleNamespace(now=lambda: NOW), layout=Layout(Path("nowhere")))
    return operation_of("instance.get").run(call)


SHOWN = {
    "/readyz": shown_in_readiness,
    "metrics": shown_in_metrics,
    "pages": shown_in_pages,
    "status": shown_in_status,
    "REST": shown_in_rest,
}


def test_every_cause_is_tried() -> None:
    """A cause that is added is tried here, in every place."""
    assert set(FAULTS) == set(Cause)


def test_page_lists_every_cause() -> None:
    """The operator's page has a line for each."""
    page = (Path(__file__).parents[2] / "docs" / "operate" / "processes.md").read_text(encoding="utf-8")
    table = page.split("## What keeps revocations from being answered", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [cause.value for cause in Cause]


TABLE = FaultTable.of("a member")


@TABLE.fault(
    "anything keeps a revocation from being answered",
    "as the line for it says",
    "by name in `status`, REST, `/readyz` (`revocations`), `vouchd_hindrance`, the pages and the log: the list is in [processes.md](../operate/processes.md#what-keeps-revocations-from-being-answered)",
    "it goes from all of these when it ends",
)
@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("place", SHOWN)
def test_fault_is_shown_by_name(cause: Cause, place: str, capsys) -> None:
    """Each fault shows in each place under its cause, by the name of what fails."""
    report, name = FAULTS[cause]
    text = SHOWN[place](report, capsys)
    assert cause in text
    (hindrance,) = hindrances(report, NOW)
    assert name in str(hindrance)
    assert (hindrance.name or hindrance.why) in text or place == "metrics"


@pytest.mark.parametrize("cause", Cause)
def test_fault_is_logged_when_it_begins_and_when_it_ends(cause: Cause, caplog) -> None:
    """One line for each, not one a look."""
    report, name = FAULTS[cause]
    present = hindrances(report, NOW)
    with caplog.at_level(logging.INFO, "vouchd"):
        assert announce(announce((), present), present) == present
        assert announce(present, ()) == ()
    begun, ended = caplog.records
    assert (begun.levelname, ended.levelname) == ("WARNING", "INFO")
    assert name in begun.getMessage()


@pytest.mark.parametrize("place", SHOWN)
def test_sound_instance_shows_none(place: str, capsys) -> None:
    """What is always on says nothing."""
    assert hindrances(SOUND, NOW) == ()
    assert not [cause for cause in Cause if f"{cause}:" in SHOWN[place](SOUND, capsys)]


def test_refused_crl_is_no_hindrance_once_one_was_taken() -> None:
    """A refusal counts until the CA has had a CRL accepted after it, and only of CAs that are answered for."""
    late = replace(SOUND, refused_crls=(RefusedCRL("ab", POINT.sequence - 1, NOW, "x", "why"),))
    strange = replace(SOUND, refused_crls=(RefusedCRL("ff", 9, NOW, "x", "why"),))
    assert hindrances(late, NOW) == hindrances(strange, NOW) == ()


def readiness(site: AgentSite, path: str) -> str:
    host, port = read_report(site.layout.serving).health
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}") as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


@TABLE.fault(
    "a CRL is held back because it loses too many entries",
    "the CRL before, until somebody decides",
    '`vouchd_hindrance{cause="quarantine"}`, `/readyz`: `revocations`, `status`, the pages, the log',
    "release or drop it: `vouchd crl quarantine`, or the page of the CA",
)
@pytest.mark.process
def test_crl_in_quarantine_and_crl_refused_show_everywhere_and_end(site: AgentSite) -> None:
    """A running instance says of a CRL that it holds back, and of one that it refused, until that is over."""
    label = json.loads(site.vouchd("ca", "list", "--json"))[0]["id"]
    site.vouchd("ca", "set", label, "--quarantine-percent", "1", "--quarantine-entries", "0", "--quarantine-gains")
    site.vouchd("crl", "add", "next.crl", code=75)
    metric = 'vouchd_hindrance{cause="quarantine",name="CN=First CA,O=Example"} 1.0'
    eventually(lambda: metric in readiness(site, "/metrics"), "the metric of the quarantine")
    assert "quarantine: CN=First CA,O=Example" in readiness(site, "/readyz")
    assert "quarantine" in site.vouchd("status")
    for page in ("/agent/authorities", "/agent/service"):
        assert "is held back" in site.ask(page).text
    assert "revocations may not be answered: quarantine: CN=First CA,O=Example" in site.file("log").read_text()
    site.file("broken.crl").write_bytes(broken(site))
    site.vouchd("crl", "add", "broken.crl", code=65)
    eventually(
        lambda: 'cause="refused",name="CN=First CA,O=Example"} 1.0' in readiness(site, "/metrics"),
        "the metric of the refusal",
    )
    eventually(
        lambda: "revocations may not be answered: refused" in site.file("log").read_text(), "the line of the refusal"
    )
    site.vouchd("crl", "quarantine", "release", label)
    eventually(lambda: 'vouchd_hindrance{cause="quarantine",name=""} 0.0' in readiness(site, "/metrics"), "its end")
    eventually(
        lambda: "no longer kept from being answered: refused" in site.file("log").read_text(), "the line of its end"
    )


def broken(site: AgentSite) -> bytes:
    """The next CRL with a bit of its signature turned."""
    site.vouchd("ca", "crl", "--out", "broken.der")
    der = bytearray(site.file("broken.der").read_bytes())
    der[-1] ^= 1
    return bytes(der)


def _status(broken: Broken) -> str:
    done = run_vouchd("status", "--instance", "vouchd", cwd=broken.site.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Where each fault of a running instance has to show; what is printed, without tags and runs of blanks.
PLACES: dict[str, Callable[[Broken], str]] = {
    "status": _status,
    "/readyz": lambda broken: broken.health("/readyz"),
    "metrics": lambda broken: broken.health("/metrics"),
    "page of the CAs": lambda broken: broken.site.ask("/agent/authorities").text,
    "page of the service": lambda broken: broken.site.ask("/agent/service").text,
    "log": lambda broken: broken.site.file("log").read_text(),
}


@pytest.mark.process
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("cause", REAL)
def test_fault_of_a_running_instance_shows_by_name_in_each_place(broken, cause: Cause, place: str) -> None:
    """Whatever keeps a revocation of one CA from being answered: its name and the reason stand wherever operators look."""
    fault = REAL[cause]
    name = fault.shown_as or cause.value
    metric = f'vouchd_hindrance{{cause="{cause}",name="{name}"}} 1.0'

    def seen() -> bool:
        text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", PLACES[place](broken))).split())
        return metric in text if place == "metrics" else all(word in text for word in (cause, name, fault.word))

    eventually(seen, f"{cause} of {name} in {place}")


# What befalls a whole instance while it runs: what brings it about and ends it, and what is shown of it.


def _open_passwords(site: AgentSite) -> None:
    site.context()  # before the password of its key is nobody's to read
    site.layout.password_conf.chmod(0o644)
    site.vouchd("selftest", "run", "KeyFileModes", code=1)


def _close_passwords(site: AgentSite) -> None:
    site.layout.password_conf.chmod(0o600)
    site.vouchd("selftest", "run", "KeyFileModes")


ABSENT = a_clone(2, host="localhost", secure_port=1)


def _add_member(site: AgentSite) -> None:
    with wiring.services(site.layout) as services:
        services.store.put_member(ABSENT, None)


def _remove_member(site: AgentSite) -> None:
    with wiring.services(site.layout) as services:
        services.store.remove_member(ABSENT.id)


def _hide_audit_log(site: AgentSite) -> None:
    site.layout.audit_log.rename(site.file("audit.away"))
    site.ask("/agent/audit")  # that somebody reads it is an act, which is recorded or refused


def _show_audit_log(site: AgentSite) -> None:
    site.file("audit.away").replace(site.layout.audit_log)
    site.ask("/agent/audit")


WHOLE = {
    Cause.HALTED: (_open_passwords, _close_passwords, "", "KeyFileModes"),
    Cause.UPKEEP: (_open_passwords, _close_passwords, "signers", "password.conf"),
    Cause.MEMBER: (_add_member, _remove_member, ABSENT.id, "cannot ask"),
    Cause.AUDIT: (_hide_audit_log, _show_audit_log, "", "audit log"),
}


@pytest.mark.process
@pytest.mark.parametrize("cause", WHOLE)
def test_fault_of_a_whole_instance_shows_in_each_place_and_ends(site: AgentSite, cause: Cause) -> None:
    """What keeps every CA from being answered, or a change from being taken, stands wherever operators look."""
    begin, end, name, word = WHOLE[cause]
    begin(site)
    try:
        for place, text in PLACES.items():
            metric = f'vouchd_hindrance{{cause="{cause}",name="{name}"}} 1.0'
            wanted = [metric] if place == "metrics" else [cause.value, name, word]

            def seen(text=text, wanted=wanted) -> bool:
                shown = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text(Broken(site)))).split())
                return all(one in shown for one in wanted)

            eventually(seen, f"{cause} in {place}")
    finally:
        end(site)
    gone = f'vouchd_hindrance{{cause="{cause}",name=""}} 0.0'
    eventually(lambda: gone in readiness(site, "/metrics"), f"the end of {cause}")


# What takes a set, a directory server or both is shown of a running one elsewhere.
SHOWN_ELSEWHERE = {
    Cause.STARTING: "tests/whole/test_start_of_many.py",
    Cause.STORE: "tests/whole/test_pages_without_directory.py",
    Cause.BEHIND: "tests/faults/test_set_embedded.py",
    Cause.REPLICATION: "tests/whole/test_clone_directory.py",
}


def test_every_cause_is_brought_about_in_a_running_instance() -> None:
    """None is left to reports that are made up."""
    assert {*REAL, *WHOLE, *SHOWN_ELSEWHERE} == set(Cause)


def test_hindrance_reads_as_one_line() -> None:
    """Cause, name and reason, as log and readiness have them."""
    assert str(Hindrance(Cause.SOURCE, "main", "status 404")) == "source: main: status 404"
    assert str(Hindrance(Cause.STORE, "", "away")) == "store: away"
