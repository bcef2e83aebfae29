"""The alert rules and the dashboard: read and tried by promtool, and made of metrics that an instance gives."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "vouchd.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "vouchd.json"
METRICS_PAGE = ROOT / "docs" / "operate" / "processes.md"
_NAME = re.compile(r"\bvouchd_[a-z_]+")

# Of each alert: the series that are planted, as promtool writes them (one value a minute), and the first minute in
# which it is raised. In the minute before it is not, and after the values have turned it is resolved.
PLANTED = {
    "VouchdDown": ('up{job="vouchd",instance="a"}', "0x5 1x10", 2),
    "VouchdHalted": ('vouchd_halted{instance="a"}', "0x2 1x3 0x10", 3),
    "VouchdBehind": ('vouchd_behind{instance="a",ca="X"}', "1x5 0x10", 1),
    "VouchdCRLExpired": ('vouchd_crl_seconds_to_next_update{instance="a",ca="X"}', "120-60x4 3600x10", 2),
    "VouchdRevocationsHeldUp": ('vouchd_hindrance{instance="a",cause="quarantine",name="X"}', "1x20 0x5", 15),
    "VouchdCRLNumberFell": ('vouchd_crl_number{instance="a",ca="X"}', "9x3 8x30", 4),
    "VouchdCertificateEnds": (
        'vouchd_certificate_expiry_seconds{instance="a",certificate="s"}',
        "900x15 9000000x9",
        10,
    ),
    "VouchdCertificateEnded": (
        'vouchd_certificate_expiry_seconds{instance="a",certificate="s"}',
        "60-60x4 9000000x9",
        1,
    ),
    "VouchdStoreAway": ('vouchd_store_up{instance="a"}', "0x5 1x10", 2),
    "VouchdAuditBroken": ('vouchd_audit_up{instance="a"}', "1x2 0x3 1x10", 3),
    "VouchdSelfTestFailed": ('vouchd_selftest_passed{instance="a",test="DiskSpace"}', "0x5 1x10", 1),
    "VouchdMemberAway": ('vouchd_member_reachable{instance="a",member="b"}', "0x5 1x10", 2),
    "VouchdClocksDiffer": ('vouchd_member_clock_skew_seconds{instance="a",member="b"}', "-9x10 0x10", 5),
    "VouchdMembersDiffer": ('vouchd_clone_verification_identical{instance="a",member="b"}', "0x15 1x10", 10),
    "VouchdReplicationStopped": (
        'vouchd_replication_state{instance="a",member="b",server="d",state="red"}',
        "1x5 0x9",
        1,
    ),
    "VouchdSignerSwitchHeldUp": ('vouchd_signer_waiting{instance="a",signer="s",member="b"}', "1x20 0x5", 15),
    "VouchdApprovalsWait": ('vouchd_approvals_waiting{instance="a"}', "0x2 1x5 0x9", 3),
    "VouchdUpkeepFails": ('vouchd_upkeep_failing{instance="a"}', "1x10 0x10", 5),
    "VouchdAnswersFail": ('vouchd_error_answers_total{instance="a",cause="expired_crl"}', "0+6x10 60x20", 6),
    "VouchdBackupOld": ('vouchd_backup_proved_timestamp_seconds{instance="a"}', "60x2900 175000x10", 2882),
    "VouchdBackupFailed": ('vouchd_backup_failed{instance="a"}', "0x2 1x3 0x10", 3),
    "VouchdReplicationLate": (
        'vouchd_replication_lag_seconds{instance="a",member="b",server="d"}',
        "120+60x10 0x9",
        5,
    ),
    "VouchdRenewalFails": ('vouchd_certificate_renewal_failing{instance="a",certificate="s"}', "1x70 0x9", 60),
    "VouchdAlertsNotCarried": ('vouchd_alert_carrier_up{instance="a",carrier="duty"}', "0x15 1x10", 10),
    "VouchdWorkersEnd": ('vouchd_worker_restarts_total{instance="a"}', "0x2 1+1x5 6x40", 5),
}
# Those that compare two metrics.
PLANTED_PAIRS = {
    "VouchdWorkersNotReady": (
        ('vouchd_workers_ready{instance="a"}', "1x5 2x10"),
        ('vouchd_workers{instance="a"}', "2x20"),
        2,
    ),
    "VouchdCRLOverdue": (
        ('vouchd_crl_seconds_to_next_update{instance="a",ca="X"}', "900x10 86400x9"),
        ('vouchd_crl_age_seconds{instance="a",ca="X"}', "86400x10 60x9"),
        5,
    ),
}
# An instance that is well, for an hour: what raises nothing.
QUIET = {
    'up{job="vouchd",instance="a"}': "1x60",
    'vouchd_halted{instance="a"}': "0x60",
    'vouchd_workers{instance="a"}': "2x60",
    'vouchd_workers_ready{instance="a"}': "2x60",
    'vouchd_crl_seconds_to_next_update{instance="a",ca="X"}': "3600-60x30 3600-60x29",
    'vouchd_crl_age_seconds{instance="a",ca="X"}': "0+60x30 0+60x29",
    'vouchd_crl_number{instance="a",ca="X"}': "7x30 8x30",
    'vouchd_hindrance{instance="a",cause="quarantine",name=""}': "0x60",
    'vouchd_certificate_expiry_seconds{instance="a",certificate="s"}': "7776000-60x60",
    'vouchd_store_up{instance="a"}': "1x60",
    'vouchd_audit_up{instance="a"}': "1x60",
    'vouchd_selftest_passed{instance="a",test="DiskSpace"}': "1x60",
    'vouchd_member_reachable{instance="a",member="b"}': "1x60",
    'vouchd_member_clock_skew_seconds{instance="a",member="b"}': "1x60",
    'vouchd_clone_verification_identical{instance="a",member="b"}': "1x60",
    'vouchd_replication_state{instance="a",member="b",server="d",state="red"}': "0x60",
    'vouchd_upkeep_failing{instance="a"}': "0x60",
    'vouchd_error_answers_total{instance="a",cause="malformed"}': "0+60x60",
    'vouchd_error_answers_total{instance="a",cause="expired_crl"}': "3x60",
    'vouchd_worker_restarts_total{instance="a"}': "1x60",
    'vouchd_backup_proved_timestamp_seconds{instance="a"}': "1x60",
    'vouchd_backup_proved_timestamp_seconds{instance="b"}': "0x60",
    'vouchd_backup_failed{instance="a"}': "0x60",
    'vouchd_replication_lag_seconds{instance="a",member="b",server="d"}': "0x60",
    'vouchd_certificate_renewal_failing{instance="a",certificate="s"}': "0x60",
    'vouchd_alert_carrier_up{instance="a",carrier="duty"}': "1x60",
}


def rules() -> dict[str, dict]:
    """The rules by the name of their alert."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def tried(tmp_path: Path, series: dict[str, str], expected: dict[tuple[str, int], bool]):
    """What promtool says of the rules with these series; `expected`: whether the alert is raised in that minute.

    It has the rules of these alerts alone: it works out each of them in each minute, of which some tests have thousands.
    """
    wanted = {alert for alert, _ in expected}
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    group["rules"] = [rule for rule in group["rules"] if rule["alert"] in wanted]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": "{}", "value": int(raised)}],
                    }
                    for (alert, minute), raised in expected.items()
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test))
    return subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)


def samples(values: str) -> int:
    """How many samples that notation stands for: `1x3` are four."""
    return sum(int(part.rpartition("x")[2]) + 1 for part in values.split())


def names_in(expression: str) -> set[str]:
    """The metrics of ours that an expression is made of."""
    return set(_NAME.findall(expression))


def documented() -> set[str]:
    """The metrics of the page, which other tests compare with what an instance gives."""
    return set(_NAME.findall(METRICS_PAGE.read_text()))


@pytest.mark.process
def test_rules_are_what_promtool_takes():
    """Every rule is read, and there is none twice."""
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules())} rules found" in done.stdout


@pytest.mark.process
@pytest.mark.parametrize("alert", [*PLANTED, *PLANTED_PAIRS])
def test_alert_is_raised_when_its_condition_has_lasted_and_resolved_when_it_ends(tmp_path, alert):
    """It is not raised a minute before, is in its minute, once, and is not any more when the values have turned."""
    if alert in PLANTED:
        name, values, minute = PLANTED[alert]
        series = {name: values}
    else:
        (first, second, minute) = PLANTED_PAIRS[alert]
        series = dict((first, second))
    last = min(map(samples, series.values())) - 1
    expected = {(alert, minute - 1): False, (alert, minute): True, (alert, last): False}
    done = tried(tmp_path, series, expected)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_stand_on_their_page_with_severity_and_patience():
    """The table of the page says of each alert what the rules say."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", (ROOT / "docs/operate/monitoring.md").read_text(), re.MULTILINE
    )
    stands = {name: (severity, after) for name, severity, after in rows}
    minutes = {name: rule.get("for", "").removesuffix("m").replace("1h", "60") for name, rule in rules().items()}
    assert stands == {
        name: (rule["labels"]["severity"], f"{minutes[name]} min" if minutes[name] else "at once")
        for name, rule in rules().items()
    }


def test_every_alert_is_planted():
    """No rule is left untried."""
    assert set(rules()) == {*PLANTED, *PLANTED_PAIRS}


@pytest.mark.process
def test_quiet_hour_raises_nothing(tmp_path):
    """An instance that is well, whose clients send nonsense and whose CA publishes twice, wakes nobody."""
    done = tried(tmp_path, QUIET, {(alert, minute): False for alert in rules() for minute in (1, 20, 40, 59)})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(rules()))
def test_alert_is_made_of_metrics_that_there_are_and_names_a_page(alert):
    """Its metrics stand on the page of metrics, and the page that it names is there, with that heading."""
    rule = rules()[alert]
    assert names_in(rule["expr"]) <= documented()
    page, _, anchor = rule["annotations"]["page"].partition("#")
    text = (ROOT / page).read_text()
    headings = {re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines()}
    assert not anchor or anchor in headings
    assert rule["labels"]["severity"] in {"warning", "critical"}


# What Grafana puts in for its own variables.
_VARIABLES = {"$__rate_interval": "5m", "$job": "vouchd", "$instance": ".+"}


def expressions() -> list[tuple[str, str]]:
    """Title and expression of each line of each panel of the dashboard, its variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    pairs = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    for name, value in _VARIABLES.items():
        pairs = [(title, expression.replace(name, value)) for title, expression in pairs]
    return pairs


def test_dashboard_is_made_of_metrics_that_there_are(tmp_path):
    """Each expression is read by promtool, and its metrics stand on the page of metrics."""
    for title, expression in expressions():
        of_histogram = {name.removesuffix("_bucket") for name in names_in(expression)}
        assert of_histogram <= documented(), title
    listed = [{"record": f"panel:{number}", "expr": one} for number, (_, one) in enumerate(expressions())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": listed}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_dashboard_panels_lie_beside_one_another():
    """No panel covers another one, each has a title and a unit."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) == len({panel["id"] for panel in panels})
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
