"""Directory servers made on this host: their files, their start and end, and what is refused."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.ds389 import HOSTS, PASSWORD, ROOT_DN, Directory, identity
from tests.pki import CA, shared_key
from tests.ports import free_port

from vouchd.core.facts import Transport
from vouchd.core.hostnames import qualified
from vouchd.directory import server
from vouchd.directory.connection import Connection, Credentials
from vouchd.directory.hosts import addresses, is_here, is_loopback_only
from vouchd.directory.nss import TLSIdentity
from vouchd.directory.plan import ServerPlan, config_folder, read_plan, trust_file
from vouchd.directory.process import ServerProcess
from vouchd.errors import AlreadyExists, ConfigError, LifecycleError, NotFound, StoreUnavailable

pytestmark = pytest.mark.interop

HOST = "ds1.vouchd.test"
ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def folder():
    """A place for a server, with a short path."""
    with tempfile.TemporaryDirectory(prefix="ds") as parent:
        yield Path(parent) / "d"


def plan(**changes) -> ServerPlan:
    port = free_port(HOSTS[HOST])
    made = ServerPlan(HOST, "o=ocsp.example", port, listen=HOSTS[HOST], user=ME, small=True, durable=False)
    return replace(made, **changes)


def test_server_starts_answers_and_ends_in_good_order(folder):
    """A server runs until it is stopped, is known by its process id alone, and keeps its files to itself."""
    process = server.create(folder, plan(), PASSWORD)
    assert process.pid() is None
    pid = process.start()
    try:
        assert process.start() == pid  # once more is no second one
        view = ServerProcess(folder)  # as another command sees it
        assert view.pid() == pid
        assert view.answers()
        assert view.stop()
    finally:
        process.kill()
    assert process.pid() is None
    assert not process.stop()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert PASSWORD not in (config_folder(folder) / "dse.ldif").read_text()


def test_data_survives_a_kill(folder):
    """A durable server that is killed has what it had acknowledged when it starts again."""
    directory = Directory(folder, durable=True)
    directory.create()
    directory.start()
    try:
        connection = Connection(directory.server(), Credentials(ROOT_DN, PASSWORD))
        connection.add(directory.suffix, {"objectClass": ["organization"], "o": ["ocsp.example"]})
        directory.kill()
        directory.start()
        again = Connection(directory.server(), Credentials(ROOT_DN, PASSWORD))
        assert again.read(directory.suffix) is not None
    finally:
        directory.kill()


def test_stale_process_id_is_not_taken_for_the_server(folder):
    """A number left behind that another process has now is neither the server nor killed."""
    process = server.create(folder, plan(), PASSWORD)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as other:
        (folder / "run/pid").write_text(f"{other.pid}\n")
        assert process.pid() is None
        assert not process.kill()
        assert other.poll() is None


def test_server_that_cannot_start_says_why(folder):
    """A port that is taken is told in the server's own words."""
    taken = Directory(folder.with_name("a"))
    taken.create()
    taken.start()
    try:
        process = server.create(folder, plan(port=taken.port), PASSWORD)
        with pytest.raises(LifecycleError, match=r"ended at its start: .*(in use|bind|listen)"):
            process.start()
    finally:
        taken.kill()


def test_password_over_a_connection_without_tls_is_refused(folder):
    """With `require_tls` a bind in clear is refused, one over StartTLS taken."""
    secure = plan(secure_port=free_port(HOSTS[HOST]), require_tls=True)
    process = server.create(folder, secure, PASSWORD, identity(HOST))
    process.start()
    try:
        with pytest.raises(Exception, match=r"Confidentiality|secure connection"):
            Connection(secure.server(Transport.PLAIN), Credentials(ROOT_DN, PASSWORD))
        for transport in (Transport.STARTTLS, Transport.TLS):
            Connection(secure.server(transport), Credentials(ROOT_DN, PASSWORD), trust_file(folder)).close()
        with pytest.raises(StoreUnavailable):  # of a CA that nobody trusts
            Connection(secure.server(Transport.TLS), Credentials(ROOT_DN, PASSWORD))
    finally:
        process.kill()


def test_key_and_its_passwords_are_readable_by_the_owner_alone(folder):
    """The NSS database, its password files and what the server exports are 0600; no password is in the plan."""
    process = server.create(folder, plan(secure_port=free_port(HOSTS[HOST])), PASSWORD, identity(HOST))
    process.start()
    process.kill()
    for name in ("key4.db", "pin.txt", "pwdfile.txt", "dse.ldif"):
        assert stat.S_IMODE((config_folder(folder) / name).stat().st_mode) == 0o600, name
    assert not list(folder.rglob("identity*"))
    assert PASSWORD not in (folder / "vouchd-directory.json").read_text()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"host": "localhost"}, "loopback"),
        ({"host": "localhost.localdomain"}, "loopback"),
        ({"host": "ds1"}, "not fully qualified"),
        ({"host": "127.0.0.1"}, "an address"),
        ({"host": "ds1..example"}, "not a host name"),
        ({"host": "-x.example"}, "not a host name"),
        ({"secure_port": 636}, "no certificate"),
        ({"user": "nobody-of-that-name"}, "no such user"),
    ],
)
def test_plan_that_would_not_work_is_refused_before_anything_is_made(folder, change, why):
    """Names that mean another host elsewhere, and settings that contradict each other, leave nothing behind."""
    with pytest.raises(ConfigError, match=why):
        server.create(folder, plan(**change), PASSWORD)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"suffix": "ocsp.example"}, "not a suffix"),
        ({"suffix": "o=x\nnsslapd-rootpw: y"}, "not a suffix"),
        ({"suffix": 'o="x"'}, "not a suffix"),
        ({"port": 70000}, "not a port"),
        ({"port": 0}, "no port"),
        ({"require_tls": True}, "no TLS"),
    ],
)
def test_plan_out_of_bounds_cannot_be_made(change, why):
    """What would end up in the server's configuration is checked where it enters."""
    with pytest.raises(ConfigError, match=why):
        plan(**change)


def other_key() -> TLSIdentity:
    key = shared_key("RSA", 7).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return replace(identity(HOST), key_pem=key)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: identity("ds2.vouchd.test"), "not for ds1"),
        (other_key, "not the one of its certificate"),
        (lambda: replace(identity(HOST), key_pem=b"no key"), "cannot be read"),
        (lambda: replace(identity(HOST), certificate_pem=b"none"), "cannot be read"),
        (lambda: replace(identity(HOST), roots_pem=CA.create("Ed", kind="Ed25519").pem), "not issued"),
    ],
)
def test_identity_that_does_not_fit_is_refused(folder, made, why):
    """A certificate of another host, another's key or an unreadable file leaves nothing behind."""
    with pytest.raises(ConfigError, match=why):
        server.create(folder, plan(secure_port=free_port(HOSTS[HOST])), PASSWORD, made())
    assert not folder.exists()


def test_folder_in_use_is_left_alone(folder):
    """A folder with anything in it is refused, and what is in it stays."""
    folder.mkdir()
    (folder / "mine").write_text("x")
    with pytest.raises(AlreadyExists):
        server.create(folder, plan(), PASSWORD)
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_path_too_long_for_the_socket_is_refused(folder):
    """Sockets have short names: a folder too deep is refused at once."""
    with pytest.raises(ConfigError, match="too long"):
        server.create(folder / ("x" * 100), plan(), PASSWORD)


def test_removal_takes_a_server_that_was_made_here_and_is_stopped(folder):
    """Only a stopped server that was made by this program is removed, with all of its files."""
    folder.mkdir()
    with pytest.raises(NotFound):
        server.remove(folder)
    made = plan()
    process = server.create(folder, made, PASSWORD)
    assert read_plan(folder) == made
    process.start()
    try:
        with pytest.raises(LifecycleError, match="runs"):
            server.remove(folder)
    finally:
        process.kill()
    server.remove(folder)
    assert not folder.exists()


def test_servers_of_one_host_have_configurations_of_different_names(folder):
    """The server names a semaphore of the host after its configuration's folder: two of them must not share it."""
    one, other = folder / "a", folder / "b"
    assert config_folder(one).name != config_folder(other).name
    assert config_folder(one) == config_folder(one.absolute())


def test_own_addresses_are_told_from_those_of_other_hosts():
    """What is sent to a name of this host crosses no network."""
    assert [is_here(name) for name in ("ds1.vouchd.test", "localhost", "elsewhere.vouchd.test")] == [True, True, False]


def test_names_resolve_and_loopback_ones_are_told():
    """A name is asked of the host's resolver; one that means only this host is told from others."""
    assert addresses(HOST) == (HOSTS[HOST],)
    assert is_loopback_only(HOST)
    assert qualified("DS1.Vouchd.Test.") == HOST
    with pytest.raises(ConfigError, match="does not resolve"):
        addresses("no-such-host.invalid")
