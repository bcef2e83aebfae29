"""`vouchd setup --answers`: a master and a clone from files of answers, cut short at every step, alike in the end."""

from __future__ import annotations

import json

import pytest
from tests.ds389 import HOSTS
from tests.est_server import ESTServer
from tests.faults.killed import killed_after_saying
from tests.faults.page import FaultTable
from tests.sites import Site
from tests.softhsm import MODULE, PIN, SoftHSM
from tests.whole.clones import PASSWORD, CloneSet, clone_set
from tests.whole.test_clone_directory import require_alike

from vouchd.clock import SystemClock

pytestmark = pytest.mark.process
TABLE = FaultTable.of("set-up by a file")

# Stops at argv[1], `before STEP` or `after STEP`, of `vouchd` with the words that follow.
STUCK = """
import sys
from dataclasses import replace
from vouchd.cli.main import main
from vouchd.setup import carrying_out
point, words, run_steps = sys.argv[1], sys.argv[2:], carrying_out.run_steps
def here():
    print("here", flush=True)
    sys.stdin.read()
def stuck(steps, journal, say):
    def around(step):
        def run():
            if point == "before " + step.name:
                here()
            step.run()
            if point == "after " + step.name:
                here()
        return replace(step, run=run)
    return run_steps([around(step) for step in steps], journal, say)
carrying_out.run_steps = stuck
sys.exit(main(words))
"""
MASTER_STEPS = ("create", "certificates", "export", "administrator", "start")
CLONE_STEPS = ("preflight", "keys", "certificate", "join", "facts", "settings", "start", "verify")


class Setting(CloneSet):
    """A CA, and members that are set up by files of answers."""

    def answers(self, name: str, **sections) -> str:
        """The file of a member's answers; returns its path."""
        host, address = self.host(name)
        self.ports_of(name)
        port, agent_port, health_port = self.ports[name]
        ports = {"port": port, "agent_port": agent_port, "health_port": health_port, "workers": 1}
        sections["subsystem"] = {"host": host, "listen": address, **ports, **sections.get("subsystem", {})}
        sections.setdefault("requests", {"kind": "ca", "ca": str(self.folder / "lab")})
        return self.write(f"{name}.json", json.dumps(sections))

    def words(self, name: str) -> list[str]:
        return ["setup", "--answers", str(self.folder / f"{name}.json"), "--instance", str(self.folder / name)]

    def cut_short(self, name: str, *steps: str) -> None:
        """Kill the set-up of that member before and after each of these steps; none of it serves meanwhile."""
        for step in steps:
            for point in (f"before {step}", f"after {step}"):
                killed_after_saying("here", STUCK, point, *self.words(name))
                assert (self.layout(name).setup / "answers.json").stat().st_mode & 0o777 == 0o600

    def require_set_up(self, name: str) -> None:
        """Nothing of the set-up is left, none of its secrets either; the member runs."""
        layout = self.layout(name)
        assert not layout.setup.exists()
        assert not [path for path in self.folder.iterdir() if path.name.startswith(f".{name}.")]
        assert self.json("status", "--instance", name)["state"] == "running"


@pytest.fixture
def setting(tmp_path):
    with clone_set(tmp_path, Setting) as members:
        members.hosts = {name: (host, HOSTS[host]) for name, host in zip("mc", HOSTS, strict=False)}
        yield members


@TABLE.fault(
    "`vouchd setup` is killed before or after any of its steps",
    "none yet; the master of the domain goes on",
    "nothing; `vouchd create` there says that it is being set up",
    "the same command goes on with the step that was not done",
)
def test_master_and_clone_set_up_by_files_and_cut_short_at_every_step_are_alike(setting):
    """However often it is killed, the same command ends with a master and a clone with the same lists and answers."""
    keys = str(setting.folder / "keys.p12")
    setting.answers("m", export_keys={"kind": "file", "path": keys, "password": PASSWORD})
    setting.cut_short("m", *MASTER_STEPS)
    assert "being set up" in setting.refused("create", "--instance", "m")
    master = setting.json(*setting.words("m"))
    setting.require_set_up("m")
    setting.revoke("bad")
    setting.publish("m")
    setting.until_says("m", "bad", "revoked")
    joining = {
        "kind": "join",
        "url": f"https://{setting.id_of('m')}",
        "fingerprint": setting.json("domain", "info", "--instance", "m")["fingerprint"],
        "token": setting.json("domain", "token", "--instance", "m")["token"],
    }
    setting.answers(
        "c",
        security_domain=joining,
        subsystem={"kind": "clone", "master": setting.id_of("m")},
        restore_keys={"path": keys, "password": PASSWORD},
    )
    setting.cut_short("c", *CLONE_STEPS)
    clone = setting.json(*setting.words("c"))
    setting.require_set_up("c")
    require_alike(setting, "m", "c")
    assert (master["role"], clone["role"]) == ("master", "clone")
    assert clone["compared"].endswith("byte for byte")
    assert setting.members("m") == {setting.id_of("m"): False, setting.id_of("c"): True}


def test_master_certified_by_est_with_its_key_on_a_token_answers(tmp_path, monkeypatch):
    """Every key but that of the CA is certified by EST, at once; the signing key never leaves the token."""
    hsm = SoftHSM(tmp_path / "softhsm")
    for name, value in hsm.environment.items():
        monkeypatch.setenv(name, value)
    hsm.add("ocsp")
    site, now = Site.make(tmp_path), SystemClock().now()
    with clone_set(tmp_path, Setting) as setting, ESTServer(tmp_path, site.ca, now, basic="ocsp:a word") as server:
        setting.answers(
            "m",
            key_store={"kind": "token", "module": str(MODULE), "token": "ocsp", "pin": PIN},
            key_pairs={"algorithm": "SHA256withRSA"},
            requests={
                "kind": "est",
                "url": server.url,
                "trust": str(server.trust),
                "user": "ocsp",
                "password": "a word",
                "authorities": str(tmp_path / "ca.pem"),
            },
        )
        made = setting.json(*setting.words("m"))
        setting.require_set_up("m")
        assert server.operations == ["simpleenroll"] * 5
        assert setting.setting("m", "vouchd.renewal.ocspSigningCert.by") == "est"
        assert setting.setting("m", "ocsp.signing.tokenname") == "hardware-ocsp"
        assert PIN not in "".join(path.read_text() for path in (tmp_path / "m" / "logs").iterdir())
        assert made["role"] == "master"
        setting.run("crl", "add", site.crl("first.crl"), "--instance", "m")
        states = {one["name"]: one["state"] for one in setting.json("certs", "list", "--instance", "m")}
        assert set(states.values()) == {"valid"}, states
