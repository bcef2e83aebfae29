"""`vouchd selftest`: what it shows and with which exit code it leaves."""

from __future__ import annotations

import json

from vouchd.cli.main import main
from vouchd.settings.layout import Layout

NAMES = [
    "OCSPPresence",
    "SystemCertsVerification",
    "OCSPValidity",
    "KeyFileModes",
    "DiskSpace",
    "ClockVerification",
    "IndexVerification",
    "OCSPCanary",
]


def said(capsys, *arguments: str):
    """Exit code, JSON and stderr of `vouchd selftest …`."""
    capsys.readouterr()
    code = main(["selftest", *arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out or "null"), err


def key(site):
    return Layout(site.instance).alias / "ocspSigningCert.key"


def test_list_tells_the_tests_in_their_order(instance, capsys):
    """All tests are listed, with where they stand and which are critical; none has run yet."""
    code, listed, _ = said(capsys, "list")
    assert (code, [one["name"] for one in listed]) == (0, NAMES)
    assert [one["name"] for one in listed if one["on_demand"]] == [NAMES[0], NAMES[1], NAMES[3], NAMES[7]]
    assert all(one["result"] is None for one in listed)


def test_run_of_a_sound_instance_leaves_with_0(instance, capsys):
    """Every test passes on an instance as it is made, and the results are kept."""
    code, results, err = said(capsys, "run")
    assert (code, [one["name"] for one in results], err) == (0, NAMES, "")
    assert all(one["ok"] for one in results)
    _, listed, _ = said(capsys, "list")
    assert all(one["result"]["ok"] for one in listed)


def test_run_with_a_failure_leaves_with_1_and_tells_the_remedy(instance, capsys):
    """A failure is told with its reason and its remedy; what passed is told too."""
    key(instance).chmod(0o644)
    code, results, err = said(capsys, "run", "KeyFileModes", "DiskSpace")
    assert (code, [one["ok"] for one in results]) == (1, [False, True])
    assert "vouchd: self test KeyFileModes failed: " in err
    assert f"vouchd: hint: chmod 600 {key(instance)}" in err
    assert "tryLater" not in err


def test_run_for_people_is_a_table(instance, capsys):
    """Without --json each test has a line with its result."""
    assert main(["selftest", "run", "DiskSpace"]) == 0
    assert main(["selftest", "list"]) == 0
    assert capsys.readouterr().out.count("passed") == 2


def test_run_of_an_unknown_name_is_not_found(instance, capsys):
    """A name that no test has leaves with 66 and tells the names there are."""
    code, _, err = said(capsys, "run", "Nothing")
    assert code == 66
    assert "vouchd: hint: there are: OCSPPresence" in err


def test_order_of_the_certificate_system_is_taken(instance, capsys):
    """A migrated CS.cfg names its own tests: those run, and no others."""
    with Layout(instance.instance).cs_cfg.open("a") as file:
        file.write(
            "selftests.container.order.onDemand=OCSPPresence:critical, SystemCertsVerification:critical, OCSPValidity\n"
            "selftests.container.instance.OCSPPresence=com.netscape.cms.selftests.ocsp.OCSPPresence\n"
            "selftests.container.logger.enable=true\n"
            "selftests.plugin.OCSPPresence.OcspSubId=ocsp\n"
            "selftests._000=##\n"
        )
    code, results, _ = said(capsys, "run")
    assert (code, [(one["name"], one["critical"]) for one in results]) == (
        0,
        [(NAMES[0], True), (NAMES[1], True), (NAMES[2], False)],
    )


def test_order_with_an_unknown_test_is_refused(instance, capsys):
    """A misspelt name must not pass for a test that ran."""
    for order in ("OCSPPresense", "OCSPPresence:critcal", "DiskSpace, DiskSpace"):
        text = Layout(instance.instance).cs_cfg.read_text()
        Layout(instance.instance).cs_cfg.write_text(f"{text}selftests.container.order.startup={order}\n")
        assert main(["selftest", "list"]) == 78
        assert "selftests.container.order.startup" in capsys.readouterr().err
        Layout(instance.instance).cs_cfg.write_text(text)


def test_run_is_recorded(instance, capsys):
    """The audit log tells who ran which tests and how they went."""
    said(capsys, "run", "DiskSpace")
    lines = [json.loads(line) for line in Layout(instance.instance).audit_log.read_text().splitlines()]
    (record,) = [line for line in lines if line["event"] == "SELFTESTS_EXECUTION"]
    assert (record["outcome"], record["detail"]["passed"], record["detail"]["trigger"]) == (
        "success",
        "DiskSpace",
        "onDemand",
    )
