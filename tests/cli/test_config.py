"""`vouchd config` on two folders: what differs, what is shared, and what is refused."""

from __future__ import annotations

import json

import pytest
from tests.commands import run_vouchd


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two instances of one CA, made alike."""
    folder = tmp_path_factory.mktemp("config")

    def vouchd(*words: str, code: int = 0):
        done = run_vouchd(*words, cwd=folder)
        assert done.returncode == code, done.stderr
        return done

    vouchd("ca", "create", "--ca", "ca", "--subject", "CN=Lab CA")
    for name in ("one", "two"):
        ports = ("--port", "0", "--health-port", "0", "--agent-port", "0")
        vouchd("create", "--instance", name, "--ca", "ca", "--hostname", f"{name}.example.org", *ports)
    return vouchd


def test_settings_of_another_instance_differ_by_key_and_say_what_is_shared(folders):
    """Defaults count as well as lines; only what all members share with --shared; the exit code is that of diff."""
    folders("config", "set", "vouchd.request.maxCertIDs=7", "vouchd.ee.workers=3", "--instance", "two")
    rows = json.loads(folders("config", "diff", "two", "--instance", "one", "--json", code=1).stdout)
    values = {row["key"]: (row["here"], row["there"], row["shared"]) for row in rows}
    assert values["vouchd.request.maxCertIDs"][1:] == ("7", True)
    assert values["vouchd.ee.workers"] == ("0", "3", False)
    shared = json.loads(folders("config", "diff", "two", "--instance", "one", "--json", "--shared", code=1).stdout)
    assert [row["key"] for row in shared] == ["vouchd.request.maxCertIDs"]
    folders("config", "set", "vouchd.request.maxCertIDs", "vouchd.ee.workers", "--instance", "two")
    folders("config", "diff", "two", "--instance", "one", "--shared")


def test_change_that_would_not_start_changes_nothing(folders):
    """All or none, with the reason; --dry-run shows the difference and writes nothing."""
    folders("config", "set", "vouchd.ee.workers=3", "vouchd.ee.port=none", "--instance", "one", code=78)
    assert folders("config", "get", "vouchd.ee.workers", "--instance", "one").stdout == "0\n"
    done = folders("config", "set", "vouchd.ee.workers=3", "--dry-run", "--instance", "one")
    assert "+vouchd.ee.workers=3" in done.stdout
    assert folders("config", "get", "vouchd.ee.workers", "--instance", "one").stdout == "0\n"


def test_key_with_a_placeholder_is_explained_before_there_is_a_line(folders):
    """What would hold, what it takes, and whether members share it."""
    done = folders("config", "explain", "vouchd.alert.duty.by", "--instance", "one", "--json")
    shown = json.loads(done.stdout)
    assert (shown["from"], shown["default"]) == ("default", "syslog")
    assert "webhook" in shown["accepts"]
    folders("config", "explain", "vouchd.alert.<name>.by", "--instance", "one", code=66)
    folders("config", "get", "vouchd.nothing", "--instance", "one", code=66)
