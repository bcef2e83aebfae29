"""`vouchd clone status`: the same screen from the folder of an instance and over its agent port."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.agent.domain_site import HOST, a_clone, a_master

from vouchd.api.checks import Check, advice
from vouchd.cli.main import main
from vouchd.instance.pidfile import PidFile
from vouchd.instance.report import (
    InstanceReport,
    MemberReport,
    ReplicationReport,
    ServedPoint,
    ServerReport,
    write_report,
)
from vouchd.processes.health import HealthServer
from vouchd.sockets import bind

CA, OTHER_CA = "a" * 64, "b" * 64
CLONE = a_clone().id
GOOD = (
    advice("members", "every other member can be reached", "not reachable", []),
    Check("workers", ok=False, detail="not of the set"),
)
BAD = (advice("clocks", "all agree", "differ", [f"{CLONE} by 40 s"]), *GOOD)


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    """The master of a set of two, with a health port of its own, taken for running."""
    with a_master(tmp_path_factory.mktemp("cli-clone") / "vouchd") as master:
        master.joining().join(a_clone(), master.token())
        listener = bind(("127.0.0.1", 0))
        health = HealthServer(lambda: master.running.checks(), lambda: None)  # noqa: PLW0108  it is replaced later
        master.run(health.start(listener))
        master.health = listener.getsockname()
        pid_file = PidFile.acquire(master.services.layout.pid_file)
        yield master
        pid_file.release()
        master.run(health.stop())


@pytest.fixture
def report(domain, monkeypatch):
    """What the instance is taken to serve and to know of the clone; it can be replaced."""
    base = InstanceReport(
        pid=os.getpid(),
        started_at=1,
        ee=("127.0.0.1", 1),
        health=domain.health,
        version=1,
        acknowledged=True,
        issuing_points=(ServedPoint(CA, "complete", "Lab CA", 3, 7, 100, 200, 101, 5, 1),),
        members=(MemberReport(CLONE, "clone", reachable=True, seen_at=1000),),
    )

    def put(checks=GOOD, **changed) -> None:
        now = replace(base, **changed)
        write_report(domain.services.layout.serving, now)
        monkeypatch.setattr(domain.running, "report", lambda: now)
        monkeypatch.setattr(domain.running, "checks", lambda: checks)

    put()
    return put


@pytest.fixture(params=["folder", "port"])
def where(request, domain, monkeypatch, tmp_path):
    """Ask the folder, or the agent port."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(domain.services.layout.root))
    if request.param == "folder":
        return request.param
    issued = domain.users["administrator"]
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client.pem").write_bytes(key + issued.pem)
    (tmp_path / "trust.pem").write_bytes(domain.ca.pem)
    for name, value in (("CERT", tmp_path / "client.pem"), ("TRUST", tmp_path / "trust.pem")):
        monkeypatch.setenv(f"VOUCHD_{name}", str(value))
    monkeypatch.setenv("VOUCHD_URL", f"https://localhost:{domain.port}")
    return request.param


def shown(capsys, code: int = 0):
    """The JSON of the command, which ends with `code`."""
    capsys.readouterr()
    assert main(["clone", "status", "--json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_set_in_order_is_told(report, where, capsys):
    """Role, master and members; every member has the CRLs that are answered from here; nothing is wrong."""
    status = shown(capsys)
    assert (status["role"], status["master"], status["this_instance"]) == ("master", f"{HOST}:8443", f"{HOST}:8443")
    assert (status["domain"], status["facts_in"], status["replication"]) == ("vouchd", "embedded store", None)
    ((member, role, reachable),) = ((one["member"], one["role"], one["reachable"]) for one in status["members"])
    assert (member, role, reachable) == (CLONE, "clone", True)
    (point,) = status["issuing_points"]
    assert (point["ca"], point["crl_number"], point["differs"]) == ("Lab CA", 7, {})
    assert status["troubles"] == []


def test_member_that_has_another_crl_is_named_with_the_seconds(report, where, capsys):
    """A positive number: its CRL is older; a CRL that only the other has is a line too."""
    lags = ((CA, "complete", 12), (OTHER_CA, "complete", -3))
    report(members=(MemberReport(CLONE, "clone", reachable=True, lags=lags),))
    ours, theirs = shown(capsys)["issuing_points"]
    assert (ours["ca"], ours["differs"]) == ("Lab CA", {CLONE: 12})
    assert (theirs["ca"], theirs["crl_number"], theirs["differs"]) == (OTHER_CA[:16], None, {CLONE: -3})
    assert main(["clone", "status"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert f"{CLONE}: older for 12 s" in words
    assert f"{CLONE}: newer for 3 s" in words


def test_what_is_wrong_with_the_set_is_told_and_is_the_exit_code(report, where, capsys):
    """What the readiness checks say of the set is said again; what they say of anything else is not."""
    report(BAD)
    assert shown(capsys, 4)["troubles"] == [{"name": "clocks", "detail": f"differ: {CLONE} by 40 s"}]
    assert main(["clone", "status"]) == 4
    assert f"vouchd: warning: clocks: differ: {CLONE} by 40 s" in capsys.readouterr().err


def test_replication_of_the_directory_servers_is_told(report, domain, monkeypatch, capsys):
    """How many servers changes flow to, what is left over, and the state of each member's server."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(domain.services.layout.root))
    server = ServerReport(CLONE, "ldap://ds2.example.org:389", "amber", lag_seconds=5)
    report(replication=ReplicationReport(1, (server,), conflicts=2, stale_replicas=(7,)))
    status = shown(capsys)
    assert status["replication"] == "flowing to 1 of 1, conflicts: 2, replica ids to be cleaned: 1"
    assert status["members"][0]["replication"] == "amber, 5 s late"


def test_instance_in_no_set_says_how_to_begin_one(instance, capsys):
    """One that does not run ends with 3, as `vouchd status` does."""
    assert main(["clone", "status"]) == 3
    assert "vouchd start" in capsys.readouterr().err
