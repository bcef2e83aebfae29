"""A set whose keys renew themselves, as processes: a TLS certificate without a restart, and all that a thief knew."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import ssl
import time
from contextlib import closing

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.est_server import _Public
from tests.pki import CA, DAY
from tests.processes.running import DEADLINE_SECONDS, eventually
from tests.whole.clones import CloneSet, clone_set
from tests.whole.key_search import keys_in, places_of
from tests.whole.key_table import of_keys

from vouchd.cloning.client import connector
from vouchd.core.facts import Member
from vouchd.errors import PermissionDenied
from vouchd.instance.certificates.places import ADMIN, AUDIT_SIGNING, SSLSERVER, SUBSYSTEM, find, system_certificates
from vouchd.instance.configuration import write_values
from vouchd.instance.lifecycle import status
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.signing.sealing import public_key_hash
from vouchd.wiring import services as wiring

pytestmark = pytest.mark.process
SIGNER = "ocspSigningCert"

# The table of docs/set/keyring.md, row by row: who may have a key that its file opens to, beside whom it belongs to.

TABLE = {
    "of a signer": {"m", "c"},
    "TLS server's": set(),
    "subsystem and audit signing, renewed by the member itself": set(),
    "of the administrator": set(),
}
NAMES = {
    SIGNER: "of a signer",
    SSLSERVER: "TLS server's",
    SUBSYSTEM: "subsystem and audit signing, renewed by the member itself",
    AUDIT_SIGNING: "subsystem and audit signing, renewed by the member itself",
    ADMIN: "of the administrator",
}


def renews(site: CloneSet, name: str, *certificates: str) -> None:
    """Have our own CA certify the next of these certificates of a member, by itself."""
    values = {"by": "ca", "ca": str(site.folder / "lab")}
    write_values(
        site.layout(name),
        {f"vouchd.renewal.{one}.{key}": value for one in certificates for key, value in values.items()},
    )


def grow_old(site: CloneSet, name: str) -> None:
    """Give a member a TLS certificate most of whose life has passed."""
    site.run("certs", "request", SSLSERVER, "--instance", name)
    path = max(site.layout(name).alias.glob("sslserver*.csr"), key=lambda one: one.stat().st_mtime)
    csr, ca, now = x509.load_pem_x509_csr(path.read_bytes()), CA.create("Hosts CA"), int(time.time())
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    validity = {"not_before": now - 300 * DAY, "not_after": now + 60 * DAY}
    issued = ca.issue("old", key=_Public(csr.public_key()), extensions=((usage, False), (names, False)), **validity)
    (site.folder / "old.pem").write_bytes(issued.pem)
    (site.folder / "hosts.pem").write_bytes(ca.pem)
    site.run("certs", "install", SSLSERVER, "old.pem", "--chain", "hosts.pem", "--instance", name)


def registered(site: CloneSet, name: str, member: str) -> Member:
    """A member as the registry at another one has it."""
    rows = site.json("domain", "members", "--instance", name)
    row = next(one for one in rows if one["member"] == site.id_of(member))
    host, _, port = row["member"].rpartition(":")
    return Member(host, int(port), 0, "", clone=False, joined_at=0, tls_sha256=row["fingerprint"])


def shown(connection: http.client.HTTPSConnection) -> str:
    return hashlib.sha256(connection.sock.getpeercert(binary_form=True)).hexdigest()


def key(layout: Layout, name: str) -> bytes:
    public = find(read_settings(layout), name).certificate.public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def waits(site: CloneSet, name: str) -> set[str]:
    """The steps that are not done."""
    return {one["step"] for one in site.json("domain", "renewal", "--instance", name) if one["state"] == "waits"}


@pytest.fixture
def site(tmp_path):
    """A master and two clones that follow it."""
    with clone_set(tmp_path) as made:
        made.make_prepared()
        for name in ("c", "d"):
            made.run(*made.create(name))
            made.prepare()
        yield made


@of_keys(*TABLE)
def test_keys_of_a_set_renew_themselves_and_what_a_thief_had_is_renewed_for_all(site):
    """A clone's TLS certificate changes under a connection that lives on; then all that a stolen member knew is new."""
    grow_old(site, "c")
    old = eventually(
        lambda: (now := registered(site, "m", "c").tls_sha256) != registered(site, "m", "m").tls_sha256 and now,
        "the master knows the clone by its certificate",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = "127.0.0.1", site.ports["c"][1]
    with closing(http.client.HTTPSConnection(host, port, timeout=DEADLINE_SECONDS, context=context)) as before:
        before.connect()
        assert (
            shown(before)
            == hashlib.sha256(
                x509.load_pem_x509_certificate((site.folder / "old.pem").read_bytes()).public_bytes(Encoding.DER)
            ).hexdigest()
        )
        process = status(site.layout("c")).report
        for name in ("m", "c"):  # the ways of all members are alike; at the master nothing is due
            renews(site, name, SSLSERVER)

        def http_status() -> int:
            before.request("GET", "/domain/v1/succession")  # it keeps the connection from being idle
            answer = before.getresponse()
            answer.read()
            return answer.status

        def renewed() -> bool:
            assert http_status() == http.client.OK
            with closing(http.client.HTTPSConnection(host, port, timeout=DEADLINE_SECONDS, context=context)) as after:
                after.connect()
                return shown(after) != shown(before)

        eventually(renewed, "the clone shows its next certificate")
        assert http_status() == http.client.OK, "the connection of before goes on"
    report = status(site.layout("c")).report
    assert (report.pid, report.started_at) == (process.pid, process.started_at), "nothing restarted"
    eventually(lambda: registered(site, "m", "c").tls_sha256 != old, "the registry has the next one")
    seen = {one["member"]: one["reachable"] for one in site.json("status", "--instance", "m")["members"]}
    assert seen[site.id_of("c")] is True

    stolen = Layout(site.folder / "stolen")
    shutil.copytree(site.layout("d").root, stolen.root, ignore=shutil.ignore_patterns(".*.part"))  # it runs
    thief = connector(stolen, read_settings(stolen))(registered(site, "m", "m"))
    assert thief.info().told_by.id == site.id_of("m")
    had = {name: key(stolen, name) for name in (SIGNER, SUBSYSTEM, AUDIT_SIGNING)}
    for name in ("m", "c"):
        renews(site, name, SIGNER, SUBSYSTEM, AUDIT_SIGNING)
    site.run("domain", "leave", site.id_of("d"), "--renew", "--instance", "m")
    with pytest.raises(PermissionDenied):
        thief.info()
    for step in ("request", "certify", "switch", "own"):
        eventually(lambda step=step: step not in waits(site, "m"), f"{step} is done")
    eventually(lambda: site.json("domain", "renewal", "--instance", "m") == [], "all is renewed")
    for name in ("m", "c"):
        layout = site.layout(name)
        eventually(lambda layout=layout: key(layout, SIGNER) != had[SIGNER], f"{name} signs with the new key")
        for own in (SUBSYSTEM, AUDIT_SIGNING):
            assert key(layout, own) != had[own]
        assert site.run("audit", "verify", "--instance", name)
    assert key(site.layout("m"), SUBSYSTEM) != key(site.layout("c"), SUBSYSTEM), "each member has its own"
    with wiring.services(site.layout("m")) as services:
        assert services.users.find("subsystem", services.caller).certificates == (), "what all had lets nobody in"
    site.revoke("good")
    site.publish("c")
    site.until_says("m", "good", "revoked")
    site.until_says("c", "good", "revoked")
    site.run("clone", "verify", "--instance", "c")
    _where_the_table_says(site, stolen)


def _where_the_table_says(site: CloneSet, stolen: Layout) -> None:
    """No private key of the set lies in clear anywhere, nor encrypted where the table does not have it."""
    everywhere = {name: keys_in(site.layout(name)) for name in ("m", "c")} | {"stolen": keys_in(stolen)}
    for name in ("m", "c"):
        settings = read_settings(site.layout(name))
        for place in system_certificates(settings):
            if not place.files.installed:
                continue
            own = public_key_hash(everywhere[name][place.files.key_file.name])
            holders = {
                one for one, keys in everywhere.items() if own in {public_key_hash(key) for key in keys.values()}
            }
            assert holders <= {name, *TABLE[NAMES[place.name]]}, f"{place.name} of {name}"
    for name, keys in everywhere.items():
        for file, private in keys.items():
            assert places_of(private, site.folder) == [], f"{file} of {name} lies in clear"
