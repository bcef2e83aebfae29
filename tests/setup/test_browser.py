"""The documented procedure in the browser: master and clone on two directory servers, and a third member by their file."""

from __future__ import annotations

import json
import os
import signal

import pytest
from cryptography import x509
from tests.commands import run_python
from tests.ds389 import HOSTS, PASSWORD, SUFFIX, directories
from tests.processes.running import eventually
from tests.setup.person import Person, person, trust
from tests.whole.clones import CloneSet, clone_set
from tests.whole.test_clone_directory import require_alike

pytestmark = [pytest.mark.process, pytest.mark.browser]

KEYS = "the password of the keys"
STATES = ["CertStatus=Good", "CertStatus=Revoked"]
OCSP_CLIENT = "import sys\nfrom vouchd.cli.compat.ocspclient import main\nsys.exit(main())\n"


class Hosts(CloneSet):
    """Members on hosts of their own, each with a directory server that speaks StartTLS."""

    servers: dict

    def open_wizard(self, name: str) -> dict[str, str]:
        """What the command tells of the wizard of a member, made so if need be."""
        address = self.host(name)[1]
        here = ["--listen", address, "--hostname", address, *self.ports_of(name), "--workers", "1", "--setup-port", "0"]
        return self.json("create", "--unconfigured", "--instance", name, *here)

    def database(self, name: str, **differently) -> dict[str, object]:
        """The answers at Internal Database."""
        server = self.servers[name]
        good = {"host": server.host, "port": server.port, "suffix": SUFFIX, "trust": server.trust, "password": PASSWORD}
        return {"kind": "directory", **good, "connection": "starttls", **differently}

    def joining(self, name: str) -> dict[str, str]:
        """What an administrator carries from the master to the clone."""
        return {
            "url": f"https://{self.id_of(name)}",
            "token": self.json("domain", "token", "--instance", name)["token"],
        }

    def ocsp_client(self, name: str) -> list[str]:
        """What the Certificate System's command says of both certificates at that member."""
        host, port = self.host(name)[0], str(self.ports[name][0])
        said = []
        for certificate in ("good", "bad"):
            leaf = x509.load_pem_x509_certificate((self.folder / f"{certificate}.crt").read_bytes())
            words = ["-h", host, "-p", port, "-t", "/ocsp/ee/ocsp", "-c", str(self.folder / "lab/ca.crt")]
            done = run_python(OCSP_CLIENT, *words, "--serial", leaf.serial_number, cwd=self.folder)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
        return [lines.splitlines()[-1] for lines in said]


@pytest.fixture
def hosts(tmp_path):
    names = ("m", "c", "d")
    with directories(*list(HOSTS)[:3]) as servers, clone_set(tmp_path, Hosts) as members:
        members.servers = dict(zip(names, servers, strict=True))
        members.hosts = {name: (server.host, HOSTS[server.host]) for name, server in members.servers.items()}
        yield members


def set_up_master(hosts: Hosts, someone: Person) -> None:
    """Through all panels of a new subsystem, with the traps that it can fall into."""
    assert someone.go_on() == "Key Store"
    assert "/no/module.so" in someone.refused(kind="token", module="/no/module.so", token="ocsp", pin="1234")
    assert someone.go_on(kind="software") == "Security Domain"
    assert someone.go_on(kind="new", name="Browser Domain") == "Subsystem Type"
    assert "a clone joins its master's domain" in someone.refused(kind="clone")
    assert "not a host name" in someone.refused(kind="new", host="no host")
    assert someone.go_on(kind="new", host=hosts.host("m")[0]) == "Restore Keys"
    assert "no.p12" in someone.refused(kind="file", path="/no.p12", password=KEYS)
    assert someone.go_on(kind="none") == "Internal Database"
    assert "loopback interface" in someone.refused(**hosts.database("m", host="localhost"))
    assert "the bind was refused" in someone.refused(**hosts.database("m", password="wrong"))
    assert someone.go_on(**hosts.database("m")) == "Key Pairs"
    assert someone.go_on(algorithm="SHA256withRSA") == "Subject Names"
    assert someone.by_keyboard("subject", "CN=Browser OCSP") == "Requests and Certificates"
    assert "/no/ca" in someone.refused(kind="ca", ca="/no/ca")
    assert someone.go_on(kind="ca", ca=hosts.folder / "lab") == "Export Keys"
    assert "fewer than 8" in someone.refused(kind="file", path=hosts.folder / "keys.p12", password="short")
    assert someone.go_on(kind="file", path=hosts.folder / "keys.p12", password=KEYS) == "Administrator"
    assert someone.go_on(password=KEYS) == "Review"
    assert KEYS not in someone.driver.page_source
    someone.press("Set it up")
    assert "The instance is set up, and runs." in someone.until_ended()


def begin_clone(hosts: Hosts, someone: Person) -> None:
    """As far as the keys are restored, with the traps on the way."""
    joining = hosts.joining("m")
    assert someone.go_on() == "Key Store"
    assert someone.go_on(kind="software") == "Security Domain"
    assert "fingerprint" in someone.refused(kind="join", **joining, fingerprint="0" * 64)
    someone.go_on(fingerprint="")
    shown = hosts.json("domain", "info", "--instance", "m")["fingerprint"]
    assert shown in someone.text.replace(" ", "")
    someone.driver.find_element("name", "confirmed").click()
    assert "this join token is not valid" in someone.refused(token="a wrong one")
    someone.driver.find_element("name", "confirmed").click() if someone.driver.find_elements(
        "name", "confirmed"
    ) else None
    assert someone.go_on(token=joining["token"]) == "Subsystem Type"
    assert "a new subsystem has a domain of its own" in someone.refused(kind="new", host=hosts.host("c")[0])
    assert "is in this domain" in someone.refused(kind="clone", host=hosts.host("m")[0], agent_port=hosts.ports["m"][1])
    assert someone.go_on(host=hosts.host("c")[0], agent_port=hosts.ports["c"][1]) == "Restore Keys", someone.alert
    keys = hosts.folder / "keys.p12"
    keys.chmod(0o644)
    assert "chmod 600" in someone.refused(path=keys, password=KEYS)
    keys.chmod(0o600)
    assert "password" in someone.refused(path=keys, password="a wrong one")
    assert someone.go_on(path=keys, password=KEYS) == "Internal Database"


def finish_clone(hosts: Hosts, someone: Person) -> dict[str, dict[str, object]]:
    """From the directory server on; returns the answers that Review gives away."""
    for differently, complaint in (
        ({"host": "localhost"}, "loopback interface"),
        ({"suffix": "o=another"}, "both must have the same suffix"),
        ({"connection": "plain"}, "the same kind of connection"),
        ({"host": hosts.servers["m"].host, "port": hosts.servers["m"].port}, "a directory server of its own"),
    ):
        assert complaint in someone.refused(**hosts.database("c", **differently)), someone.alert
    assert someone.go_on(**hosts.database("c")) == "Requests and Certificates"
    assert someone.go_on(kind="ca", ca=hosts.folder / "lab") == "Export Keys"
    assert someone.go_on(kind="none") == "Review"
    answers = json.loads(
        someone.driver.execute_async_script(
            "const done = arguments[0]; fetch('/setup/answers.json').then(answer => answer.text()).then(done)"
        )
    )
    someone.press("Set it up")
    ended = someone.until_ended()
    assert "byte for byte" in ended, ended
    return answers


def test_master_and_clone_set_up_in_the_browser_and_a_third_by_their_file_are_alike(hosts, tmp_path):
    """Every documented trap is refused in its panel; killed in the midst it goes on; the lists and answers are the same."""
    home = tmp_path / "home"
    opened = hosts.open_wizard("m")
    with person(home, hosts.layout("m").setup / "wizard.pem") as someone:
        assert someone.come_in(opened["wizard"]) == "Welcome"
        set_up_master(hosts, someone)
        someone.press("Close the wizard")
    assert not hosts.layout("m").setup.exists()
    hosts.revoke("bad")
    hosts.publish("m")
    hosts.until_says("m", "bad", "revoked")

    opened = hosts.open_wizard("c")
    certificate = hosts.layout("c").setup / "wizard.pem"
    with person(home, certificate) as someone:
        someone.come_in(opened["wizard"])
        begin_clone(hosts, someone)
        os.kill(opened["process"], signal.SIGKILL)
        opened = hosts.json("start", "--instance", "c")
        trust(home, certificate)
        assert someone.come_in(opened["wizard"]) == "Internal Database"
        answers = finish_clone(hosts, someone)
    require_alike(hosts, "m", "c")
    assert hosts.ocsp_client("m") == hosts.ocsp_client("c") == STATES

    hosts.ports_of("d")
    port, agent_port, health_port = hosts.ports["d"]
    name, address = hosts.host("d")
    answers["subsystem"] |= {"host": name, "listen": address}
    answers["subsystem"] |= {"port": port, "agent_port": agent_port, "health_port": health_port}
    answers["internal_database"] |= {
        "host": name,
        "port": hosts.servers["d"].port,
        "trust": str(hosts.servers["d"].trust),
    }
    answers["internal_database"]["password"] = PASSWORD
    answers["security_domain"]["token"] = hosts.joining("m")["token"]
    answers["restore_keys"]["password"] = KEYS
    hosts.run("setup", "--answers", hosts.write("d.json", json.dumps(answers)), "--instance", "d")
    eventually(lambda: hosts.lists("d") == hosts.lists("m"), lambda: "the lists alike")
    require_alike(hosts, "m", "c", "d")
    assert hosts.ocsp_client("d") == STATES
