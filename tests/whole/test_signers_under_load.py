"""Signers of a master and two clones on directory servers change in every way while clients ask all three."""

from __future__ import annotations

import base64
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

import pytest
from cryptography import x509
from tests.ds389 import Directory
from tests.est_server import ESTServer, _Public
from tests.pki import DAY, HOUR
from tests.processes.running import eventually
from tests.whole.asking import Asking
from tests.whole.clones import CloneSet
from tests.whole.directory_sets import clone, directory_set
from tests.whole.key_search import places_in, places_of
from tests.whole.key_table import of_keys
from tests.whole.test_signers_of_a_set import SIGNER, in_the_way, key_of, ring, until_signs, version
from tests.whole.wire import Capture

from vouchd.core.facts import Transport
from vouchd.instance.configuration import write_values
from vouchd.settings.passwords import INTERNAL, read_passwords, replace_passwords

pytestmark = [pytest.mark.process, pytest.mark.directory]

MEMBERS = ("m", "c", "d")


class LoadedSet:
    """A set of which every member is asked by a client of its own, and who these should have seen sign by now."""

    def __init__(self, site: CloneSet) -> None:
        self.site = site
        self.clients = {
            name: Asking(site.ee_url(name), site.folder, certificate="good.crt", name=f"client of {name}")
            for name in MEMBERS
        }
        self._seen: list[int] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for client in self.clients.values():
            self._stack.enter_context(client)
            client.until_more()
        self._seen = [self.serial(self.current)]
        self._require_seen()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is None:
            self._require_seen()

    def _versions(self) -> list[dict]:
        (signer,) = self.site.json("signer", "list", "--instance", "m")
        return signer["versions"]

    @property
    def current(self) -> int:
        """The number of the version that signs."""
        return next(one["number"] for one in self._versions() if one["state"] == "current")

    def serial(self, number: int) -> int:
        """The serial number of a version's certificate."""
        return next(int(one["certificate"]["serial"], 16) for one in self._versions() if one["number"] == number)

    def renew(self) -> int:
        """Have our CA certify a new key, to which the set is to switch: its number."""
        self.site.run("signer", "renew", SIGNER, "--instance", "m", "--ca", "lab")
        return ring(self.site, "m").versions_of(SIGNER)[-1].number

    def until_signs(self, number: int) -> None:
        """Wait until each client has seen that version sign, and none before it but those before; all have one ETag."""
        key = (SIGNER, number)
        eventually(lambda: version(self.site, "m", number).is_usable, f"the certificate of {number}")
        serial = self.serial(number)
        eventually(lambda: key in ring(self.site, "m").current, lambda: f"a moment is named: {in_the_way(self.site)}")
        self._seen.append(serial)
        for client in self.clients.values():
            eventually(
                lambda client=client: client.failure or client.signers[-1] == serial,
                lambda client=client: f"{client.name} sees {number}: {client.changes()}",
            )
        self._require_seen()
        for certificate in ("good", "bad"):
            assert len(self.site.etags(MEMBERS, certificate)) == 1

    def _require_seen(self) -> None:
        assert {client.name: client.failure for client in self.clients.values() if client.failure} == {}
        assert {name: client.changes() for name, client in self.clients.items()} == dict.fromkeys(MEMBERS, self._seen)

    @contextmanager
    def unanswered(self, name: str) -> Iterator[None]:
        """A member need not answer; afterwards it does, and from then on always."""
        client = self.clients[name]
        client.patient.set()
        yield
        client.until_more()
        client.patient.clear()

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """A member is dead, as after `kill -9`, and started again."""
        with self.unanswered(name):
            self.site.kill(name)
            try:
                yield
            finally:
                self.site.run("start", "--instance", name)

    def held_up_by(self, name: str, reason: str) -> None:
        """Wait until the newest version waits for that member alone, which has that reason."""

        def shown() -> bool:
            ways = in_the_way(self.site)[-1]
            return [one["member"] for one in ways] == [self.site.id_of(name)] and reason in ways[0]["why"]

        eventually(shown, lambda: f"{name} holds the switch up: {in_the_way(self.site)}")


@dataclass(frozen=True)
class Made:
    """The set, its directory servers, and what went over their wires while its last member joined."""

    site: CloneSet
    servers: dict[str, Directory]
    streams: dict[str, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[Made]:
    """A set whose directory servers speak without TLS, which is listened to while a new signer goes round.

    When that is staged the last clone joins, with the keys of before; it has two workers. Most of the signer's life has
    passed.
    """
    folder = tmp_path_factory.mktemp("set")
    with directory_set(folder, Transport.PLAIN, len(MEMBERS), settings={"peersInSec": 1}) as (site, servers):
        site.revoke("bad")
        site.publish("m")
        site.run(*clone(site, "c", servers["c"], Transport.PLAIN))
        site.prepare()
        site.ports_of("d")
        ports = [server.port for server in servers.values()] + [site.ports[name][1] for name in MEMBERS]
        with listening(ports) as streams:
            number = install(site, 90, 10 * DAY, "--stage-only")
            site.run(*clone(site, "d", servers["d"], Transport.PLAIN), "--workers", "2")
            site.run("signer", "switch", SIGNER, str(number), "--instance", "m")
            until_signs(site, MEMBERS, number)
        yield Made(site, servers, streams)


def install(site: CloneSet, days_ago: int, seconds: int, *more: str, algorithm: str = "SHA256withEC") -> int:
    """A new key gets a certificate that began so many days ago and ends in so many seconds; its number."""
    now = int(time.time())
    site.run("signer", "request", SIGNER, "--instance", "m", "--algorithm", algorithm)
    made = ring(site, "m").versions_of(SIGNER)[-1]
    key = x509.load_der_x509_csr(made.request_der).public_key()
    issued = site.lab.issue_signer(key=_Public(key), not_before=now - days_ago * DAY, not_after=now + seconds)
    (site.folder / "installed.pem").write_bytes(issued.pem)
    site.run("signer", "install", SIGNER, "installed.pem", "--instance", "m", *more)
    return made.number


@contextmanager
def listening(ports: Sequence[int]) -> Iterator[dict[str, bytes]]:
    """What goes over the wire, complete afterwards; nothing where the tests may not listen, as not being root."""
    streams: dict[str, bytes] = {}
    try:
        capture = Capture(ports)
    except PermissionError:
        yield streams
        return
    with capture.running():
        yield streams
    streams |= capture.streams()


@pytest.fixture(scope="module")
def site(made) -> CloneSet:
    """Its members."""
    return made.site


@pytest.fixture
def loaded(site) -> Iterator[LoadedSet]:
    """The set under load for one test, which leaves it with all members up and nothing renewing itself."""
    with LoadedSet(site) as made:
        yield made


@of_keys("of a signer")
def test_key_of_a_new_signer_is_in_clear_on_no_wire_and_in_no_directory_server(made):
    """Between servers without TLS its certificate is read by whoever listens, and its sealed copies; the key is not."""
    site = made.site
    key = key_of(site, "d", 2)
    assert key.private_numbers() == key_of(site, "m", 2).private_numbers()
    assert places_of(key, site.folder, *(server.folder for server in made.servers.values())) == []
    assert places_in(key, made.streams.items()) == []
    if made.streams:
        wire = b"".join(made.streams.values())
        assert base64.b64encode(version(site, "m", 2).certificate_der) in wire
        for name in ("c", "d"):
            assert f'["{site.id_of(name)}",'.encode() in wire


def test_signer_is_renewed_by_itself_in_each_way(loaded):
    """By EST, by a command of the site, by our own CA: each key goes round the set, and no client refuses an answer.

    A signer is renewed when a share of its life has passed, so the certificate of each way is younger than the one
    before it, first that of the fixture, and the share is set from one way to the next.
    """
    site, now = loaded.site, int(time.time())
    number = loaded.current
    for name in MEMBERS:
        path = site.layout(name).password_conf
        replace_passwords(path, read_passwords(path) | {f"renewal.{SIGNER}": "word"})
    with ESTServer(site.folder, site.lab, now, basic="ocsp:word", days=1) as server:
        ways = (
            {"by": "est", "url": server.url, "trust": server.trust, "user": "ocsp", "afterPercent": 67},
            {"by": "exec", "command": certifying(site), "afterPercent": 30},
            {"by": "ca", "ca": site.folder / "lab", "afterPercent": 1},
        )
        try:
            for way in ways:
                renew_by(site, **way)
                number += 1
                eventually(lambda number=number: version(site, "m", number), f"{way['by']}: a next version")
                loaded.until_signs(number)
        finally:
            renew_by(site, by="nobody")
        assert server.operations == ["simplereenroll"]
    assert ring(site, "m").versions_of(SIGNER)[-1].number == number


def renew_by(site: CloneSet, **way: object) -> None:
    """Have all members renew the signer in that way."""
    for name in MEMBERS:
        write_values(site.layout(name), {f"vouchd.renewal.{SIGNER}.{key}": str(value) for key, value in way.items()})


def certifying(site: CloneSet) -> str:
    """A command that has OpenSSL certify what comes in, by the CA of the set, as of twenty days ago."""
    folder = site.folder
    password = site.write("lab.password", read_passwords(folder / "lab/password.conf")[INTERNAL])
    (folder / "signer.cnf").write_text(
        "extendedKeyUsage=OCSPSigning\nkeyUsage=critical,digitalSignature\nnoCheck=yes\n"
    )
    words = ["faketime", "-f", "-20d", "openssl", "x509", "-req", "-days", "100", "-CA", folder / "lab/ca.crt"]
    words += ["-CAkey", folder / "lab/ca.key", "-passin", f"file:{password}"]
    words += ["-CAserial", folder / "exec.srl", "-CAcreateserial", "-extfile", folder / "signer.cnf"]
    return shlex.join(map(str, words))


def test_set_is_rolled_over_to_another_algorithm_when_no_rehearsal_fails_and_back(loaded):
    """Each is one switch of all members, and back is the same act.

    To one member, by its clock, the certificate has ended: it says so, and nobody switches until its clock is right.
    """
    site, before = loaded.site, loaded.current
    with loaded.unanswered("c"):
        site.run("stop", "--instance", "c")
        site.done("start", "--instance", "c", under=("faketime", "-m", "-f", "+3h"))
    after = install(site, 0, 2 * HOUR, algorithm="SHA256withRSA")
    loaded.held_up_by("c", "not valid now")
    assert version(site, "m", after).key not in ring(site, "m").current
    with loaded.unanswered("c"):
        site.run("stop", "--instance", "c")
        site.run("start", "--instance", "c")
    loaded.until_signs(after)
    site.run("signer", "switch", SIGNER, str(before), "--instance", "m")
    loaded.until_signs(before)


@pytest.mark.parametrize("members", [("m", "c", "d"), ("d", "m", "c")], ids="-".join)
def test_members_killed_at_each_step_of_a_switch_complete_it(loaded, members):
    """One with the certificate just staged, one with the key just there, one before the moment named, one after it.

    A clone that is killed at first holds the switch up until it is back: the others go on with the signer from before.
    """
    site = loaded.site
    first, second, third = members
    epoch, keys = ring(site, "m").epoch, number_of_keys(site, second)
    number = loaded.renew()
    with loaded.killed(first):
        if first != "m":  # which conducts the switch
            loaded.held_up_by(first, "")
            assert version(site, "m", number).key not in ring(site, "m").current
    eventually(lambda: number_of_keys(site, second) > keys, f"the key is at {second}")
    with loaded.killed(second):
        pass
    eventually(lambda: ring(site, second).epoch > epoch, lambda: f"a moment is named: {in_the_way(site)}")
    with loaded.killed(third):
        pass
    eventually(lambda: loaded.clients[first].signers[-1] == loaded.serial(number), f"{first} signs with the next")
    with loaded.killed(first):
        pass
    loaded.until_signs(number)


def number_of_keys(site: CloneSet, name: str) -> int:
    """How many keys of the signer a member has in files."""
    return len(list(site.layout(name).alias.glob(f"{SIGNER}*.key")))
