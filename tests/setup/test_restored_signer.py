"""A new subsystem whose signing key and certificate are there already: in a PKCS #12 file, as files, on a token."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.pki import CA, DAY, new_key
from tests.setup.test_checks import Site as Unconfigured
from tests.setup.test_checks import answers_of
from tests.setup.test_wizard import here, through
from tests.setup.wizards import open_wizard
from tests.sites import Site
from tests.softhsm import MODULE, PIN, SoftHSM

from vouchd.errors import BadInput, LifecycleError
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.setup.answers_file import read_answers_file, read_ini
from vouchd.setup.carrying_out import waiting_requests
from vouchd.setup.fields import fields_of, section_of
from vouchd.setup.panels import ASKING
from vouchd.signing.pkcs12 import KeyBag, key_file
from vouchd.wiring.setup import set_up

PASSWORD = "correct horse"


@dataclass
class Signer:
    """The signer of a site, in the forms in which its key may come."""

    folder: Path
    site: Site

    @property
    def key(self):
        return self.site.signer.key

    def pkcs12(self, *more: str) -> dict[str, str]:
        """In a PKCS #12 file, beside other keys of these names."""
        issued = {"ocspSigningCert": self.site.signer} | {name: self.site.ca.issue_signer(name) for name in more}
        bags = [KeyBag(one.key, one.certificate, (self.site.ca.certificate,), name) for name, one in issued.items()]
        return {"kind": "file", "path": self._keep("keys.p12", key_file(bags, PASSWORD)), "password": PASSWORD}

    def files(self) -> dict[str, str]:
        """The key under a password, beside the certificate with its CA."""
        secret = BestAvailableEncryption(PASSWORD.encode())
        key = self._keep("old.key", self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
        certificate = self._keep("old.pem", self.site.signer.pem + self.site.ca.pem)
        return {"kind": "pem", "key": key, "certificate": certificate, "password": PASSWORD}

    def _keep(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path, Site.make(tmp_path))


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    return Unconfigured(tmp_path / "site")


@pytest.fixture
def token(signer, monkeypatch):
    """The answers at Key Store for a token that has the signer's key."""
    hsm = SoftHSM(signer.folder / "softhsm")
    for name, value in hsm.environment.items():
        monkeypatch.setenv(name, value)
    hsm.add("ocsp")
    hsm.keep("ocsp", signer.key)
    return {"kind": "token", "module": str(MODULE), "token": "ocsp", "pin": PIN}


def require_restored(layout: Layout, signer: Signer) -> None:
    """The instance signs with that key; only the keys that were made here wait for a CA."""
    settings = read_settings(layout)
    (own,) = settings.signers
    assert own.algorithm == "SHA256withEC"
    assert x509.load_pem_x509_certificate(own.certificate_file.read_bytes()) == signer.site.signer.certificate
    waiting = {one.name for one in waiting_requests(layout)}
    assert waiting
    assert own.nickname not in waiting
    assert not (layout.alias / f"{own.nickname}.csr").exists()


# Its panels.


def test_panels_of_a_restored_signer_leave_out_what_would_make_one(tmp_path, signer):
    """Key Pairs is skipped, Subject Names asks no subject, and Review says why; changed back, both ask again."""
    with open_wizard(tmp_path / "vouchd") as opened:
        visitor = opened.visitor
        visitor.enter()
        through(visitor, "restore-keys")
        restored = signer.pkcs12()
        assert visitor.fill("restore-keys", **restored).panel == "Internal Database"
        page = visitor.fill("internal-database", kind="embedded")
        assert page.panel == "Subject Names"
        assert "Key Pairs skipped" in page.words
        assert 'id="subject"' not in page.text
        assert 'id="nickname"' in page.text
        page = visitor.fill("subject-names", nickname="ocspSigningCert", server_names="")
        assert page.panel == "Requests and Certificates"
        visitor.fill("requests-and-certificates", kind="csr")
        visitor.fill("export-keys", kind="none")
        review = visitor.fill("administrator", password="")
        assert review.panel == "Review"
        assert "The signing key is there already" in review.words
        assert restored["path"] in review.words
        assert PASSWORD not in review.text
        assert visitor.fill("restore-keys", kind="none").panel == "Internal Database"
        assert visitor.show("/setup/").panel == "Key Pairs"


def test_pkcs12_of_a_new_subsystem_can_be_sent_from_the_browser(tmp_path, signer):
    """As a clone's; it is kept private until the set-up ends, and carried out from there."""
    with open_wizard(tmp_path / "vouchd") as opened:
        visitor = opened.visitor
        visitor.enter()
        token = through(visitor, "restore-keys").token
        restored = signer.pkcs12()
        content = Path(restored["path"]).read_bytes()
        texts = {"token": token, "answer-kind": "file", "answer-path": "", "answer-password": PASSWORD}
        body = b"".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in texts.items()
        )
        body += b'--b\r\nContent-Disposition: form-data; name="uploaded"; filename="my.p12"\r\n\r\n' + content
        sent = visitor.ask("POST", "/setup/restore-keys", body + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")
        assert (sent.status, sent.headers.get("Location")) == (303, "/setup/internal-database"), sent.error
        kept = opened.layout.setup / "keys.p12"
        assert kept.read_bytes() == content
        assert kept.stat().st_mode & 0o777 == 0o600
        through(visitor, "review")
        visitor.fill("review")
        page = visitor.until_ended()
        assert "certificates have not come yet" in page.error
        assert "ocspSigningCert" not in page.error
        require_restored(opened.layout, signer)


def test_clone_is_asked_for_its_file_alone(signer):
    """Whether it restores keys is no question there, and no field depends on that."""
    answers = answers_of(subsystem={"kind": "clone"}, restore_keys=signer.files())
    assert not answers.restores_signer
    panel = next(one for one in ASKING if one.section == "restore_keys")
    assert [one.name for one in panel.questions(answers)] == ["path", "password"]
    assert not any(one.when for one in panel.questions(answers))
    assert {one.name for one in panel.questions(answers_of())} == {one.name for one in fields_of("restore_keys")}
    on_token = answers_of(key_store={"kind": "token"})
    assert "key" not in {one.name for one in panel.questions(on_token)}


# What its panels refuse.


def test_signer_that_cannot_be_restored_is_refused_at_its_panel(site, signer):
    """Another password, no path, a key of another certificate, a file others may read, an expired certificate."""
    good = signer.pkcs12()
    assert "password" in site.refusal("restore_keys", answers_of(restore_keys={**good, "password": "wrong"}))
    relative = answers_of(restore_keys={**good, "path": "keys.p12"})
    assert "not an absolute path" in site.refusal("restore_keys", relative)
    files = signer.files()
    assert "not an absolute path" in site.refusal("restore_keys", answers_of(restore_keys={**files, "key": ""}))
    other = Path(files["key"]).with_name("other.pem")
    other.write_bytes(signer.site.ca.issue_signer(key=new_key()).pem)
    mixed = answers_of(restore_keys={**files, "certificate": str(other)})
    assert "the key does not belong to the certificate" in site.refusal("restore_keys", mixed)
    Path(files["key"]).chmod(0o644)
    assert "chmod 600" in site.refusal("restore_keys", answers_of(restore_keys=files))


def test_signer_whose_certificate_is_over_is_refused_at_its_panel(site, signer):
    """Its CA came along in the file, so that it is known for whom it was to answer."""
    now = int(time.time())
    over = signer.site.ca.issue_signer(not_before=now - 3 * DAY, not_after=now - DAY)
    path = signer.folder / "over.p12"
    path.write_bytes(key_file([KeyBag(over.key, over.certificate, (signer.site.ca.certificate,), "x")], PASSWORD))
    path.chmod(0o600)
    answers = answers_of(restore_keys={"kind": "file", "path": str(path), "password": PASSWORD})
    assert "is not valid now" in site.refusal("restore_keys", answers)


def test_one_of_several_keys_is_told_by_the_nickname(site, signer):
    """The file is taken at Restore Keys; at Subject Names one of its keys has to have the nickname."""
    answers = answers_of(restore_keys=signer.pkcs12("another"))
    site.accepts("restore_keys", answers)
    site.accepts("subject_names", answers)
    unknown = section_of(answers, "subject_names", {"nickname": "nobody"})
    site.accepts("restore_keys", unknown)
    assert "another" in site.refusal("subject_names", unknown)


def test_ca_that_has_not_certified_the_restored_signer_is_refused_at_requests(site, signer):
    """Clients would refuse its answers; its own CA is taken."""
    stranger = signer.folder / "stranger.pem"
    stranger.write_bytes(CA.create("A stranger").pem)
    answers = answers_of(restore_keys=signer.pkcs12(), requests={"authorities": str(stranger)})
    assert site.refusal("requests", answers)
    site.accepts("requests", section_of(answers, "requests", {"authorities": signer.site.file("ca.pem")}))


def test_key_of_a_pkcs12_file_is_not_put_on_a_token(site, signer, token):
    """The key on the token is found by its certificate; one that is not there is refused at once."""
    assert "not put on a token" in site.refusal(
        "restore_keys", answers_of(key_store=token, restore_keys=signer.pkcs12())
    )
    by_certificate = {"kind": "pem", "certificate": signer.site.file("signer.pem")}
    site.accepts("restore_keys", answers_of(key_store=token, restore_keys=by_certificate))
    stranger = signer.folder / "stranger.pem"
    stranger.write_bytes(signer.site.ca.issue_signer(key=new_key()).pem)
    missing = {"kind": "pem", "certificate": str(stranger)}
    assert "no key" in site.refusal("restore_keys", answers_of(key_store=token, restore_keys=missing))


# Its answers in a file.


@pytest.mark.parametrize("form", ["pkcs12", "files"])
def test_answers_file_with_a_restored_signer_makes_the_instance_with_it(tmp_path, signer, form):
    """The algorithm is the key's, whatever Key Pairs has; its CA came along, and is answered for."""
    layout = Layout(tmp_path / "vouchd")
    sections = {
        "subsystem": here(),
        "restore_keys": getattr(signer, form)(),
        "key_pairs": {"algorithm": "SHA256withRSA"},
    }
    path = tmp_path / "answers.json"
    path.touch(0o600)
    path.write_text(json.dumps(sections))
    with pytest.raises(LifecycleError, match="certificates have not come yet"):
        set_up(layout, read_answers_file(path), lambda _: None, lambda _: None)
    require_restored(layout, signer)


def test_answers_file_names_a_signer_on_a_token_by_its_certificate(tmp_path, signer, token):
    """No key file is made for it."""
    layout = Layout(tmp_path / "vouchd")
    answers = answers_of(
        key_store=token,
        subsystem=here(),
        restore_keys={"kind": "pem", "certificate": signer.site.file("signer.pem")},
        requests={"authorities": signer.site.file("ca.pem")},
    )
    with pytest.raises(LifecycleError, match="certificates have not come yet"):
        set_up(layout, answers, lambda _: None, lambda _: None)
    require_restored(layout, signer)
    assert b"PRIVATE KEY" not in (layout.alias / "ocspSigningCert.key").read_bytes()


def test_ini_has_the_documented_names_of_an_existing_pkcs12_file():
    """`pki_existing` with `pki_pkcs12_path`, or the names of a clone's; never both, of which one would be lost."""
    text = "[OCSP]\npki_existing=True\npki_pkcs12_path=/srv/k.p12\npki_pkcs12_password=x\n"
    answers = read_ini(text)
    assert answers.restores_signer
    assert (answers.restore_keys.path, answers.restore_keys.password) == ("/srv/k.p12", "x")
    assert read_ini(text.replace("pki_pkcs12", "pki_clone_pkcs12")) == answers
    with pytest.raises(BadInput, match=r"restore_keys\.path is there already"):
        read_ini(f"{text}pki_clone_pkcs12_path=/srv/other.p12\n")
