"""What a clone takes over of the master's certificates: as they are, byte for byte, whatever the PKCS #12 would tell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import LOCAL
from tests.pki import CA, DAY, HOUR, Issued, new_key

from vouchd.cloning.clone_creation import CloneCreation, ClonePlan
from vouchd.cloning.membership import own_member
from vouchd.cloning.set_info import info_record, read_info
from vouchd.instance.certificates.places import AUDIT_SIGNING, SUBSYSTEM, system_certificates
from vouchd.instance.certificates.signers import load_signers
from vouchd.instance.configuration import write_values
from vouchd.instance.creation import NewSigner, create_instance
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import write_key
from vouchd.signing.pkcs12 import read_key_file
from vouchd.wiring import instance
from vouchd.wiring import services as wiring

HOST = "ocsp1.example.org"
PASSWORD = "a password for the keys"
NOW = int(time.time())
KEY_AND_CERTIFICATE = (("key", "key"), ("certificate", "pem"))
VALID = {"not_before": NOW - HOUR, "not_after": NOW + DAY}


def intermediate(root: CA, name: str) -> CA:
    """A CA below `root`."""
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    extensions = ((x509.BasicConstraints(ca=True, path_length=None), True), (usage, True))
    issued = root.issue(name, key=new_key(), extensions=extensions, **VALID)
    return CA(issued.certificate, issued.key)


def client(ca: CA, name: str) -> Issued:
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    return ca.issue(name, extensions=((x509.ExtendedKeyUsage(usages), False), (usage, True)), **VALID)


class Master:
    """An instance with the shared certificates of a set, its signers by `signing`, the others by `house`."""

    def __init__(self, folder: Path, signing: CA, house: CA, *, root: CA | None = None, second: bool = False) -> None:
        self.folder, self.layout = folder, Layout(folder / "master")
        signer = signing.issue_signer(**VALID)
        create_instance(
            self.layout.root,
            NewSigner(signer.key, "SHA256withEC", signer.certificate),
            {"vouchd.domain.host": HOST, "vouchd.agent.port": "8443", "ocsp.store.defStore.refreshInSec": "600"},
        )
        self.password = read_passwords(self.layout.password_conf)[INTERNAL]
        self._file("sslserver", house.issue("server", **VALID))
        if second:
            another = signing.issue_signer("second", key=new_key(), **VALID)
            self._file("second", another)
            values = {"key": "alias/second.key", "certificate": "alias/second.pem"}
            write_values(self.layout, {f"vouchd.signer.second.{kind}": path for kind, path in values.items()})
        with wiring.services(self.layout) as services:
            services.authorities.add(signing.der, LOCAL)
            above = b"".join(one.pem for one in (house, root) if one is not None)
            for name in (SUBSYSTEM, AUDIT_SIGNING):
                path = services.certificates.request(name, LOCAL)
                request = x509.load_pem_x509_csr(path.read_bytes())
                asked_for = tuple((one.value, one.critical) for one in request.extensions)
                issued = house.issue(name, key=_Public(request.public_key()), extensions=asked_for, **VALID)
                services.certificates.install(name, issued.pem, LOCAL, chain=above)

    def _file(self, name: str, issued: Issued) -> None:
        write_key(self.layout.alias / f"{name}.key", issued.key, self.password)
        (self.layout.alias / f"{name}.pem").write_bytes(issued.pem)

    def export(self) -> Path:
        path = self.folder / "keys.p12"
        with wiring.services(self.layout) as services:
            path.write_bytes(services.keys.export(PASSWORD, LOCAL).pkcs12)
            path.chmod(0o600)
        return path

    def cloned(self) -> Layout:
        """A clone made with the keys of this one, as far as its first step makes it."""
        with wiring.services(self.layout) as services:
            services.domain.create(own_member(services.settings), LOCAL)
            info = read_info(info_record(services.membership.info()))
        plan = ClonePlan(
            layout=Layout(self.folder / "clone"),
            master=(HOST, 8443),
            fingerprint="ab" * 32,
            token="",
            pkcs12=self.export(),
            pkcs12_password=PASSWORD,
            host="ocsp2.example.org",
            agent_port=8443,
            ee_port=8080,
            values={"vouchd.domain.host": "ocsp2.example.org"},
            ca=None,
            directory=None,
            manager=None,
        )
        creation = CloneCreation(plan, wiring.services, instance.check_instance, instance.compare, lambda _: None)
        creation._info = info
        creation._keys()
        return plan.layout


class _Public:
    """A key of which only the public half is here: a CA signs for it with its own."""

    def __init__(self, public_key: object) -> None:
        self._public_key = public_key

    def public_key(self) -> object:
        return self._public_key


def sent(layout: Layout) -> dict[str, tuple[bytes, ...]]:
    """What goes into an answer of each signer: its certificate, and what is sent along with it."""
    return {name: (one.certificate_der, *one.chain_der) for name, one in load_signers(read_settings(layout)).items()}


def files_of(layout: Layout) -> dict[str, tuple[bytes, ...]]:
    """The shared certificates with their chains, DER."""
    return {
        one.name: tuple(each.public_bytes(Encoding.DER) for each in (one.certificate, *one.chain))
        for one in system_certificates(read_settings(layout))
        if one.certificate is not None and one.name != "sslserver"
    }


@pytest.fixture
def root() -> CA:
    return CA.create("Root CA", key=new_key())


def test_clone_of_a_set_whose_signers_ca_certified_the_other_keys_sends_what_the_master_sends(tmp_path, root):
    """The PKCS #12 has the CA in it for the other keys; it does not get into the answers of the clone for that."""
    house = intermediate(root, "House CA")
    master = Master(tmp_path, house, house, root=root)
    clone = master.cloned()
    assert house.der in {
        other.public_bytes(Encoding.DER) for other in read_key_file(tmp_path / "keys.p12", PASSWORD).bags[0].others
    }
    assert sent(clone) == sent(master.layout)
    assert files_of(clone) == files_of(master.layout)


def test_clone_sends_along_what_the_master_was_given_to_send(tmp_path, root):
    """A chain that an operator wrote by hand, in whatever order, is a fact of the set too."""
    house = intermediate(root, "House CA")
    master = Master(tmp_path, house, house, root=root)
    (master.layout.alias / "by-hand.pem").write_bytes(root.pem + house.pem)
    write_values(master.layout, {"vouchd.signer.ocspSigningCert.chain": "alias/by-hand.pem"})
    clone = master.cloned()
    assert sent(clone) == sent(master.layout)
    assert sent(clone)["ocspSigningCert"][1:] == (root.der, house.der)


def test_clone_of_a_set_with_a_second_signer_without_algorithm_line_has_it(tmp_path, root):
    """The line is optional, so nothing may hang on it."""
    master = Master(tmp_path, root, root, second=True)
    clone = master.cloned()
    assert set(sent(clone)) == {"ocspSigningCert", "second"}
    assert sent(clone) == sent(master.layout)


def test_set_with_cas_that_have_not_issued_its_default_signer_is_cloned(tmp_path, root):
    """A CA whose clients trust another's responder, and one with a signer of its own: the set has judged them."""
    master, other, third = Master(tmp_path, root, root), CA.create("Other CA", key=new_key()), CA.create("Third CA")
    signer = third.issue_signer("third", key=new_key(), **VALID)
    master._file("third", signer)
    write_values(master.layout, {f"vouchd.signer.third.{k}": f"alias/third.{s}" for k, s in KEY_AND_CERTIFICATE})
    with wiring.services(master.layout) as services:
        services.authorities.add(other.der, LOCAL, trusted_responder=True)
        services.authorities.add(third.der, LOCAL)
    clone = master.cloned()
    assert sent(clone) == sent(master.layout)
    assert set(sent(clone)) == {"ocspSigningCert", "third"}


@pytest.mark.parametrize("with_root", [True, False], ids=["made today", "its root dropped by an earlier version"])
def test_set_whose_own_certificates_are_by_a_self_signed_ca_is_cloned_and_restored(tmp_path, root, with_root):
    """The root is of no CA that is answered for; the backup is enough all the same, for a clone and for a spare."""
    house = CA.create("House CA", key=new_key())
    master = Master(tmp_path, root, house)
    if not with_root:
        for name in (SUBSYSTEM, AUDIT_SIGNING):
            path = master.layout.alias / f"{name}.pem"
            path.write_bytes(x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.PEM))
    clone = master.cloned()
    assert files_of(clone) == files_of(master.layout)
    with wiring.services(clone) as services:  # and once more, over what is there
        restored = services.keys.restore(read_key_file(tmp_path / "keys.p12", PASSWORD), {}, LOCAL)
    assert {one.certificate.name for one in restored} == {"ocspSigningCert", SUBSYSTEM, AUDIT_SIGNING}
