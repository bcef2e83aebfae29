"""Every mistake in making a clone is told before anything is done: nothing is left behind, and the token stays good.

The table of `docs/set/cloning.md` is the list of them: what it quotes is what is said.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.commands import run_python
from tests.directory.tls_port import tls_port
from tests.ds389 import HOSTS, SUFFIX, identity
from tests.pki import CA
from tests.whole.clones import PASSWORD, CloneSet
from tests.whole.directory_sets import directory_set

from vouchd.cli.main import main
from vouchd.cloning.client import PeerClient
from vouchd.core.facts import Transport
from vouchd.signing import key_files
from vouchd.signing.keys import generate_key
from vouchd.signing.pkcs12 import KeyBag, write_key_file

pytestmark = pytest.mark.process

PAGE = Path(__file__).parents[2] / "docs" / "set" / "cloning.md"
NOBODY = 65534
USUAL, COPIED = "system_u:object_r:var_lib_t:s0", "unconfined_u:object_r:user_home_t:s0"
CLONE = "ds2.vouchd.test"
_ROW = re.compile(r"^\| (?P<mistake>.+?) \| (?P<said>`.+?`) \| (?P<mend>.+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """What the page promises to be said: patterns of the error and of its hint."""

    said: str
    mends: tuple[str, ...]


def rows() -> dict[str, Row]:
    """The table of mistakes, by the mistake."""
    section = PAGE.read_text(encoding="utf-8").split("## What goes wrong", 1)[1].split("\n## ", 1)[0]
    matches = {row["mistake"]: row for row in _ROW.finditer(section)}
    return {name: Row(_pattern(row["said"][1:-1]), _mends(row["mend"])) for name, row in matches.items()}


def _pattern(quoted: str) -> str:
    return ".+".join(re.escape(part) for part in quoted.split("…"))


def _mends(text: str) -> tuple[str, ...]:
    words = re.findall(r"`([^`]+)`", text)
    return tuple(_pattern(word) for word in words if word not in {"CS.cfg", "prepare"})


ROWS = rows()
MISTAKES = {
    "the directory server is `localhost`": ("--directory", f"ldap://localhost:389/{SUFFIX}"),
    "it is an address": ("--directory", f"ldap://192.0.2.1:389/{SUFFIX}"),
    "its name has no domain": ("--directory", f"ldap://ds2:389/{SUFFIX}"),
    "another suffix": ("--directory", f"ldaps://{CLONE}:636/o=other.example"),
    "another kind of connection than the master's: plain, StartTLS, TLS": ("--directory", f"ldap://{CLONE}/{SUFFIX}"),
    "the master's own directory server": ("--directory", "{directory}"),
    "a directory on one side only": ("--directory", ""),
    "its certificate is of another CA, or for another name": ("--directory", "{stranger}"),
    "no directory server answers there": (),  # it is the last that is looked at
    "the PKCS #12 file is not there, or not readable": ("--pkcs12", "none.p12"),
    "others may read it": ("--pkcs12", "open.p12"),
    "it belongs to another user": ("--pkcs12", "theirs.p12"),
    "SELinux: another type than the files have where the instance will be": ("--pkcs12", "copied.p12"),
    "half of it was carried": ("--pkcs12", "cut.p12"),
    "its password is wrong": ("--password-file", "wrong.password"),
    "the signing key is missing in it": ("--pkcs12", "unsigning.p12"),
    "it has the keys of another set": ("--pkcs12", "other.p12"),
    "the token is wrong, or was used": ("--token-file", "wrong.token"),
    "the token is too old": ("--token-file", "old.token"),
    "the fingerprint is another one": ("--fingerprint", "0" * 64),
    "the fingerprint is none": ("--fingerprint", "abc"),
    "no member answers at that address": ("--master", "https://127.0.0.1:1"),
    "the URL is not one of an agent port": ("--master", "http://127.0.0.1:8443"),
    "another member has that name and port": ("--host", "ds1.vouchd.test", "--agent-port", "{port}"),
    "the folder is there already": ("--instance", "m"),
}
CLOCKS = {"the clock here is more than 10 s ahead": 12, "the clock here is more than 10 s behind": -12}
OF_THE_MASTER = "`refreshInSec` of the master is 0 or 21600"
OF_THE_CLONE = "the clone that is cloned has another `refreshInSec` than 21600"  # tests/cloning/test_preflight.py

OF_THE_TOKEN = "the token here is not that of the set"  # tests/whole/test_token_instance.py


# The command with a clock that differs by so many seconds; the rest are its words.
AT_ANOTHER_TIME = """
import sys, time
from vouchd.cli.main import main
now, ahead = time.time, float(sys.argv[1])
time.time = lambda: now() + ahead
sys.exit(main(sys.argv[2:]))
"""


def at_another_time(site: CloneSet, seconds: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command after it ended, by a clock that is so much ahead of ours."""
    return run_python(AT_ANOTHER_TIME, seconds, *arguments, cwd=site.folder)


def refused_at(site: CloneSet, seconds: int) -> str:
    """What `clone create` says when it refuses, by such a clock."""
    done = at_another_time(site, seconds, *words(site))
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A running master with a directory server, ready to be cloned; everybody who tries to fails."""
    folder = tmp_path_factory.mktemp("set")
    stranger = tls_port(tmp_path_factory.mktemp("stranger"), identity(CLONE, CA.create("Stranger")), HOSTS[CLONE])
    with directory_set(folder, Transport.TLS, 1) as (made, servers), stranger as port:
        made.hosts["c"] = (CLONE, HOSTS[CLONE])
        made.directory, made.trust = f"{servers['m'].secure_url}/{SUFFIX}", str(servers["m"].trust)
        made.stranger = f"ldaps://{CLONE}:{port}/{SUFFIX}"
        made.write("wrong.password", "another")
        made.write("wrong.token", "A" * 43)
        assert at_another_time(made, -7200, "domain", "token", "--instance", "m", "--out", "old.token").returncode == 0
        _damage(made)
        yield made


def _damage(site: CloneSet) -> None:
    """Key files that will not do."""
    whole = (site.folder / "keys.p12").read_bytes()
    for name, data in (("open", whole), ("theirs", whole), ("copied", whole), ("cut", whole[:100])):
        (site.folder / f"{name}.p12").write_bytes(data)
        (site.folder / f"{name}.p12").chmod(0o600)
    (site.folder / "open.p12").chmod(0o644)
    os.chown(site.folder / "theirs.p12", NOBODY, NOBODY)
    options = ("--instance", "m", "--out", "unsigning.p12", "--password-file", "keys.password")
    site.run("pkcs12", "export", "subsystem", "audit_signing", *options)
    ca = CA.create("Another CA")
    bags = []
    for name in ("ocspSigningCert", "subsystem", "audit_signing"):
        issued = ca.issue_signer(name, key=generate_key("SHA256withEC"))
        bags.append(KeyBag(issued.key, issued.certificate, (), name))
    write_key_file(site.folder / "other.p12", bags, PASSWORD)


def words(site: CloneSet, *more: str) -> list[str]:
    """The words of `clone create`, which would succeed if there were a directory server at port 1."""
    directory = ("--directory", f"ldaps://{CLONE}:1/{SUFFIX}", "--directory-trust", site.trust)
    manager = ("--directory-password-file", "manager.password")
    named = {"directory": site.directory, "stranger": site.stranger, "port": str(site.ports["m"][1])}
    return site.create("c", *directory, *manager, *(word.format(**named) for word in more))


def require_told(mistake: str, output: str) -> None:
    """The error and the hint are those that the page promises for the mistake."""
    row = ROWS[mistake]
    *_, error, hint = output.splitlines()
    assert re.search(row.said, error), output
    assert hint.startswith("vouchd: hint: "), output
    assert [mend for mend in row.mends if not re.search(mend, hint)] == []


def state(site: CloneSet) -> tuple[object, ...]:
    """What a mistake must leave as it is: the files here, the set, the master's answer."""
    return set(site.folder.iterdir()), site.members("m"), site.says("m", "good")


def test_page_tells_of_every_mistake_and_of_none_that_is_not_tried():
    """A row of the page that nothing here makes true would be a promise only."""
    assert set(ROWS) == {*MISTAKES, *CLOCKS, OF_THE_MASTER, OF_THE_CLONE, OF_THE_TOKEN}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told_as_the_page_has_it_and_nothing_is_left_behind(site, mistake, monkeypatch, capsys, tmp_path):
    """The error names the mistake, the hint the mend; no folder, no draft, no member, and the master serves."""
    before = state(site)
    if mistake.startswith("SELinux"):
        _label(site, monkeypatch, tmp_path)
    monkeypatch.chdir(site.folder)
    assert main(words(site, *MISTAKES[mistake])) != 0
    require_told(mistake, capsys.readouterr().err)
    assert state(site) == before


def _label(site: CloneSet, monkeypatch, selinux: Path) -> None:
    """SELinux is on, as far as can be seen: files have types, one of them another than the rest."""
    if os.geteuid():  # only root may set the real one where SELinux is off
        monkeypatch.setattr(key_files, "_ATTRIBUTE", "user.selinux")
    for path in site.folder.iterdir():
        label = COPIED if path.name == "copied.p12" else USUAL
        os.setxattr(path, key_files._ATTRIBUTE, f"{label}\0".encode())
    monkeypatch.setattr(key_files, "_SELINUX", selinux)


@pytest.mark.parametrize("mistake", CLOCKS)
def test_clock_that_differs_is_told(site, mistake):
    """The command runs with another time than the master, by more than 10 s; nothing else is wrong."""
    before = state(site)
    require_told(mistake, refused_at(site, CLOCKS[mistake]))
    assert state(site) == before


def test_clock_that_differs_little_is_taken(site):
    """A few seconds are no reason to stop: the command gets as far as the directory server."""
    require_told("no directory server answers there", refused_at(site, 5))


def test_token_is_still_good_after_all_mistakes(site):
    """Who brings the right token now is let in."""
    client = PeerClient("127.0.0.2", site.ports["m"][1], site.prepared["fingerprint"])
    assert client.check((site.folder / "token").read_text().strip()).told_by.id == site.id_of("m")


def test_master_with_no_refresh_is_refused(site):
    """refreshInSec=0 on the master is told with the command that mends it (21600 a master mends by itself)."""
    config = site.layout("m").cs_cfg
    config.write_text(config.read_text().replace("refreshInSec=600", "refreshInSec=0"))
    site.run("restart", "--instance", "m")
    require_told(OF_THE_MASTER, site.refused(*words(site)))
    assert not site.layout("c").root.exists()
