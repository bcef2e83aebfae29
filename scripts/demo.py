"""The demo: a CA, a responder, ten certificates of which three are revoked, what two OCSP clients are told, a clone.

Every step is a command of `vouchd`, shown as it would be typed in the demo's folder. Run by `make demo`; `--once` (or
ONCE=1) ends after the answers. The exit code is 1 when any answer is not the expected one.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from demokit import Commands, DemoError, Pair, console, free_ports, heading, run_demo
from rich import box
from rich.table import Column, Table

COUNT = 10
# Which certificates lose their validity, how, and what an OCSP client is to be told of them.
CHANGES: dict[int, tuple[tuple[str, ...], str]] = {
    3: (("hold",), "revoked (certificateHold)"),
    6: (("revoke", "--reason", "keyCompromise"), "revoked (keyCompromise)"),
    9: (("revoke", "--reason", "superseded"), "revoked (superseded)"),
}
STATUS_CODES = (0, 1)  # `vouchd query`: 0 all good, 1 any revoked


@dataclass(frozen=True)
class Certificate:
    """One of the ten."""

    file: str
    expected: str


class Demo(Commands):
    """The demo in one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port, self.health_port, self.agent_port, *self.clone_ports = free_ports(6)
        self.url = f"http://127.0.0.1:{self.port}/"

    def build(self) -> list[Certificate]:
        """CA, instance, certificates, revocations, CRL."""
        heading("A CA, and a responder whose signing certificate it issues")
        self.vouchd("ca", "create", "--subject", "CN=Demo CA,O=Example", "--ocsp-url", self.url)
        ports = ("--port", str(self.port), "--health-port", str(self.health_port), "--agent-port", str(self.agent_port))
        self.vouchd("create", "--ca", "ca", "--listen", "127.0.0.1", *ports)

        heading("Ten certificates, three of them revoked")
        (self.folder / "certs").mkdir()
        self.issue(0)
        console.print("  …")
        with ThreadPoolExecutor(max_workers=2) as pool:  # any number of processes may work on one CA
            list(pool.map(lambda number: self.issue(number, show=False), range(1, COUNT - 1)))
        self.issue(COUNT - 1)
        for number, ((verb, *options), _) in CHANGES.items():
            self.vouchd("ca", verb, file_of(number), *options)

        heading("The news goes to the responder, and the responder starts")
        self.vouchd("ca", "publish", "--to", "instance:vouchd")
        self.vouchd("start")
        return [Certificate(file_of(n), CHANGES[n][1] if n in CHANGES else "good") for n in range(COUNT)]

    def issue(self, number: int, *, show: bool = True) -> None:
        """Have one server certificate with a new key issued."""
        host = host_of(number)
        names = ("--subject", f"CN={host}", "--name", f"DNS:{host}")
        self.vouchd("ca", "issue", *names, "--out", file_of(number), show=show)

    def ask_vouchd(self, certificates: Sequence[Certificate]) -> dict[str, str]:
        """Answers of our own client, by certificate file; it verifies them before it prints."""
        files = [certificate.file for certificate in certificates]
        command = [*self.vouchd_command, "query", "--issuer", "ca/ca.crt", "--json", *files]
        output = self.run(command, "vouchd query --issuer ca/ca.crt --json certs/*.crt", codes=STATUS_CODES)
        return {
            answer["certificate"]: answer["status"] + (f" ({answer['reason']})" if answer["reason"] else "")
            for answer in json.loads(output)["answers"]
        }

    def ask_openssl(self, certificates: Sequence[Certificate]) -> dict[str, str]:
        """Answers of `openssl ocsp`, by certificate file."""
        command = ["openssl", "ocsp", "-issuer", "ca/ca.crt", "-CAfile", "ca/ca.crt", "-url", self.url]
        complete = [*command, *(word for certificate in certificates for word in ("-cert", certificate.file))]
        shown = shlex.join([*command, "-cert", certificates[0].file]) + " -cert …"
        done = self.run(["sh", "-c", 'exec "$@" 2>&1', "sh", *complete], shown)
        if "Response verify OK" not in done:
            raise DemoError(f"openssl did not verify the answer:\n{done}")
        answers = re.findall(r"^(\S+): (good|revoked|unknown)((?:\n\t.*)*)", done, re.MULTILINE)
        reasons = {file: re.search(r"Reason: (\w+)", more) for file, _, more in answers}
        return {file: status + (f" ({reason[1]})" if (reason := reasons[file]) else "") for file, status, _ in answers}

    def compare(self, certificates: Sequence[Certificate]) -> bool:
        """Ask the clients about all certificates and show their answers; whether all are as expected."""
        heading("What clients are told")
        answers = {"vouchd query": self.ask_vouchd(certificates)}
        if shutil.which("openssl"):
            answers["openssl ocsp"] = self.ask_openssl(certificates)
        else:
            console.print("  openssl is not installed: asking with our own client only")
        # Narrow enough for 80 columns with the longest reason; serials are in `vouchd ca certs`.
        table = Table(Column("host", no_wrap=True), box=box.SIMPLE, pad_edge=False)
        for name in ("expected", *answers):
            table.add_column(name, no_wrap=True)
        for one in certificates:
            cells = [coloured(replies.get(one.file, "no answer"), one.expected) for replies in answers.values()]
            table.add_row(Path(one.file).name.split(".")[0], two_lines(one.expected), *cells)
        console.print(table)
        return all(replies.get(one.file) == one.expected for one in certificates for replies in answers.values())

    def clone(self) -> bool:
        """Make a clone, revoke one more certificate, and show master and clone side by side; whether they are alike."""
        heading("A clone of the responder: other ports, the same keys, the same answers")
        port, health_port, agent_port = self.clone_ports
        pair = Pair(self, {"vouchd": self.url, "clone": f"http://127.0.0.1:{port}/"})
        ports = ("--port", str(port), "--health-port", str(health_port), "--agent-port", str(agent_port))
        pair.clone("localhost", ("--listen", "127.0.0.1", *ports), "localhost")
        heading("One more certificate is revoked; the CRL goes to the master alone")
        self.vouchd("ca", "revoke", file_of(1), "--reason", "keyCompromise")
        self.vouchd("ca", "publish", "--to", "instance:vouchd")
        self.vouchd("clone", "verify", "--instance", "clone", "--settle", "10")
        return pair.show([file_of(0), file_of(1), file_of(3)])

    def visit_agent_port(self) -> None:
        """List the CAs as the administrator, with the files that a browser gets."""
        if not shutil.which("curl"):
            return
        heading("What the agent port tells the administrator")
        url = f"https://localhost:{self.agent_port}/ocsp/agent/ocsp/listCAs?xml=true"
        # By way of standard input: the password is nobody else's business, and `ps` shows arguments.
        piped = """printf 'cert = "vouchd/admin.p12:%s"' "$(cat vouchd/admin.password)" """
        command = f"{piped}| curl -sSf -K - --cert-type P12 --cacert ca/ca.crt '{url}'"
        page = self.run(["sh", "-c", command], command)
        match = re.search(r"<Id>(.*?)</Id><NumRevoked>(\d+)</NumRevoked>", page)
        if not match:
            raise DemoError(f"the agent port lists no CA:\n{page}")
        console.print(f"  {match[1]}: {match[2]} revoked certificates")

    def tell_where(self) -> None:
        """Where things are."""
        heading("Where things are")
        console.print(f"  responder        {self.url}")
        console.print(f"  its clone        http://127.0.0.1:{self.clone_ports[0]}/")
        console.print(f"  health, metrics  http://127.0.0.1:{self.health_port}/healthz, /readyz, /metrics")
        console.print(f"  CA               {self.folder}/ca")
        console.print(f"  instance         {self.folder}/vouchd (settings: CS.cfg)")
        self.tell_of_agents()

    def tell_more(self) -> None:
        """What to try next, while it serves."""
        heading("Try next, in another terminal")
        activate = Path(sys.executable).parent / "activate"
        console.print(f"  cd {self.folder} && . {activate}", soft_wrap=True)
        for line in (
            "vouchd ca release certs/www3.example.org.crt --publish",
            "vouchd query --issuer ca/ca.crt certs/www3.example.org.crt",
            "vouchd explain --issuer ca/ca.crt certs/www6.example.org.crt",
            "vouchd status",
            "vouchd ca certs --status revoked",
            "vouchd certs list",
            "vouchd domain members",
            "vouchd clone verify --sample 50",
            "vouchd clone promote --instance clone",
        ):
            console.print(f"  {line}", soft_wrap=True)

    def tell_of_agents(self) -> None:
        """How a browser and curl come to the agent pages."""
        url, bag = f"https://localhost:{self.agent_port}/", self.folder / "vouchd" / "admin.p12"
        heading("The agent pages")
        console.print(f"  {url}", soft_wrap=True)
        console.print(f"  administrator    {bag} (PKCS #12 for your browser)", soft_wrap=True)
        console.print(f"  its password     {bag.with_suffix('.password')}", soft_wrap=True)
        console.print(f"  CA to trust      {self.folder}/ca/ca.crt", soft_wrap=True)
        console.print("  Firefox: Settings, Privacy & Security, View Certificates, Import")

    def stop(self) -> None:
        """Stop the instance when it was made."""
        for name in ("clone", "vouchd"):
            if (self.folder / name / "CS.cfg").exists():
                self.vouchd("stop", "--instance", name, show=False)


def host_of(number: int) -> str:
    """Whom a certificate is for."""
    return f"www{number}.example.org"


def file_of(number: int) -> str:
    """Where it is, in the demo's folder."""
    return f"certs/{host_of(number)}.crt"


def coloured(answer: str, expected: str) -> str:
    """Green as expected, else red."""
    return f"[{'green' if answer == expected else 'bold red'}]{two_lines(answer)}[/]"


def two_lines(answer: str) -> str:
    """A status with its reason below, to fit a narrow terminal."""
    return answer.replace(" (", "\n(")


def show(demo: Demo, *, once: bool) -> bool:
    """Everything the demo shows; whether all was as expected."""
    as_expected = demo.compare(demo.build())
    as_expected = demo.clone() and as_expected
    demo.visit_agent_port()
    demo.tell_where()
    if not once:
        demo.tell_more()
    return as_expected


if __name__ == "__main__":
    sys.exit(run_demo(__doc__ or "", "demo", Demo, show))
