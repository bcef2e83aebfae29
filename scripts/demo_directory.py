"""The demo on directory servers: a master and its clone, each with a real 389 Directory Server, one of which dies.

StartTLS between all of them. Every step is a command of `vouchd`, shown as it would be typed in the demo's folder. Run
by `make demo-directory`; `--once` (or ONCE=1) ends after it. The exit code is 1 when an answer is not as it should be.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from demokit import Commands, Pair, console, free_ports, heading, run_demo

SUFFIX = "o=ocsp.example"
# By the names that scripts/test-hosts.sh gives them: to another host a loopback address would mean itself.
HOSTS = {"master": ("ds1.vouchd.test", "127.0.0.2"), "clone": ("ds2.vouchd.test", "127.0.0.3")}


class DirectoryDemo(Commands):
    """The demo in one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ports = {name: free_ports(5, address) for name, (_, address) in HOSTS.items()}
        urls = {name: f"http://{host}:{self.ports[name][0]}/" for name, (host, _) in HOSTS.items()}
        self.pair = Pair(self, urls)

    def build(self) -> None:
        """CA, two directory servers, master, clone."""
        heading("A CA, and two directory servers with TLS")
        self.vouchd("ca", "create", "--subject", "CN=Demo CA,O=Example")
        for name, (host, address) in HOSTS.items():
            plain, secure = self.ports[name][3:]
            where = ("--host", host, "--listen", address, "--port", str(plain), "--secure-port", str(secure))
            user = ("--user", "root") if os.geteuid() == 0 else ()
            self.vouchd(
                "directory", "create", "--dir", f"ds-{name}", "--suffix", SUFFIX, *where, "--ca", "ca", "--small", *user
            )
        heading("The master, moved to its directory server")
        host, address = HOSTS["master"]
        names = ("--listen", address, "--hostname", host)
        self.vouchd("create", "--instance", "master", "--ca", "ca", *names, *self._port_options("master"))
        for number in range(2):
            self.vouchd(
                "ca", "issue", "--subject", f"CN=www{number}.example.org", "--out", f"www{number}.crt", show=False
            )
        self.vouchd("ca", "publish", "--to", "instance:master")
        self.vouchd("start", "--instance", "master")
        manager = ("--password-file", "ds-master/manager.password")
        self.vouchd("directory", "use", "--instance", "master", "--dir", "ds-master", *manager)
        heading("The clone, by one command")
        host, address = HOSTS["clone"]
        options = [
            *("--directory", f"ldap://{host}:{self.ports['clone'][3]}/{SUFFIX}", "--starttls"),
            *("--directory-trust", "ds-clone/etc/root.pem"),
            *("--directory-password-file", "ds-clone/manager.password"),
        ]
        self.pair.clone(host, ("--listen", address, *self._port_options("clone"), *options), HOSTS["master"][0])

    def _port_options(self, name: str) -> tuple[str, ...]:
        port, agent_port, health_port = self.ports[name][:3]
        return ("--port", str(port), "--agent-port", str(agent_port), "--health-port", str(health_port))

    def publish(self, number: int) -> None:
        """Revoke a certificate and publish to the master."""
        self.vouchd("ca", "revoke", f"www{number}.crt", "--reason", "keyCompromise")
        self.vouchd("ca", "publish", "--to", "instance:master")

    def settle(self) -> None:
        """Wait until both are alike."""
        self.vouchd("clone", "verify", "--instance", "clone", "--settle", "30")

    def outage(self) -> bool:
        """Kill the clone's directory server, publish, revive it; whether all came about as it should."""
        heading("The clone's directory server is killed; the CRL goes to the master")
        pid = self._pid("ds-clone")
        console.print(f"[bold cyan]$[/] kill -9 {pid}   # the directory server of {HOSTS['clone'][0]}")
        os.kill(pid, signal.SIGKILL)
        self.publish(1)
        answers = self.pair.answers("www1.crt")
        console.print(f"  master: {answers['master'][0]}; clone, which has not heard of it: {answers['clone'][0]}")
        heading("It is started again, and replication catches up")
        self.vouchd("directory", "start", "--dir", "ds-clone")
        self.settle()
        return self.pair.show(["www0.crt", "www1.crt"])

    def _pid(self, name: str) -> int:
        return int((self.folder / name / "run" / "pid").read_text().strip())

    def stop(self) -> None:
        """Stop everything that was made."""
        for name in HOSTS:
            if (self.folder / name / "CS.cfg").exists():
                self.vouchd("stop", "--instance", name, show=False)
            if (self.folder / f"ds-{name}").exists():
                self.run([*self.vouchd_command, "directory", "stop", "--dir", f"ds-{name}"], "", codes=(0, 1))


def show(demo: DirectoryDemo, *, once: bool) -> bool:  # noqa: ARG001  nothing is told of what to try next
    """Everything the demo shows; whether all was as expected."""
    demo.build()
    heading("A certificate is revoked; the CRL goes to the master alone")
    demo.publish(0)
    demo.settle()
    alike = demo.pair.show(["www0.crt", "www1.crt"])
    alike = demo.outage() and alike
    console.print(demo.vouchd("directory", "status", "--instance", "master").rstrip())
    return alike


if __name__ == "__main__":
    sys.exit(run_demo(__doc__ or "", "demo-directory", DirectoryDemo, show))
