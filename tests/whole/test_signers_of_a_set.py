"""A new signer reaches every member of a set, and all of them switch to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import ocsp
from tests.faults.page import FaultTable
from tests.processes.running import eventually
from tests.whole.clones import CloneSet, clone_set
from tests.whole.key_search import needles, places_of
from tests.whole.key_table import of_keys
from tests.whole.test_clone_embedded import openssl_answers

from vouchd.core.signer_facts import Keyring, SignerVersion
from vouchd.instance.certificates.versions import VersionFiles
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.wiring import services as wiring

pytestmark = pytest.mark.process
SIGNER = "ocspSigningCert"
TABLE = FaultTable.of("a switch of signers")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A running master and its clone, which keep their facts in files and have switched to a second signer.

    A test leaves them, with whoever else has joined, running and with one signer.
    """
    with clone_set(tmp_path_factory.mktemp("pair")) as made:
        made.make_prepared()
        made.run(*made.create("c"))
        assert renew(made) == 2
        until_signs(made, ("m", "c"), 2)
        yield made


def renew(pair: CloneSet) -> int:
    """Have our CA certify a new key of the signer, to which the set is to switch: its number."""
    pair.run("signer", "renew", SIGNER, "--instance", "m", "--ca", "lab")
    return ring(pair, "m").versions_of(SIGNER)[-1].number


def ring(pair: CloneSet, name: str) -> Keyring:
    """The keyring as the facts at a member have it."""
    with wiring.services(pair.layout(name)) as services:
        return services.store.keyring()


def version(pair: CloneSet, name: str, number: int) -> SignerVersion | None:
    """One version there."""
    return ring(pair, name).version(SIGNER, number)


def key_of(pair: CloneSet, name: str, number: int) -> ec.EllipticCurvePrivateKey:
    """The private key of a version, out of the member's own file."""
    layout, wanted = pair.layout(name), version(pair, name, number)
    files = VersionFiles(layout, read_passwords(layout.password_conf)[INTERNAL])
    path = files.key_file(wanted, read_settings(layout))
    assert path is not None, f"{name} has the key"
    return files.read(path)


def in_the_way(pair: CloneSet) -> list:
    (signer,) = pair.json("signer", "list", "--instance", "m")
    return [one["in_the_way"] for one in signer["versions"]]


def signs_with(pair: CloneSet, name: str) -> str:
    """SHA-256 (hex) of the public key that a member's answer is signed with; empty: it is not answered now."""
    answer = pair.answer(name, "good")
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return ""
    (signer, *_) = answer.certificates
    spki = signer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def until_signs(pair: CloneSet, names: tuple[str, ...], number: int) -> None:
    """Wait until each member signs with the version, by what it answers."""
    key = version(pair, "m", number).public_key
    eventually(
        lambda: all(signs_with(pair, name) == key for name in names),
        lambda: f"{names} sign with {number}: {in_the_way(pair)}",
    )


@of_keys("of a signer")
def test_new_signer_reaches_the_clone_sealed_and_both_switch(pair):
    """Renewed at the master, it signs at both, byte for byte alike, and its key is in clear nowhere."""
    for certificate in ("good", "bad"):
        assert pair.said("c", certificate) == pair.said("m", certificate)
        assert openssl_answers(pair, "c", certificate) == openssl_answers(pair, "m", certificate)
    eventually(lambda: pair.done("clone", "verify", "--instance", "c", code=None).returncode == 0, "members are alike")
    key = key_of(pair, "m", 2)
    assert key_of(pair, "c", 2).private_numbers() == key.private_numbers()
    assert places_of(key, pair.folder) == []
    eventually(lambda: version(pair, "c", 2).sealed == (), "the sealed copy is taken out of the facts")


@TABLE.fault(
    "a member is down, or cannot sign with the new one",
    "by the signer from before, at all members",
    "the member and the reason: `vouchd signer list`, `/readyz` (`signers`), `vouchd_signer_waiting`, the page *Signers*",
    "by itself when the member can; one that is gone for good is taken out of the set",
)
def test_member_that_is_down_holds_the_switch_up_by_name(pair):
    """The signer from before goes on, everywhere the reason is told, and the set switches when the member is back."""
    before = ring(pair, "m").versions_of(SIGNER)[-1].number
    pair.run("stop", "--instance", "c")
    number = renew(pair)

    def mention() -> bool:
        (*_, ways) = in_the_way(pair)
        return [one["member"] for one in ways] == [pair.id_of("c")]

    eventually(mention, lambda: f"the clone is named: {in_the_way(pair)}")
    assert version(pair, "m", number).key not in ring(pair, "m").current
    assert signs_with(pair, "m") == version(pair, "m", before).public_key
    assert pair.id_of("c") in pair.health("m", "/readyz")[1].partition('"signers"')[2].partition("}")[0]
    waiting = f'vouchd_signer_waiting{{member="{pair.id_of("c")}",signer="{SIGNER}#{number}"}} 1.0'
    eventually(lambda: waiting in pair.health("m", "/metrics")[1], "the metric names it")
    pair.run("start", "--instance", "c")
    until_signs(pair, ("m", "c"), number)
    assert pair.said("c", "good") == pair.said("m", "good")


def test_clone_that_joins_later_takes_part(pair):
    """It comes with the keys of the set by PKCS #12, as documented, and gets the next one sealed."""
    pair.prepare()
    pair.run(*pair.create("d"))
    until_signs(pair, ("m", "c", "d"), ring(pair, "m").versions_of(SIGNER)[-1].number)
    number = renew(pair)
    until_signs(pair, ("m", "c", "d"), number)
    assert pair.said("d", "bad") == pair.said("m", "bad")


def test_search_finds_a_key_in_every_form(tmp_path):
    """What looks for keys would find one: as DER, as PEM, bare, and inside of other octets in base64."""
    key = ec.generate_private_key(ec.SECP256R1())
    raw = key.private_numbers().private_value.to_bytes(32)
    (tmp_path / "der").write_bytes(b"x" + key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    (tmp_path / "raw").write_bytes(b"ab" + raw)
    names = {Path(place.partition(": ")[0]).name for place in places_of(key, tmp_path)}
    assert names == {"der", "pem", "raw"}
    assert len(needles(key)) == 12
