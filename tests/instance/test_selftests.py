"""Each self test of an instance: how it passes, and what makes it fail."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags
from tests.images import image_of
from tests.pki import CA, DAY, ca_version, moment, signing_hash
from tests.processes.running import eventually
from tests.sites import Site

from vouchd.cli.main import main
from vouchd.index.format import RevocationIndexFile
from vouchd.instance.selftests import host, keys, start_proof
from vouchd.instance.selftests.start_proof import Conclusion, StartProof
from vouchd.service.answering import Responder
from vouchd.service.selftests import SelfTestName
from vouchd.settings.layout import Layout
from vouchd.signing.software import SoftwareSigner
from vouchd.stores.sqlite.store import SqliteStore
from vouchd.wiring import services as wiring

REVOKED = {0x1001: ReasonFlags.key_compromise, 0x1002: None}


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    """An instance with one CRL; it does not run."""
    made = put(make_instance, tmp_path, monkeypatch)
    made.ca.crl_number = 1
    return made


@pytest.fixture
def certified(tmp_path, monkeypatch) -> Site:
    """The same with all system certificates, by a CA of ours, so also with a TLS server's."""
    return put(make_certified, tmp_path, monkeypatch)


def put(make: Callable[[Path], None], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """What `make` makes, as a site whose instance commands mean."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(folder / "vouchd"))
    image_of(make).put(folder)
    return Site.make(folder)


def make_instance(folder: Path) -> None:
    site = Site.make(folder)
    site.equip()
    with pytest.MonkeyPatch.context() as patch, Path(site.crl("first.crl", REVOKED)).open("rb") as crl:
        patch.setattr(sys, "stdin", TextIOWrapper(crl))  # the name of a file would be kept
        assert main(["crl", "add", "-", "--instance", str(site.instance)]) == 0


def make_certified(folder: Path) -> None:
    ca = str(folder / "ca")
    assert main(["ca", "create", "--ca", ca, "--subject", "CN=Ours"]) == 0
    assert main(["create", "--ca", ca, "--instance", str(folder / "vouchd")]) == 0


def layout_of(site: Site) -> Layout:
    return Layout(site.instance)


def run(site: Site, name: SelfTestName):
    """The result of one self test."""
    with wiring.services(layout_of(site)) as services:
        (result,) = services.self_tests().run([name], services.caller)
    return result


def configure(site: Site, *lines: str) -> None:
    with layout_of(site).cs_cfg.open("a") as file:
        file.write("\n".join(lines) + "\n")


def key(site: Site):
    return layout_of(site).alias / "ocspSigningCert.key"


def install(site: Site, issued) -> None:
    """Put the certificate in place of the signer's."""
    (layout_of(site).alias / "ocspSigningCert.pem").write_bytes(issued.pem)


@pytest.mark.parametrize("name", SelfTestName)
def test_sound_instance_passes(site, name):
    """Each test passes on an instance as it is made."""
    result = run(site, name)
    assert (result.ok, result.hint) == (True, ""), result.detail


@pytest.mark.parametrize("name", SelfTestName)
def test_instance_without_a_crl_passes(tmp_path, monkeypatch, name):
    """Each test passes before there is any CRL: nothing to answer from is no fault."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    site = Site.make(tmp_path)
    assert site.create() == 0
    assert run(site, name).ok


def test_presence_without_the_key_fails(site):
    """A signer whose key is gone is not present."""
    key(site).unlink()
    result = run(site, SelfTestName.PRESENCE)
    assert (result.ok, "cannot be read" in result.detail) == (False, True)


def test_presence_with_the_key_of_another_certificate_fails(site):
    """Key and certificate have to belong together."""
    install(site, site.ca.issue_signer(kind="RSA"))
    assert "does not belong" in run(site, SelfTestName.PRESENCE).detail


def test_validity_of_an_expired_signer_fails(site):
    """A signer past its notAfter is not valid, and the remedy is told."""
    now = int(time.time())
    install(site, site.ca.issue_signer(key=site.signer.key, not_before=now - 2 * DAY, not_after=now - DAY))
    result = run(site, SelfTestName.VALIDITY)
    assert (result.ok, "has expired" in result.detail, "renew" in result.hint) == (False, True, True)
    assert not run(site, SelfTestName.CERTIFICATES).ok


def test_validity_of_a_signer_that_another_ca_issued_fails(site):
    """A delegated signer answers for the CA that issued it, and for no other (RFC 6960 section 4.2.2.2)."""
    now = int(time.time())
    foreign = CA.create("Foreign", "RSA")
    install(site, foreign.issue_signer(key=site.signer.key, not_before=now - DAY, not_after=now + DAY))
    assert "not issued by" in run(site, SelfTestName.VALIDITY).detail


def test_certificates_tell_each(certified):
    """Every system certificate is told of by its name."""
    detail = run(certified, SelfTestName.CERTIFICATES).detail
    assert detail == "ocspSigningCert: good; sslserver: good; subsystem: good; audit_signing: good"


def test_certificates_that_have_not_come_are_no_failure(site):
    """An instance that waits for its CA has nothing wrong with it."""
    assert "sslserver: has not come yet" in run(site, SelfTestName.CERTIFICATES).detail


@pytest.mark.parametrize(
    ("name", "other", "why"),
    [("sslserver", "subsystem", "does not belong"), ("subsystem", "sslserver", "does not belong")],
)
def test_certificate_of_another_key_fails(certified, name, other, why):
    """A certificate has to be for the key beside it."""
    alias = layout_of(certified).alias
    shutil.copy(alias / f"{other}.pem", alias / f"{name}.pem")
    result = run(certified, SelfTestName.CERTIFICATES)
    assert not result.ok
    assert result.detail.startswith(f"{name}: ")
    assert why in result.detail


def test_certificate_that_is_for_something_else_fails(certified):
    """A TLS server's certificate needs serverAuth."""
    alias = layout_of(certified).alias
    for suffix in (".pem", ".key"):
        shutil.copy(alias / f"audit_signing{suffix}", alias / f"sslserver{suffix}")
    result = run(certified, SelfTestName.CERTIFICATES)
    assert (result.ok, "lacks serverAuth" in result.detail) == (False, True)


def test_certificate_with_a_broken_chain_fails(certified):
    """What is sent along has to be the CA that issued the certificate."""
    stranger = CA.create("Stranger").certificate.public_bytes(Encoding.PEM)
    with (layout_of(certified).alias / "sslserver.pem").open("ab") as file:
        file.write(stranger)
    result = run(certified, SelfTestName.CERTIFICATES)
    assert (result.ok, "chain is broken" in result.detail) == (False, True)
    assert "vouchd certs install sslserver" in result.hint


def test_certificate_file_that_cannot_be_read_fails(certified):
    """A damaged file is no certificate."""
    (layout_of(certified).alias / "audit_signing.pem").write_text("-----BEGIN nothing")
    assert "audit_signing: " in run(certified, SelfTestName.CERTIFICATES).detail


@pytest.mark.parametrize("file", ["alias/ocspSigningCert.key", "alias/sslserver.key", "password.conf"])
def test_key_file_that_others_may_read_fails(site, file):
    """A file with a secret is for the instance's user alone; the command that mends it is told."""
    path = site.instance / file
    path.chmod(0o640)
    result = run(site, SelfTestName.KEY_FILES)
    assert (result.ok, result.hint) == (False, f"chmod 600 {path}")
    assert "(mode 0640)" in result.detail


def test_key_file_of_another_user_fails(site, monkeypatch):
    """A file with a secret belongs to the instance's user, or to root."""
    uid = key(site).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    result = run(site, SelfTestName.KEY_FILES)
    assert result.ok == (uid == 0)


def test_key_file_of_the_administrator_is_only_told(certified):
    """A person may hand its own file about: told, but no reason to stop answering."""
    layout_of(certified).admin_pkcs12.chmod(0o644)
    result = run(certified, SelfTestName.KEY_FILES)
    assert result.ok
    assert "admin.p12: others may use it" in result.detail


def test_disk_without_the_room_that_is_asked_for_fails(site):
    """Less free space than the settings ask for fails, for each folder that is written to."""
    configure(site, f"selftests.plugin.DiskSpace.minFreeBytes={1 << 50}")
    result = run(site, SelfTestName.DISK)
    assert not result.ok
    assert all(f"{folder}: " in result.detail for folder in ("db", "index", "run", "logs"))
    assert "free space" in result.hint


def test_disk_with_a_folder_that_is_gone_fails(site):
    """A folder that is not there cannot be written."""
    shutil.rmtree(layout_of(site).index)
    assert "index: " in run(site, SelfTestName.DISK).detail


def test_disk_without_inodes_fails(site, monkeypatch):
    """A file system can be full of files though not of bytes."""
    room = os.statvfs(site.folder)
    full = type("Full", (), {"f_bavail": room.f_bavail, "f_frsize": room.f_frsize, "f_files": 100, "f_favail": 0})
    monkeypatch.setattr(host.os, "statvfs", lambda _: full)
    assert "out of inodes" in run(site, SelfTestName.DISK).detail


@pytest.mark.parametrize(("behind", "passes"), [(200, True), (2 * DAY, False)])
def test_clock_behind_what_was_told(site, behind, passes):
    """A clock behind the newest acceptance fails once it is more than the tolerance."""
    with wiring.services(layout_of(site)) as services:
        at = max(epoch.accepted_at for epoch in services.store.epochs()) - behind
        try:
            said = host.check_clock(services.store, 300, at)
        except host.LifecycleError as error:
            said = str(error)
    assert said.startswith("not behind" if passes else f"the clock is {behind} s behind: the moment a CRL of")


def test_clock_behind_a_crl_that_is_held_back_fails(site, capsys):
    """CRLs in quarantine have their moment, too: the newest of all facts counts."""
    assert main(["ca", "set", "CN=Site CA", "--quarantine-percent", "1"]) == 0
    main(["crl", "add", site.crl("second.crl", {})])
    with wiring.services(layout_of(site)) as services:
        (suspect,) = services.store.quarantined()
        with pytest.raises(host.LifecycleError, match="the clock is 1 s behind"):
            host.check_clock(services.store, 0, suspect.received_at - 1)


def index_of(site: Site):
    (path,) = layout_of(site).index.glob("*.idx")
    return path


def test_index_compares_every_entry(site):
    """The index is looked up for each entry of the CRL in the store."""
    assert "2 entries, 2 compared" in run(site, SelfTestName.INDEX).detail


@pytest.mark.parametrize("damage", ["missing", "flipped", "short"])
def test_index_that_is_not_whole_fails(site, damage):
    """A missing, altered or cut file is found, and is rebuilt by a restart."""
    path = index_of(site)
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(data if damage == "flipped" else data[:-5])
    result = run(site, SelfTestName.INDEX)
    assert (result.ok, "missing or damaged" in result.detail, "restart" in result.hint) == (False, True, True)


def test_index_of_another_crl_fails(site):
    """A whole index that does not say what the CRL says is found."""
    path = index_of(site)
    with wiring.services(layout_of(site)) as services:
        (epoch,) = services.store.epochs()
        authority = services.store.authorities()[0]
        other = site.ca.crl({0x1001: None, 0x7777: None})
        path.unlink()
        services.indexing.build(authority, epoch, lambda _: other)
    assert "serial 1002 is not as the CRL has it" in run(site, SelfTestName.INDEX).detail


def test_index_whose_crl_is_another_one_in_the_store_fails(site, monkeypatch):
    """Nothing is compared with what was not verified; a backup has the one that was."""
    monkeypatch.setattr(SqliteStore, "document_chunks", lambda *_: [site.ca.crl({})])
    result = run(site, SelfTestName.INDEX)
    assert (result.ok, "the CRL in the store is damaged" in result.detail) == (False, True), result.detail
    assert result.hint == "restore the store from a backup"


def test_index_under_a_delta_crl_passes(site):
    """What a delta CRL adds or removes counts before what its base says."""
    delta = site.crl("delta.crl", {0x1002: ReasonFlags.remove_from_crl, 0x1003: None}, number=2, base=1)
    assert main(["crl", "add", delta]) == 0
    result = run(site, SelfTestName.INDEX)
    assert (result.ok, "2 entries, 2 compared" in result.detail) == (True, True), result.detail


def test_index_of_a_crl_that_lists_a_serial_twice_passes(site):
    """A serial listed twice counts once, by a rule that the self test knows as well."""
    now = int(time.time())
    builder = x509.CertificateRevocationListBuilder().issuer_name(site.ca.certificate.subject)
    builder = builder.last_update(moment(now - 60)).next_update(moment(now + DAY))
    builder = builder.add_extension(x509.CRLNumber(2), critical=False)
    for days, reason in (
        (9, ReasonFlags.certificate_hold),
        (3, ReasonFlags.key_compromise),
        (5, ReasonFlags.superseded),
    ):
        entry = x509.RevokedCertificateBuilder().serial_number(0x1001).revocation_date(moment(now - days * DAY))
        builder = builder.add_revoked_certificate(entry.add_extension(x509.CRLReason(reason), critical=False).build())
    crl = site.folder / "twice.crl"
    crl.write_bytes(builder.sign(site.ca.key, signing_hash(site.ca.key)).public_bytes(Encoding.DER))
    assert main(["crl", "add", str(crl)]) == 0
    result = run(site, SelfTestName.INDEX)
    assert (result.ok, "1 entries, 1 compared" in result.detail) == (True, True), result.detail


def test_canary_asks_for_a_good_and_a_revoked_serial(site):
    """The canary is answered as the CRL says, for a serial that it lists too."""
    assert run(site, SelfTestName.CANARY).detail == "CN=Site CA: good, revoked"


def test_canary_of_a_ca_with_crls_of_each_key_passes(site):
    """After a change of the CA's key it is asked by the key that certified the signer, and by that key's CRL."""
    newer = CA.create("Site CA", "RSA")
    (site.folder / "newer.pem").write_bytes(newer.certificate.public_bytes(Encoding.PEM))
    assert main(["authority", "add", site.file("newer.pem")]) == 0
    for index, ca in enumerate((site.ca, newer)):
        listed = {0x1003 + index: None}
        crl = replace(site, ca=ca).crl(f"{index}.crl", listed, number=5, extensions=(ca_version(index),))
        assert main(["crl", "add", crl]) == 0
    result = run(site, SelfTestName.CANARY)
    former = ", asked by a former key, as no signer is certified by the newest one"
    assert (result.ok, result.detail) == (True, "CN=Site CA: good, revoked" + former)
    now = int(time.time())
    install(site, newer.issue_signer(key=site.signer.key, not_before=now - DAY, not_after=now + DAY))
    assert run(site, SelfTestName.CANARY).detail == "CN=Site CA: good, revoked"


def test_canary_of_a_signer_that_clients_refuse_fails(site):
    """An answer that no client would take is found before a client finds it."""
    now = int(time.time())
    foreign = CA.create("Foreign", "RSA")
    install(site, foreign.issue_signer(key=site.signer.key, not_before=now - DAY, not_after=now + DAY))
    result = run(site, SelfTestName.CANARY)
    assert (result.ok, "clients refuse" in result.detail) == (False, True)


def test_canary_of_a_stale_crl_is_no_failure(site, monkeypatch):
    """When policy says tryLater for want of a current CRL, that is what is answered: told, and no fault of ours."""
    with wiring.services(layout_of(site)) as services:
        later = services.store.epochs()[0].next_update + 1
        test = next(one for one in _tests(services) if one.name is SelfTestName.CANARY)
        assert "tryLater (the CRL has passed its nextUpdate)" in test.check(later)


@pytest.mark.parametrize(
    "line",
    [
        "vouchd.request.nonce=forbid",
        "vouchd.request.nonce=require",
        "vouchd.request.nonce=ignore",
        "vouchd.request.maxCertIDs=1",
        "vouchd.request.signature=require",
        "ocsp.rejectAlgorithms=SHA-1,SHA-256",
        "ocsp.store.defStore.byName=true",
    ],
)
def test_canary_goes_by_the_policy(site, line):
    """The canary asks as a client of this instance has to."""
    if "byName" in line:
        text = layout_of(site).cs_cfg.read_text().replace("byName=false", "byName=true")
        layout_of(site).cs_cfg.write_text(text)
    else:
        configure(site, line)
    result = run(site, SelfTestName.CANARY)
    assert (result.ok, result.detail) == (True, "CN=Site CA: good, revoked")


def test_canary_with_an_index_that_says_otherwise_fails(site, monkeypatch):
    """An answer that is not what the CRL says is found, whatever the reason."""
    monkeypatch.setattr(Responder, "answer", _forgetful(Responder.answer, monkeypatch))
    result = run(site, SelfTestName.CANARY)
    assert (result.ok, "where the CRL says" in result.detail) == (False, True)


def test_one_run_loads_each_signer_once(site, monkeypatch):
    """Whatever tests there are, the key of a signer is loaded once in a run; the next run looks at the files again."""
    loaded: list[str] = []
    load = SoftwareSigner.load.__func__

    def noting(cls, nickname, *args, **more):
        loaded.append(nickname)
        return load(cls, nickname, *args, **more)

    monkeypatch.setattr(SoftwareSigner, "load", classmethod(noting))
    with wiring.services(layout_of(site)) as services:
        for _ in range(2):
            loaded.clear()
            assert all(result.ok for result in services.self_tests().run([], services.caller))
            assert loaded.count("ocspSigningCert") == 1


def test_key_that_has_made_a_verified_answer_makes_no_trial_signature(site, monkeypatch):
    """An answer shows what a trial shows; whose check comes before any answer of its is tried out."""
    trials: list[str] = []
    monkeypatch.setattr(keys, "try_signature", lambda signer, **_: trials.append(signer.nickname))
    with wiring.services(layout_of(site)) as services:
        proof, conclusions = StartProof(0), list[Conclusion]()
        services.self_tests(proof=proof).run_startup(rehearsal=True)
        assert "ocspSigningCert" not in trials
        monkeypatch.setattr(start_proof, "may_share", lambda: False)
        proof.begin(conclusions.extend)
        proof.go()
        eventually(lambda: proof.look() and conclusions, "the end of the proof")
        assert {one.test: one.ok for one in conclusions} == {SelfTestName.CERTIFICATES: True, SelfTestName.CANARY: True}
        assert (proof.proven, "ocspSigningCert" in trials) == ({"ocspSigningCert"}, False)
        assert all(result.ok for result in services.self_tests().run([SelfTestName.CERTIFICATES], services.caller))
        assert "ocspSigningCert" in trials


def _forgetful(answer, monkeypatch):
    """An index that forgets while an answer is made, and not while it is explained."""

    def forgetting(self, request_der, at):
        with monkeypatch.context() as patch:
            patch.setattr(RevocationIndexFile, "find", lambda *_: None)
            return answer(self, request_der, at)

    return forgetting


def _tests(services):
    from vouchd.instance.certificates.signers import KeyMaterial
    from vouchd.instance.selftests.tests import self_tests

    return self_tests(services.layout, KeyMaterial(services.settings), services.store, services.indexing)
