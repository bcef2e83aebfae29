"""The demo of the set-up wizard: a CA, and an instance that is not set up yet, whose wizard waits for a browser.

Run by `make demo-wizard`, which leaves the wizard open to click through; `--once` (or ONCE=1) goes through it over
HTTPS instead and ends: every panel, the last act, a revoked certificate. The exit code is 1 when something is not as it
should be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from demokit import Commands, DemoError, console, free_ports, heading, run_demo
from wizard_visitor import Visitor

HOST, ADDRESS = "ocsp.example.org", "127.0.0.1"


class WizardDemo(Commands):
    """The demo in one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port, self.agent_port, self.health_port = free_ports(3)

    def build(self) -> dict[str, str]:
        """A CA with two certificates, and an instance that is to be set up; what is told of its wizard."""
        heading("A CA, and an instance that is not set up yet")
        self.vouchd("ca", "create", "--subject", "CN=Demo CA,O=Example")
        for name in ("good", "bad"):
            self.vouchd("ca", "issue", "--subject", f"CN={name}.example.org", "--out", f"{name}.crt", show=False)
        ports = ("--port", str(self.port), "--agent-port", str(self.agent_port), "--health-port", str(self.health_port))
        here = ("--listen", ADDRESS, *ports, "--setup-port", "0")
        output = self.vouchd("create", "--unconfigured", *here, "--json")
        opened: dict[str, str] = json.loads(output)
        console.print(f"  wizard       {opened['wizard']}", soft_wrap=True)
        console.print(f"  fingerprint  {opened['fingerprint']}", soft_wrap=True)
        return opened

    def tell(self) -> None:
        """What to try in the browser."""
        heading("Click through it")
        console.print("  Subsystem Type: the name of this host may be anything with a dot, such as " + HOST)
        console.print(f"  Requests and Certificates: our own certificate manager, in {self.folder / 'ca'}")
        console.print("  All else may stay as it is. Ctrl-C ends the demo, and what was set up.")

    def walk(self, opened: dict[str, str]) -> bool:
        """Go through the wizard; whether it ends with an instance that answers."""
        heading("Through all panels")
        visitor = Visitor(opened["wizard"], opened["fingerprint"])
        page = visitor.enter()
        answers: dict[str, dict[str, object]] = {
            "welcome": {},
            "key-store": {"kind": "software"},
            "security-domain": {"kind": "new", "name": "Demo Domain"},
            "subsystem-type": {"kind": "new", "host": HOST},
            "restore-keys": {"kind": "none"},
            "internal-database": {"kind": "embedded"},
            "key-pairs": {"algorithm": "SHA256withEC"},
            "subject-names": {"subject": "CN=Demo OCSP,O=Example"},
            "requests-and-certificates": {"kind": "ca", "ca": str(self.folder / "ca")},
            "export-keys": {"kind": "file", "path": str(self.folder / "keys.p12"), "password": "demo password"},
            "administrator": {"password": "demo password"},
            "review": {},
        }
        for slug, values in answers.items():
            console.print(f"  {page.panel}")
            page = visitor.fill(slug, **values)
            if page.error:
                raise DemoError(f"{page.panel}: {page.error}")
        page = visitor.until_ended()
        console.print(f"  {page.panel}: {page.error or 'set up, and running'}")
        if page.error:
            raise DemoError(page.error)
        visitor.send("/setup/leave", page.token, {})
        return self.answers()

    def answers(self) -> bool:
        """Whether the instance knows which certificate is revoked."""
        heading("A certificate is revoked, and its CRL published")
        self.vouchd("ca", "revoke", "bad.crt", "--reason", "keyCompromise")
        self.vouchd("ca", "publish", "--to", "instance:vouchd")
        url = f"http://{ADDRESS}:{self.port}/"
        question = ("query", "--url", url, "--issuer", "ca/ca.crt", "good.crt", "bad.crt")
        shown = " ".join(("vouchd", *question))
        said = self.run([*self.vouchd_command, *question, "--json"], shown, codes=(0, 1))  # 1: one is revoked
        states = [one["status"] for one in json.loads(said)["answers"]]
        console.print(f"  good.crt: {states[0]}, bad.crt: {states[1]}")
        return states == ["good", "revoked"]

    def stop(self) -> None:
        """Stop the wizard, or the instance that it has set up."""
        if (self.folder / "vouchd" / "CS.cfg").exists():
            self.vouchd("stop", show=False)


def show(demo: WizardDemo, *, once: bool) -> bool:
    """Everything the demo shows; whether all was as expected."""
    opened = demo.build()
    if once:
        return demo.walk(opened)
    demo.tell()
    return True


if __name__ == "__main__":
    sys.exit(run_demo(__doc__ or "", "demo-wizard", WizardDemo, show))
