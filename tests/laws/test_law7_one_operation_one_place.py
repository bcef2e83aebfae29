"""Law 7: the command line, here and with --url, REST and the agent pages call the same operation of one table.

A verb that takes --url prints the same on the folder and over the port, and ends with the same exit code.

The verbs are those that carry the decorator; one without a case here fails. Each case is run against one running
instance, on its folder and at its agent port, as text and as JSON, from the same state each time.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.agent.agent_port import issue
from tests.agent.domain_site import HOST, a_clone
from tests.commands import run_vouchd
from tests.pki import CA, shared_key
from tests.ports import free_port
from tests.processes.running import eventually

import vouchd.agent.pages
from vouchd.cli.main import main
from vouchd.cli.reference import commands
from vouchd.cloning.registry import token_digest
from vouchd.core.approval_facts import Approval, Approvals, ApprovalState
from vouchd.files import PRIVATE, replace_file
from vouchd.instance.lifecycle import status
from vouchd.instance.locking import config_lock
from vouchd.instance.pidfile import running_pid
from vouchd.pkix.crl import read_header
from vouchd.settings import cs_cfg
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

pytestmark = pytest.mark.process

USER = "everybody"
WORDS = ("administrators", "agents", "auditors", "domain-administrators")
REACHABLE = {path for path, command in commands() if getattr(command.callback, "reachable", False)}


@dataclass
class Lab:
    """A running instance with one CA of our own, and the environments that name its folder and its port."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def layout(self) -> Layout:
        return Layout(self.folder / "vouchd")

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def do(self, *arguments: str, code: int = 0) -> None:
        """A command on the folder that only brings about a state."""
        assert self.end_of(*arguments) == code, arguments

    def end_of(self, *arguments: str) -> int:
        """The exit code of a command on the folder."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VOUCHD_INSTANCE", str(self.layout.root))
            return main([*arguments])

    def environment(self, *, port: bool) -> dict[str, str]:
        report = status(self.layout).report
        if not port:
            return {"VOUCHD_INSTANCE": str(self.layout.root)}
        return {
            "VOUCHD_INSTANCE": self.file("nowhere"),
            "VOUCHD_URL": f"https://localhost:{report.agent[1]}",
            "VOUCHD_CERT": self.file("client.pem"),
            "VOUCHD_TRUST": self.file("lab/ca.crt"),
        }

    def crl(self) -> str:
        """A file with the next CRL."""
        self.do("ca", "crl", "--ca", self.file("lab"), "--out", self.file("next.crl"))
        return self.file("next.crl")

    def hold_back(self) -> None:
        """Have a CRL held back that revokes more than is usual."""
        self.do("authority", "set", "Lab", "--quarantine-percent", "1", "--quarantine-gains")
        for _ in range(2):
            name = f"held-{next(self.numbers)}.crt"
            issued = ["ca", "issue", "--ca", self.file("lab"), "--subject", "CN=x", "--name", "DNS:x.example"]
            self.do(*issued, "--out", self.file(name))
            self.do("ca", "revoke", "--ca", self.file("lab"), self.file(name))
        self.do("crl", "add", self.crl(), code=75)

    def let_go(self) -> None:
        """Nothing is held back, and no CRL is looked at so strictly."""
        self.end_of("crl", "quarantine", "drop", "Lab")
        self.do("authority", "set", "Lab", "--quarantine-percent", "default", "--no-quarantine-gains")


@dataclass(frozen=True)
class Case:
    """What is typed after the verb; `before` and `after` bring about the state on the folder.

    `digits` says that numbers and times differ from one run to the next: how they stand there is compared all the same.
    """

    arguments: Callable[[Lab], list[str]] = lambda _: []
    code: int = 0
    before: Callable[[Lab], object] = lambda _: None
    after: Callable[[Lab], object] = lambda _: None
    digits: bool = False
    has_json: bool = True


def said(*arguments: str) -> Callable[[Lab], list[str]]:
    """Arguments that are the same each time."""
    return lambda _: list(arguments)


def done(*arguments: str) -> Callable[[Lab], object]:
    """A command on the folder."""
    return lambda lab: lab.do(*arguments)


def _halt(lab: Lab) -> None:
    lab.layout.password_conf.chmod(0o644)
    lab.do("selftest", "run", "KeyFileModes", code=1)
    eventually(
        lambda: status(lab.layout).report.upkeep, "the upkeep of signers fails"
    )  # the upkeep of signers reads that file, too


def _go_on(lab: Lab) -> None:
    lab.layout.password_conf.chmod(0o600)
    lab.do("selftest", "run", "KeyFileModes")
    eventually(lambda: not status(lab.layout).report.upkeep, "it works again")


def _join_token(lab: Lab) -> list[str]:
    """The name of a join token that was made just now."""
    lab.do("domain", "token", "--out", lab.file("void.token"))
    return [token_digest(Path(lab.file("void.token")).read_text().strip())[:16]]


def _two_crls(lab: Lab) -> list[str]:
    """The numbers of two CRLs that were taken just now."""
    numbers = []
    for _ in range(2):
        lab.do("crl", "add", lab.crl())
        numbers.append(str(read_header(Path(lab.file("next.crl")).read_bytes()).crl_number))
    return [*numbers, "--of", "Lab"]


OTHER_MEMBER = a_clone(2)


def _let_in(lab: Lab) -> None:
    with wiring.services(lab.layout) as services:
        services.store.put_member(OTHER_MEMBER, None)


def _alone(lab: Lab) -> None:
    """Those who were let in and left again are out of what the instance has seen, too."""
    eventually(lambda: not status(lab.layout).report.members, "no other member")


def _nobody_listens(lab: Lab) -> list[str]:
    return ["--url", "ldap://ds1.vouchd.test:1/o=ocsp.example", "--password-file", lab.file("pw")]


def _wrong_certificate(lab: Lab) -> list[str]:
    return ["subsystem", lab.file("other.pem"), "--dry-run"]


def _add_again(lab: Lab) -> None:
    lab.do("authority", "add", lab.file("lab/ca.crt"), "--label", "Lab")


def _come_again(lab: Lab) -> None:
    lab.do("crl", "retire", "Lab", "complete", "--undo")
    lab.do("crl", "add", lab.crl())


DECIDED = Approval(
    id="9f2c6a01b1d04e1b",
    operation="authorities.remove",
    arguments='{"body":null,"path":{"authority":"00"},"query":{"wait":5}}',
    requester="alice",
    origin="192.0.2.1",
    requested_at=1_800_000_000,
    expires_at=4_000_000_000,
    state=ApprovalState.DENIED,
    decided_by="bob",
    decided_at=1_800_000_100,
)
WAITING = replace(DECIDED, id="aa" * 8, state=ApprovalState.WAITING, decided_by="", decided_at=None)


def _put_down(lab: Lab) -> None:
    """One waits for a second agent, another one was denied."""
    with wiring.services(lab.layout) as services:
        services.store.put_approvals(Approvals(entries=(DECIDED, WAITING)), services.store.approvals())


def _forget(lab: Lab) -> None:
    with wiring.services(lab.layout) as services:
        services.store.put_approvals(Approvals(), services.store.approvals())


CAROL = done("user", "add", "carol", "--group", "agents")
NO_CAROL = done("user", "remove", "carol")


def _source(**lines: str) -> Callable[[Lab], object]:
    """A source of these lines in CS.cfg, or none; written, for an instance restarts with each change by a verb."""

    def write(lab: Lab) -> None:
        with config_lock(lab.layout.config_lock):
            config = cs_cfg.read(lab.layout.cs_cfg)
            for key in [key for key in config.assignments if key.startswith("vouchd.source.root.")]:
                config = config.without(key)
            config = config.with_values({f"vouchd.source.root.{key}": value for key, value in lines.items()})
            replace_file(lab.layout.cs_cfg, config.render().encode(), PRIVATE)

    return write


SOURCE = _source(url="first.crl", intervalInSec="3600", paused="true")
NO_SOURCE = _source()
CASES: dict[str, list[Case]] = {
    "vouchd restart": [Case(digits=True)],
    "vouchd status": [Case()],
    "vouchd explain": [
        Case(said("--authority", "Lab", "--serial", "0x1")),
        Case(lambda lab: ["--issuer", lab.file("other.pem"), "--serial", "1"]),
        Case(said("--authority", "nobody", "--serial", "1"), 66),
    ],
    "vouchd authority add": [
        Case(lambda lab: [lab.file("lab/ca.crt"), "--label", "Lab"]),
        Case(lambda lab: [lab.file("other.pem")], 78),
        Case(lambda lab: [lab.file("lab/ca.crt"), "--signer", "nobody"], 78),
        Case(lambda lab: [lab.file("client.pem")], 78),
    ],
    "vouchd authority list": [Case()],
    "vouchd authority compromised": [
        Case(said("nobody"), 66),
        Case(
            said("Lab", "--answer", "tryLater"),
            after=done("authority", "compromised", "Lab", "--withdraw"),
            digits=True,
        ),
    ],
    "vouchd authority remove": [
        Case(said("nobody"), 66),
        Case(said("Lab"), after=_add_again),
    ],
    "vouchd authority set": [
        Case(said("Lab")),
        Case(
            said("Lab", "--not-found-as-good", "false", "--archive-cutoff", "100"),
            after=done("authority", "set", "Lab", "--not-found-as-good", "default", "--archive-cutoff", "default"),
        ),
        Case(said("Lab", "--signer", "nobody"), 78),
        Case(said("Lab", "--quarantine-percent", "200"), 65),
        Case(
            lambda lab: ["Lab", "--issued-serials", lab.file("serials.txt"), "--yes"],
            after=done("authority", "set", "Lab", "--issued-serials", "default"),
        ),
    ],
    "vouchd crl add": [
        Case(lambda lab: [lab.crl()], digits=True),
        Case(lambda lab: [lab.crl(), "--no-wait"], digits=True),
        Case(lambda lab: [lab.file("serials.txt")], 65),
        Case(lambda lab: [lab.crl(), "--accept-lower-number", "--reason", "mistyped"], digits=True),
        Case(lambda lab: [lab.crl(), "--accept-lower-number"], 78),
    ],
    "vouchd crl step-back": [
        Case(said("Lab", "--reason", "a slip"), 66),
        Case(said("nobody", "--reason", "a slip"), 66),
    ],
    "vouchd crl retire": [
        Case(said("Lab", "complete", "--yes"), after=_come_again, digits=True),
        Case(said("Lab", "0" * 64, "--yes"), 66),
        Case(said("Lab", "complete", "--undo"), 66),
    ],
    "vouchd crl list": [Case()],
    "vouchd crl show": [
        Case(said("Lab")),
        Case(lambda lab: [lab.file("first.crl")]),
        Case(said("nobody"), 66),
    ],
    "vouchd crl history": [
        Case(said("Lab")),
        Case(said("nobody"), 66),
        Case(said("Lab", "99", "--out", "never.crl"), 66),
    ],
    "vouchd crl diff": [
        Case(_two_crls, digits=True),
        Case(said("98", "99", "--of", "Lab"), 66),
        Case(lambda lab: [lab.file("first.crl"), lab.file("first.crl")]),
        Case(lambda lab: [lab.file("first.crl"), lab.file("serials.txt")], 65),
    ],
    "vouchd crl quarantine list": [Case(), Case(before=Lab.hold_back, after=Lab.let_go, digits=True)],
    "vouchd crl quarantine release": [
        Case(said("Lab"), before=Lab.hold_back, after=Lab.let_go, digits=True),
        Case(said("Lab"), 66),
    ],
    "vouchd crl quarantine drop": [
        Case(said("Lab"), before=Lab.hold_back, after=Lab.let_go, has_json=False),
        Case(said("Lab"), 66, has_json=False),
    ],
    "vouchd source list": [Case()],
    "vouchd source add": [
        Case(said("root", "first.crl", "--paused"), after=NO_SOURCE),
        Case(said("root", "gopher://crl.example/"), 78),
        Case(said("a b", "first.crl"), 65),
    ],
    "vouchd source set": [
        Case(said("root", "--interval", "60"), before=SOURCE, after=NO_SOURCE),
        Case(said("nobody", "--interval", "60"), 66),
    ],
    "vouchd source pause": [Case(said("nobody"), 66)],
    "vouchd source resume": [Case(said("root"), before=SOURCE, after=NO_SOURCE), Case(said("nobody"), 66)],
    "vouchd source remove": [
        Case(said("root"), before=SOURCE, has_json=False),
        Case(said("nobody"), 66, has_json=False),
    ],
    "vouchd source fetch": [Case(said("nobody"), 66)],
    "vouchd user list": [Case()],
    "vouchd user add": [
        Case(lambda lab: ["carol", "--group", "agents", "--cert", lab.file("other.pem")], after=NO_CAROL),
        Case(said(USER), 73),
        Case(said("a b"), 65),
    ],
    "vouchd user remove": [
        Case(said("carol"), before=CAROL, has_json=False),
        Case(said("nobody"), 66, has_json=False),
    ],
    "vouchd user enable": [Case(said("carol"), before=CAROL, after=NO_CAROL), Case(said("nobody"), 66)],
    "vouchd user disable": [Case(said("carol"), before=CAROL, after=NO_CAROL)],
    "vouchd user groups": [
        Case(said(USER)),
        Case(said("carol", "--add", "auditors", "--remove", "agents"), before=CAROL, after=NO_CAROL),
    ],
    "vouchd user certs": [
        Case(said(USER)),
        Case(lambda lab: ["carol", "--add", lab.file("other.pem")], before=CAROL, after=NO_CAROL),
        Case(said(USER, "--remove", "00000000"), 66),
    ],
    "vouchd certs list": [Case()],
    "vouchd certs request": [
        Case(said("subsystem", "--same-key"), digits=True),
        Case(said("subsystem", "--subject", "no name"), 65),
        Case(said("nobody"), 66),
    ],
    "vouchd certs install": [Case(_wrong_certificate, 65)],
    "vouchd certs renew": [
        Case(lambda lab: ["subsystem", "--ca", lab.file("lab"), "--no-restart"], digits=True),
        Case(lambda lab: ["subsystem", "--ca", lab.file("lab")], digits=True),
        Case(said("nobody"), 66),
    ],
    "vouchd approval list": [
        Case(),
        Case(before=_put_down, after=_forget),
        Case(said("--all"), before=_put_down, after=_forget),
    ],
    "vouchd approval show": [Case(said(DECIDED.id[:8]), before=_put_down, after=_forget), Case(said("nothing"), 66)],
    "vouchd approval approve": [Case(said("nothing"), 66)],
    "vouchd approval deny": [
        Case(said("nothing"), 66),
        Case(said(DECIDED.id), 75, before=_put_down, after=_forget),
    ],
    "vouchd selftest list": [Case()],
    "vouchd selftest run": [Case(said("OCSPPresence"), digits=True), Case(said("NoSuchTest"), 66)],
    "vouchd alert list": [Case()],
    "vouchd alert test": [Case(), Case(said("nobody"), 66)],
    "vouchd config list": [Case(digits=True), Case(said("audit", "--all"))],
    "vouchd config get": [
        Case(said("vouchd.request.maxCertIDs"), has_json=False),
        Case(said("no.such"), 66, has_json=False),
    ],
    "vouchd config explain": [Case(said("vouchd.clone.staleInSec"))],
    "vouchd config set": [
        Case(said("vouchd.request.maxCertIDs=7", "--dry-run"), digits=True),
        Case(
            said("vouchd.request.maxCertIDs=7"),
            after=done("config", "set", "vouchd.request.maxCertIDs"),
            digits=True,
        ),
        Case(said("vouchd.request.maxCertIDs=none"), 78),
    ],
    "vouchd config diff": [Case(lambda lab: [str(lab.layout.root)])],
    "vouchd audit show": [Case(said("3")), Case(said("999999"), 66)],
    "vouchd audit search": [
        Case(said("--event", "CONFIG_ROLE", "--until", "2026-01-01")),
        Case(said("--limit", "1", "--event", "AUDIT_LOG_STARTUP")),
    ],
    "vouchd audit former": [Case(said("--event", "AUTH", "--since", "2026-01-01"))],
    "vouchd domain info": [Case()],
    "vouchd domain members": [Case()],
    "vouchd clone status": [Case(code=66)],
    "vouchd clone verify": [Case(code=66)],
    "vouchd backup": [
        Case(lambda lab: ["--out", lab.file("keys.p12"), "--password-file", lab.file("pw")]),
        Case(lambda lab: ["--out", lab.file("keys.p12"), "--password-file", lab.file("empty")], 65),
    ],
    "vouchd pkcs12 export": [
        Case(lambda lab: ["sslserver", "--out", lab.file("keys.p12"), "--password-file", lab.file("pw")]),
        Case(lambda lab: ["nobody", "--out", lab.file("keys.p12"), "--password-file", lab.file("pw")], 66),
    ],
    "vouchd directory adopt": [Case(code=78), Case(_nobody_listens, 75)],
    "vouchd directory use": [Case(_nobody_listens, 75)],
    "vouchd signer list": [Case()],
    "vouchd signer show": [Case(said("ocspSigningCert")), Case(said("nobody"), 66)],
    "vouchd signer add": [Case(said("tier2", "--subject", "no name"), 65)],
    "vouchd signer request": [Case(said("nobody"), 66)],
    "vouchd signer install": [Case(lambda lab: ["nobody", lab.file("other.pem")], 66)],
    "vouchd signer renew": [Case(lambda lab: ["nobody", "--ca", lab.file("lab")], 66)],
    "vouchd signer switch": [Case(said("nobody", "1"), 66)],
    "vouchd signer retire": [Case(said("nobody", "1"), 66)],
    "vouchd token list": [Case()],
    "vouchd token show": [Case(said("nobody"), 66)],
    "vouchd token test": [Case(said("nobody"), 66)],
    "vouchd domain token": [Case(code=66)],
    "vouchd domain tokens": [Case()],
    "vouchd domain void": [Case(said("4f2a91c0"), 66, has_json=False)],
    "vouchd domain leave": [Case(said("nobody"), 66)],
    "vouchd domain renewal": [Case()],
    "vouchd domain renew": [Case(code=66)],
    "vouchd clone promote": [Case(said("nobody"), 66)],
}
# The same of the master of a set.
MASTER_CASES: dict[str, list[Case]] = {
    "vouchd clone prepare": [
        Case(lambda lab: ["--out", lab.file("keys.p12"), "--password-file", lab.file("pw")], digits=True),
        Case(lambda lab: ["--out", lab.file("keys.p12"), "--password-file", lab.file("empty")], 65),
        Case(lambda lab: ["--out", lab.file("keys.p12"), "--password-file", lab.file("pw"), "--host", "two words"], 65),
    ],
    "vouchd domain token": [
        Case(said("--seconds", "60"), digits=True),
        Case(lambda lab: ["--out", lab.file("token")], digits=True),
    ],
    "vouchd domain tokens": [Case()],
    "vouchd domain void": [Case(_join_token, has_json=False), Case(said("4f2a91c0"), 66, has_json=False)],
    "vouchd domain leave": [
        Case(said(OTHER_MEMBER.id), before=_let_in),
        Case(said(HOST), 78, before=_let_in, after=done("domain", "leave", OTHER_MEMBER.id)),
    ],
    "vouchd domain renewal": [Case()],
    "vouchd domain members": [Case()],
    "vouchd audit former": [Case(said("--event", "AUTH", "--since", "2026-01-01"))],
    "vouchd domain info": [Case()],
    "vouchd clone status": [Case(digits=True, before=_alone)],
    "vouchd clone destroy": [Case(code=78, before=_let_in, after=done("domain", "leave", OTHER_MEMBER.id))],
    "vouchd clone promote": [Case(said("nobody"), 66)],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """The instance runs; a user of its own comes to the port with all groups of the staff."""
    with running(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Iterator[Lab]:
    """The same, and it is the master of a set."""
    with running(tmp_path_factory.mktemp("master"), (free_port(), free_port(), free_port())) as made:
        made.do("clone", "prepare", "--host", HOST, "--out", made.file("keys.p12"), "--password-file", made.file("pw"))
        yield made


@contextmanager
def running(folder: Path, numbers: tuple[int, int, int] = (0, 0, 0)) -> Iterator[Lab]:
    """A running instance in that folder."""
    lab = Lab(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab.folder)
        lab.do("ca", "create", "--ca", "lab", "--subject", "CN=Lab CA")
        names = ("port", "health-port", "agent-port")
        ports = [word for name, number in zip(names, numbers, strict=True) for word in (f"--{name}", str(number))]
        lab.do("create", "--ca", "lab", "--hostname", "localhost", "--listen", "127.0.0.1", "--workers", "1", *ports)
        lab.do("authority", "add", "lab/ca.crt", "--label", "Lab")
        lab.do("ca", "crl", "--ca", "lab", "--out", "first.crl")
        lab.do("crl", "add", "first.crl")
        other = CA.create("Other CA", key=shared_key("EC", 23))
        client = issue(CA.create("Staff CA"), USER)
        key = client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (lab.folder / "client.pem").write_bytes(key + client.pem)
        (lab.folder / "user.pem").write_bytes(client.pem)
        (lab.folder / "other.pem").write_bytes(other.pem)
        (lab.folder / "serials.txt").write_text("12\n13\n")
        for name, words in (("pw", "correct horse"), ("empty", "")):
            (lab.folder / name).write_text(words)
            (lab.folder / name).chmod(0o600)
        groups = [word for name in WORDS for word in ("--group", name)]
        lab.do("user", "add", USER, *groups, "--cert", "user.pem")
        started = run_vouchd("start", "--instance", lab.layout.root)
        assert started.returncode == 0, started.stderr
        yield lab
        lab.do("stop")
        assert running_pid(lab.layout.pid_file) is None


UNREACHABLE = 69  # exit code: nobody answers at the port


def both(lab: Lab, capsys, command: str, case: Case, *more: str) -> list[tuple[int, str, str]]:
    """Exit code, stdout and, of a failure, stderr: on the folder and over the port."""
    outcomes = []
    for port in (False, True):
        case.before(lab)
        arguments = case.arguments(lab)

        def outcome(port=port, arguments=arguments) -> tuple[int, str, str] | None:
            """What came of it; nothing where the instance just restarted for what the case before had changed."""
            with pytest.MonkeyPatch.context() as patch:
                for name, value in lab.environment(port=port).items():
                    patch.setenv(name, value)
                capsys.readouterr()
                code = main([*command.split()[1:], *arguments, *more])
                return None if code == UNREACHABLE else (code, *capsys.readouterr())

        code, out, err = eventually(outcome, "the instance is reached")
        case.after(lab)
        outcomes.append((code, _plain(out, case), _plain(err, case) if code else ""))
    return outcomes


def _plain(text: str, case: Case) -> str:
    """What is compared: all of it, or without the numbers and what is random."""
    if not case.digits:
        return text
    text = re.sub(r"-----BEGIN.*?-----END[^-]*-----(\\n)?", "PEM", text, flags=re.DOTALL)
    text = re.sub(r"(?<![\w-])[\w-]{43}(?![\w-])", "TOKEN", text)
    text = re.sub(r"\b[0-9a-f]{8,}\b", "N", text)
    return re.sub(r" +", " ", re.sub(r"\d+", "N", text))


# What works on a folder and is no operation, and why.
FOLDER_ONLY = {
    "vouchd create": "makes the instance",
    "vouchd clone create": "makes the instance",
    "vouchd restore": "makes the instance",
    "vouchd import dogtag": "makes the instance",
    "vouchd import audit": "reads files of this host and keeps them whole below the folder",
    "vouchd compare": "asks two responders from here, for days, and signs with the key of this host",
    "vouchd domain register": "changes another program's list, with a password that is not sent to anybody else",
    "vouchd domain unregister": "changes another program's list, with a password that is not sent to anybody else",
    "vouchd setup": "makes the instance",
    "vouchd run": "is the instance",
    "vouchd start": "nobody answers yet",
    "vouchd stop": "nobody answers afterwards",
    "vouchd service install": "changes the host",
    "vouchd pkcs12 import": "keys are put where they are to stay by hand",
    "vouchd audit verify": "proves the files themselves",
    "vouchd directory setup": "a server that no instance need have yet",
    "vouchd directory status": "asks the servers itself, so also when no instance runs",
    "vouchd directory doubts": "the word of an operator on what this member believes, which no other may give for him",
}


_SERVED = "what is served now, also while the store is away: the operations that tell of it open the store"
_SOUGHT = "the list is sought by words and cut by the number of the page, not after an id"
_HEAD = "what the head of every page says, and the menu"
_LIMIT = "a limit that the page names"

# What the agent pages ask of the services themselves, and why: all else is an operation.
PAGES_READ = {
    "authorities.summaries": _SOUGHT,
    "authorities.summary_by_id": _SOUGHT,
    "known_users.users": "who was known last, while the store is away and the operation is refused",
    "running.checks": _SERVED,
    "running.explain": _SERVED,
    "running.report": _SERVED,
    "running.snapshot": _SERVED,
    "running.state": _SERVED,
    "settings.agent": "how large a CRL may be until it is confirmed",
    "settings.default_signer": "the signer of a CA that names none",
    "settings.former_crl_bytes": _LIMIT,
    "settings.former_crls": _LIMIT,
    "settings.of_set": "the name of the set, and how often it is compared",
    "clock": _HEAD,
    "layout": f"{_HEAD}; and what every call of an operation goes by",
    "permission": _HEAD,
    "running": "what every call of an operation goes by",
    "settings": _HEAD,
}


def asked_of_services(path: Path) -> Iterator[str]:
    """`users.find` for each `services.users.find` in a module, `users` where a service is handed on as a whole."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    looked_into = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        match node:
            case ast.Attribute(ast.Attribute(ast.Attribute(attr="services") | ast.Name("services"), service), name):
                yield f"{service}.{name}"
            case ast.Attribute(ast.Attribute(attr="services") | ast.Name("services"), service):
                if id(node) not in looked_into:
                    yield service


def test_pages_change_nothing_but_by_operations():
    """What somebody does on a page is what he would do by the command line or by REST; what pages read else says why."""
    pages = Path(vouchd.agent.pages.__file__).parent
    assert {one for path in pages.glob("*.py") for one in asked_of_services(path)} == PAGES_READ.keys()


def test_verb_of_an_instance_is_an_operation_or_says_why_not():
    """No verb works past the table without a reason."""
    of_an_instance = {path for path, command in commands() if any(one.name == "instance" for one in command.params)}
    assert of_an_instance - REACHABLE == set(FOLDER_ONLY)


def test_verb_that_takes_a_url_has_a_case():
    """A verb that can be asked for over the port is compared with itself on the folder."""
    assert {*CASES, *MASTER_CASES} == REACHABLE


# What only a programmer says: None, True, False, and the look of his lists and mappings.
PYTHON = re.compile(r"\b(None|True|False)\b|[\[{(]['\"]|<[a-z_.]+ object|\bdatetime\.")


def check_words(stdout: str, form: tuple[str, ...]) -> None:
    """What people get is in their words; what programs get has names as REST spells them, none in capitals."""
    assert form or not PYTHON.search(stdout), stdout
    assert not re.findall(r'"[A-Z]\w*":', stdout), stdout


FORMS = {"text": (), "json": ("--json",)}


def each(cases_of_verbs: dict[str, list[Case]]) -> pytest.MarkDecorator:
    """The test for each case of these verbs, in each form that it has."""
    cases = [
        pytest.param(name, case, words, id=f"{name}-{place}-{form}")
        for name, cases in cases_of_verbs.items()
        for place, case in enumerate(cases)
        for form, words in FORMS.items()
        if case.has_json or not words
    ]
    return pytest.mark.parametrize(("command", "case", "form"), cases)


@each(CASES)
def test_verb_gives_the_same_on_the_folder_and_over_the_port(lab, capsys, command, case, form):
    """A script need not know where its answer comes from: stdout, exit code and error are the same."""
    on_folder, over_port = both(lab, capsys, command, case, *form)
    assert on_folder == over_port
    assert on_folder[0] == case.code, on_folder[2]
    check_words(on_folder[1], form)


@each(MASTER_CASES)
def test_verb_gives_the_same_of_a_master_either_way(master, capsys, command, case, form):
    """Nor where the instance is the master of a set."""
    on_folder, over_port = both(master, capsys, command, case, *form)
    assert on_folder == over_port
    assert on_folder[0] == case.code, on_folder[2]


def test_status_of_a_halted_instance_is_halted_either_way(lab, capsys):
    """An instance that answers tryLater to everybody does not say that it runs, as text or as JSON."""
    _halt(lab)
    try:
        for form in FORMS.values():
            on_folder, over_port = both(lab, capsys, "vouchd status", Case(), *form)
            assert on_folder == over_port
            assert (on_folder[0], "halted" in on_folder[1]) == (0, True)
    finally:
        _go_on(lab)
    assert "VOUCHD_URL" not in os.environ
