"""Pages walked: their command lines are run, one after another, as they stand; hosts, ports and folders are others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.commands import run_python
from tests.docs.lines import ROOT, CommandLine, command_lines, of_page
from tests.nursery import MAIN
from tests.processes.running import eventually
from tests.sites import Site

pytestmark = pytest.mark.process

PROGRAMS = {"vouchd": MAIN, "OCSPClient": "from vouchd.cli.compat.ocspclient import main; main()"}
ANY_PORT = ("--listen", "127.0.0.1", "--port", "0", "--agent-port", "0", "--health-port", "0", "--workers", "1")


class Walk:
    """A folder in which lines are typed, as by somebody who has set VOUCHD_INSTANCE."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.folder, self.instance = folder, folder / instance
        self.environment = os.environ | {"VOUCHD_INSTANCE": str(self.instance)}
        self.places: dict[str, Callable[[], str]] = {
            "http://localhost:8080/": self.url,
            "http://127.0.0.1:8080/": self.url,
        }

    def run(self, *words: str, code: int = 0, piped: str = "", program: str = "vouchd") -> str:
        """The command's result."""
        done = self.done(*words, piped=piped, program=program)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def done(self, *words: str, piped: str = "", program: str = "vouchd") -> subprocess.CompletedProcess[str]:
        """The command after it ended."""
        (self.folder / "piped").write_text(piped)
        with (self.folder / "piped").open() as stdin:
            return run_python(PROGRAMS[program], *words, cwd=self.folder, env=self.environment, stdin=stdin)

    def walk(
        self,
        page: str,
        before: Mapping[str, Callable[[], object]] | None = None,
        codes: Mapping[str, list[int]] | None = None,
    ) -> int:
        """Type the page's lines; returns how many. `before` and `codes` are by the beginning of a line."""
        acts, said = dict(before or {}), ""
        ends = {start: list(numbers) for start, numbers in (codes or {}).items()}
        lines = [line for line in of_page(ROOT / page) if line.whole]
        for line in lines:
            text = " ".join(line.words)
            for start in [start for start in acts if text.startswith(start)]:
                acts.pop(start)()
            code = next((numbers.pop(0) for start, numbers in ends.items() if text.startswith(start)), 0)
            said = self.run(*self._typed(line), code=code, piped=said, program=line.program)
        assert (acts, any(ends.values())) == ({}, False), "the page has no such line any more"
        return len(lines)

    def _typed(self, line: CommandLine) -> Iterator[str]:
        """The words as a shell hands them on; names of other hosts and folders are those of here."""
        for word in line.words:
            place = next((place for place in self.places if place in word), None)
            here = word.replace(place, self.places[place]()) if place else word
            yield from (sorted(path.name for path in self.folder.glob(word)) if "*" in word else [here])
        if line.words[0] == "create":
            yield from ANY_PORT

    def url(self) -> str:
        """Where the instance answers."""
        return json.loads(self.run("status", "--json"))["ocsp"]

    def agent_url(self) -> str:
        """Where its agent port is."""
        return json.loads(self.run("status", "--json"))["agents"].rstrip("/")

    def certify(self, request: str, profile: str, out: str, ca: str = "ca") -> None:
        """A CA of ours certifies a request in the instance's `alias`."""
        path = next(
            iter(
                sorted(
                    self.instance.glob(f"alias/{request}*.csr"), key=lambda one: one.stat().st_mtime_ns, reverse=True
                )
            )
        )
        self.run("ca", "issue", "--ca", ca, "--csr", str(path), "--profile", profile, "--out", out)

    def certificate(self, name: str, profile: str = "user", ca: str = "ca") -> None:
        """A certificate of a CA of ours."""
        self.run("ca", "issue", "--ca", ca, "--subject", f"CN={Path(name).stem}", "--profile", profile, "--out", name)

    def authority(self, folder: str, subject: str, out: str, *more: str) -> None:
        """A CA of ours, its certificate in the file `out`."""
        self.run("ca", "create", "--ca", folder, "--subject", subject, *more)
        shutil.copy(self.folder / folder / "ca.crt", self.folder / out)

    def password(self, name: str) -> None:
        """A file with a password."""
        (self.folder / name).write_text("a long password\n")
        (self.folder / name).chmod(0o600)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Walk:
    """An instance of a CA of our own that does not run, since commands do the same then, and `Example Root`."""
    walk = Walk(tmp_path_factory.mktemp("lab"), "vouchd")
    walk.authority("ca", "CN=Lab CA", "ca.pem")
    walk.run("create", "--ca", "ca", *ANY_PORT)
    walk.run("ca", "publish", "--to", f"instance:{walk.instance}")
    walk.authority("root", "CN=Example Root", "root.pem")
    walk.run("authority", "add", "root.pem", "--label", "Example Root", "--trusted-responder")
    walk.run("ca", "publish", "--ca", "root", "--to", f"instance:{walk.instance}")
    return walk


def _example_root(walk: Walk) -> None:
    """A second CA, whose certificates name the instance as their responder, with a signer of its own."""
    walk.authority("root", "CN=Example Root", "root.pem", "--ocsp-url", walk.url())
    walk.run("authority", "add", "root.pem", "--label", "Example Root", "--new-signer", "ocsp_root")
    walk.certify("ocsp_root", "ocsp-signing", "signer-of-root.pem", "root")
    walk.run("signer", "install", "ocsp_root", "signer-of-root.pem")
    walk.run("ca", "publish", "--ca", "root", "--to", f"instance:{walk.instance}")


def test_first_page_for_a_site_leads_to_an_answer_that_openssl_believes(tmp_path) -> None:
    """Whoever has a CA, its CRL and a signer has an answer by typing what stands there."""
    site, walk = Site.make(tmp_path), Walk(tmp_path, "ocsp")
    site.issue("www", 0x1000)
    site.crl("ca.crl")
    try:
        assert walk.walk("docs/start/own-ca.md") == 5
        command = ["openssl", "ocsp", "-issuer", "ca.pem", "-cert", "www.pem", "-CAfile", "ca.pem", "-url", walk.url()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    finally:
        walk.run("stop")
    assert "www.pem: good" in done.stdout
    assert "Response verify OK" in done.stderr


def test_pages_of_daily_life(lab) -> None:
    """Roles, self tests, certificates, logs and the audit log: what their pages show can be done."""
    walk = lab
    walk.walk(
        "docs/operate/roles.md",
        {
            "user add alice": lambda: walk.certificate("alice.pem"),
            "user certs": lambda: walk.certificate("alice-2027.pem"),
        },
    )
    walk.walk("docs/operate/selftests.md")
    walk.walk(
        "docs/operate/certificates.md",
        {"certs install sslserver": lambda: walk.certify("sslserver", "server", "sslserver.pem")},
    )
    walk.walk("docs/operate/logs.md")
    walk.walk("docs/operate/audit.md")


def test_pages_of_signers_and_backups(lab) -> None:
    """The keyring's and the backup's pages."""
    walk = lab
    walk.walk(
        "docs/set/keyring.md",
        {
            "signer install ocspSigningCert": lambda: walk.certify("ocspSigningCert", "ocsp-signing", "ocsp.pem"),
            "authority add tier2": lambda: walk.authority("tier2", "CN=Tier 2", "tier2-ca.pem"),
            "signer install ocsp_tier2": lambda: walk.certify("ocsp_tier2", "ocsp-signing", "tier2.pem", "tier2"),
            "authority add other": lambda: walk.authority("other", "CN=Other CA", "other-ca.pem"),
        },
    )
    walk.run("authority", "compromised", "Example Root", "--withdraw")
    walk.places["/var/lib/vouchd/ocsp"] = lambda: str(walk.folder / "restored")
    walk.walk("docs/operate/backup.md", {"backup": lambda: walk.password("backup.password")})


def test_pages_of_the_certificate_manager_and_of_the_client(tmp_path) -> None:
    """A CA of our own, an instance and a publisher; then questions as the client's page asks them."""
    walk = Walk(tmp_path, "vouchd")
    walk.places["https://ocsp.example.org:8443"] = walk.agent_url

    def before_the_publisher() -> None:
        shutil.copy(walk.folder / "ca" / "ca.crt", walk.folder / "server-ca.pem")
        # The publisher's certificate is newer than the list.
        walk.run("authority", "set", "CN=Lab CA,O=Example", "--issued-serials", "default")

    try:
        page = "docs/use/certificate-manager.md"
        walk.walk(page, {"ca publish --to ocsp:": before_the_publisher}, {"query --issuer ca/ca.crt www.crt": [0, 1]})
        _example_root(walk)
        _ask_as_the_client_does(walk)
    finally:
        walk.run("stop")


def _ask_as_the_client_does(walk: Walk) -> None:
    for old in (*walk.folder.glob("*.crt"), *walk.folder.glob("www.*")):
        old.unlink(missing_ok=True)
    shutil.copy(walk.folder / "root" / "ca.crt", walk.folder / "ca.crt")
    walk.certificate("www.crt", "server", "root")
    (walk.folder / "alias").mkdir()
    shutil.copy(walk.folder / "ca.crt", walk.folder / "alias" / "ca_signing.crt")
    port = walk.url().rstrip("/").rpartition(":")[2]
    walk.places |= {
        "http://ocsp.example.test/": walk.url,
        "ocsp.example.test": lambda: "127.0.0.1",
        "8080": lambda: port,
    }
    command = ("query", "www.crt", "--issuer", "ca.crt")
    eventually(lambda: walk.done(*command).returncode == 0, "the instance answers by the new signer")
    assert walk.walk("docs/use/client.md") == 7


def test_page_of_developers_is_walked_from_a_new_ca_to_a_revoked_certificate(tmp_path) -> None:
    """Who writes a client has something to try it against by what stands there."""
    walk = Walk(tmp_path, "ocsp")
    try:
        assert walk.walk("docs/start/client-developer.md") == 7
        walk.run("query", "www.pem", "--issuer", "ca/ca.crt", "--url", walk.url(), code=1)
    finally:
        walk.run("stop")


# Pages whose lines need what this one folder has not, each with the tests that do what they show.
ELSEWHERE = {
    "README.md": "tests/whole/test_three_commands.py",
    "docs/operate/alerts.md": "tests/laws/test_law7_one_operation_one_place.py",
    "docs/operate/four-eyes.md": "tests/api/test_four_eyes.py",
    "docs/operate/migrating-from-dogtag.md": "tests/dogtag/test_migrating.py",
    "docs/operate/packages.md": "scripts/test-deb.sh",
    "docs/operate/services.md": "scripts/test-deb.sh",
    "docs/operate/setup-wizard.md": "tests/setup/test_unattended.py",
    "docs/operate/tokens.md": "tests/whole/test_token_instance.py",
    "docs/set/cloning.md": "tests/whole/test_clone_directory.py",
    "docs/set/directory.md": "tests/whole/test_directory_instance.py",
    "docs/set/security-domain.md": "tests/dogtag/test_domain.py",
    "docs/use/commands.md": "tests/cli/test_installed.py",
    "docs/use/rest.md": "tests/cli/test_remote.py",
}


def test_every_page_with_command_lines_is_walked_or_names_where_it_is() -> None:
    """A new page with commands is walked here, or somebody says which test does what it shows."""
    source = Path(__file__).read_text(encoding="utf-8").split("ELSEWHERE =")[0]
    shown = {line.page for line in command_lines() if line.whole}
    walked = {page for page in shown if f'"{page}"' in source}
    assert shown - walked == set(ELSEWHERE)
    assert not [test for test in ELSEWHERE.values() if not (ROOT / test).is_file()]
