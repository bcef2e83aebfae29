"""`vouchd directory`: servers made, prepared, looked at and removed from the command line."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.directory.site import REPLICATION_PASSWORD, join, nodes
from tests.ds389 import HOSTS, PASSWORD, directories, root
from tests.ports import free_port
from tests.processes.running import eventually

from vouchd.core.facts import DirectoryServer, Member, Transport
from vouchd.directory.config_entries import REPLICATION_DN, SERVICE_DN
from vouchd.directory.connection import Connection, Credentials
from vouchd.directory.plan import config_folder
from vouchd.directory.process import ServerProcess
from vouchd.instance.certificates.places import find
from vouchd.settings.declared import BASIC_AUTH, CLIENT_AUTH
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import read_passwords, write_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import read_key
from vouchd.stores.ldap.store import DirectoryStore

pytestmark = pytest.mark.interop

HOST = "ds1.vouchd.test"
SUFFIX = "o=ocsp.example"


@pytest.fixture
def place(monkeypatch):
    """A short folder to make a server in, named by the environment; a server left running there is ended."""
    with tempfile.TemporaryDirectory(prefix="ds") as parent:
        folder = Path(parent) / "d"
        monkeypatch.setenv("VOUCHD_DIRECTORY", str(folder))
        yield folder
        ServerProcess(folder).kill()


def options(*more: str) -> list[str]:
    """What every server of these tests is made with."""
    address = HOSTS[HOST]
    ports = ["--port", str(free_port(address)), "--secure-port", str(free_port(address))]
    me = pwd.getpwuid(os.geteuid()).pw_name
    return ["--host", HOST, "--suffix", SUFFIX, "--listen", address, "--user", me, "--small", *ports, *more]


def test_server_is_made_prepared_stopped_and_removed(run, place, tmp_path):
    """From nothing to a prepared server with TLS of our own CA, and back, in the commands of the manual."""
    assert run("ca", "create", "--subject", "CN=Directory CA", "--ca", tmp_path / "ca")[0] == 0
    code, out, err = run("directory", "create", *options("--ca", str(tmp_path / "ca")), "--json")
    assert code == 0, err
    made = json.loads(out)
    assert made["process"] == ServerProcess(place).pid()
    assert made["answers"]
    assert "vouchd: hint: prepare it for an instance" in err
    password = place / "manager.password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    accounts = tmp_path / "accounts.conf"
    code, out, err = run(
        *("directory", "setup", "--dir", place, "--password-file", password, "--out", accounts, "--json")
    )
    assert code == 0, err
    assert json.loads(out)["transport"] == "starttls"
    passwords = read_passwords(accounts)
    plan = {"host": HOST, "port": made["port"]}
    assert {key: json.loads(out)[key] for key in plan} == plan
    server = DirectoryServer(HOST, made["port"], Transport.STARTTLS, SUFFIX)
    Connection(server, Credentials(SERVICE_DN, passwords["internaldb"]), Path(made["trust"])).close()
    Connection(server, Credentials(REPLICATION_DN, passwords["replicationdb"]), Path(made["trust"])).close()
    assert run("directory", "status", "--dir", place)[0] == 0
    assert run("directory", "remove", "--yes")[0] == 1
    code, out, err = run("directory", "stop", "--json")
    assert (code, json.loads(out)["process"]) == (0, None)
    assert run("directory", "status", "--dir", place)[0] == 1
    _run_in_the_foreground(run, place)
    assert run("directory", "start")[0] == 0
    assert run("directory", "stop")[0] == 0
    assert run("directory", "remove", "--yes")[0] == 0
    assert not place.exists()


def _run_in_the_foreground(run, place: Path) -> None:
    """The process that is started is the server, and ends as one."""
    with subprocess.Popen([sys.executable, "-m", "vouchd.cli.main", "directory", "run"]) as process:
        try:
            eventually(lambda: run("directory", "status", "--dir", place)[0] == 0, "the server answers")
            assert ServerProcess(place).pid() == process.pid
            code, _, err = run("directory", "run")
            assert code != 0
            assert "runs already" in err
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_no_password_stands_in_the_output(run, place):
    """The Directory Manager's password is in its file alone."""
    code, out, err = run("directory", "create", *options(), "--secure-port", "0", "--no-start")
    assert code == 0, err
    secret = (place / "manager.password").read_text().strip()
    assert secret not in out + err
    assert secret not in (config_folder(place) / "dse.ldif").read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--host", "localhost", "--suffix", SUFFIX, "--secure-port", "0"], "loopback interface"),
        (["--host", "ds1", "--suffix", SUFFIX, "--secure-port", "0"], "not fully qualified"),
        (["--host", HOST, "--suffix", "nothing", "--secure-port", "0"], "not a suffix"),
        (["--host", HOST, "--suffix", SUFFIX], "TLS needs a certificate"),
        (["--host", "nowhere.invalid", "--suffix", SUFFIX, "--secure-port", "0"], "does not resolve"),
    ],
)
def test_mistake_is_told_and_leaves_nothing(run, place, arguments, why):
    """A wrong name, suffix or half of TLS is a wrong setting with its remedy, before anything is made."""
    code, out, err = run("directory", "create", *arguments)
    assert (code, out) == (78, "")
    assert why in err
    assert "vouchd: hint:" in err
    assert not place.exists()


def test_folder_where_nothing_was_made_is_told(run, place):
    """Start, stop, status and removal of what is not there say what makes it."""
    for verb in (["start"], ["stop"], ["status", "--dir", place], ["remove", "--yes"]):
        code, _, err = run("directory", *verb)
        assert code == 66
        assert "vouchd directory create" in err


def directory_instance(site, server, trust: Path | None = None) -> None:
    """Have the instance keep its facts in that server."""
    lines = {
        "vouchd.store": "directory",
        "internaldb.ldapconn.host": server.host,
        "internaldb.ldapconn.port": server.port,
        "internaldb.basedn": server.suffix,
        "vouchd.directory.replicaId": server.replica_id or 0,
    }
    if trust:
        lines |= {"vouchd.directory.trust": trust, "vouchd.directory.startTLS": "true"}
    config = site.instance / "CS.cfg"
    config.write_text(config.read_text() + "".join(f"{name}={value}\n" for name, value in lines.items()))


def test_set_up_of_an_instance_keeps_its_passwords(run, instance, tmp_path):
    """Without a server named, the instance's own is prepared; the passwords stay in its file over a repetition."""
    secret = tmp_path / "manager.password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    with directories(HOST, tls=False) as (directory,):
        code, _, err = run("directory", "setup", "--password-file", secret)
        assert (code, "embedded store" in err) == (78, True)
        directory_instance(instance, directory.server())
        before = read_passwords(instance.instance / "password.conf")
        assert run("directory", "setup", "--password-file", secret)[0] == 0
        first = read_passwords(instance.instance / "password.conf")
        assert first.keys() == {"internal", "internaldb", "replicationdb"}
        assert first["internal"] == before["internal"]
        assert run("directory", "setup", "--password-file", secret)[0] == 0
        assert read_passwords(instance.instance / "password.conf") == first
        secret.write_text("wrong\n")
        code, _, err = run("directory", "setup", "--password-file", secret)
        assert (code, "refused" in err) == (75, True)
        assert "wrong" not in err


def test_client_certificate_takes_the_place_of_the_password(run, instance, tmp_path):
    """Set-up registers the instance's certificate, tries it, and the instance then needs no password to bind."""
    secret = tmp_path / "manager.password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    set_up = ("directory", "setup", "--password-file", secret, "--client-certificate", "subsystem")
    layout = Layout(instance.instance)
    lines = layout.cs_cfg.read_bytes()
    with directories(HOST) as (directory,):
        directory_instance(instance, directory.server())
        code, _, err = run(*set_up)
        assert (code, "TLS, which is off" in err) == (78, True)
        layout.cs_cfg.write_bytes(lines)
        directory_instance(instance, directory.server(Transport.STARTTLS), directory.trust)
        certify_subsystem(layout)
        assert run(*set_up)[0] == 0
        settings = read_settings(layout).directory
        assert (settings.bind, settings.client_certificate) == (CLIENT_AUTH, "subsystem")
        password = layout.password_conf
        known = read_passwords(password)
        password.unlink()
        write_passwords(password, {"internal": known["internal"]})
        code, out, err = run("authority", "list", "--json")
        assert (code, json.loads(out)) == (0, []), err
        code, out, err = run("directory", "status", "--json")
        assert code == 0, err


def test_instance_moves_to_a_directory_server_with_a_client_certificate(run, instance, tmp_path):
    """`directory use` binds with it from the first fact on: no password is needed, nor asked for without TLS."""
    secret = tmp_path / "manager.password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    layout = Layout(instance.instance)
    certify_subsystem(layout)
    with directories(HOST) as (directory,):
        use = ("directory", "use", "--password-file", secret, "--client-certificate", "subsystem")
        url = ("--url", f"{directory.url}/{SUFFIX}")
        code, _, err = run(*use, *url)
        assert (code, "TLS, which is off" in err) == (78, True)
        assert read_settings(layout).directory is None
        code, _, err = run(*use, *url, "--starttls", "--trust", directory.trust)
        assert code == 0, err
        settings = read_settings(layout).directory
        assert (settings.bind, settings.client_certificate) == (CLIENT_AUTH, "subsystem")
        known = read_passwords(layout.password_conf)
        layout.password_conf.unlink()
        write_passwords(layout.password_conf, {"internal": known["internal"]})
        code, out, err = run("authority", "list", "--json")
        assert code == 0, err
        assert json.loads(out)


def test_client_certificate_that_the_server_does_not_map_changes_nothing(run, instance, tmp_path):
    """A server whose certmap.conf does not know our accounts is told, and the instance binds with its password on."""
    secret = tmp_path / "manager.password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    with directories(HOST) as (directory,):
        directory_instance(instance, directory.server(Transport.STARTTLS), directory.trust)
        certify_subsystem(Layout(instance.instance))
        directory.stop()
        (config_folder(directory.folder) / "certmap.conf").write_text("certmap default default\n")
        directory.start()
        code, _, err = run("directory", "setup", "--password-file", secret, "--client-certificate", "subsystem")
        assert (code, "certmap.conf" in err) == (75, True), err
        assert read_settings(Layout(instance.instance)).directory.bind == BASIC_AUTH
        assert run("authority", "list")[0] == 0


def certify_subsystem(layout: Layout) -> None:
    """Give the instance a subsystem certificate of a CA that the directory servers trust."""
    files = find(read_settings(layout), "subsystem").files
    key = read_key(files.key_file, read_passwords(layout.password_conf)["internal"])
    files.certificate_file.write_bytes(root().issue("vouchd subsystem", key=key).pem)


def test_status_shows_each_server_of_the_set(run, instance):
    """Replication is green while changes flow, and red with exit code 1 and the reason when a server is away."""
    with nodes(2, Transport.STARTTLS) as (first, second):
        join(first, second)
        directory_instance(instance, first.server, first.directory.trust)
        password = instance.instance / "password.conf"
        known = read_passwords(password) | {
            "internaldb": first.made.password,
            "replicationdb": REPLICATION_PASSWORD,
        }
        password.unlink()
        write_passwords(password, known)
        store = DirectoryStore(first.server, SERVICE_DN, first.made.password, first.directory.trust)
        for node in (first, second):
            host = node.server.host
            store.put_member(Member(host, 8443, 8080, host, clone=False, joined_at=1, directory=node.server), None)
        store.close()
        code, out, err = run("directory", "status", "--json")
        assert code == 0, err
        status = json.loads(out)
        assert (status["replica_id"], status["conflicts"]) == (1, 0)
        assert [(one["host"], one["replica_id"]) for one in status["servers"]] == [(second.server.host, 2)]
        second.directory.kill()
        code, out, err = run("directory", "status")
        assert code == 1
        assert "red" in out
        assert "warning: ldap://ds2.vouchd.test" in err


@pytest.mark.parametrize("which", ["--port", "--secure-port"])
def test_taken_port_is_told_and_leaves_nothing(run, place, tmp_path, which):
    """A server that cannot listen is not left half made."""
    assert run("ca", "create", "--subject", "CN=Directory CA", "--ca", tmp_path / "ca")[0] == 0
    with socket.create_server((HOSTS[HOST], 0)) as taken:
        more = [which, str(taken.getsockname()[1])]
        code, _, err = run("directory", "create", *options("--ca", str(tmp_path / "ca"), *more))
    assert code == 1
    assert "cannot listen on" in err
    assert not place.exists()
