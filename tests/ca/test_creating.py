"""How a CA comes to be: whole or not at all, keys closed to others, below another CA."""

import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.pki import DAY, NOW, name, shared_key

from vouchd.ca import creating
from vouchd.ca.authority import CertificateManager
from vouchd.ca.creating import AuthorityPlan, create_authority
from vouchd.ca.facts import AuthoritySettings
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest
from vouchd.errors import AlreadyExists, ConfigError, IssuanceError, NotFound, SigningError


def test_create_keeps_secrets_closed_and_the_key_encrypted(manager):
    """Folder 0700, key, password and database 0600; the key opens only with the password."""
    folder = manager.folder
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700
    for path in (folder.key, folder.password, folder.database):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    pem = folder.key.read_bytes()
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in pem
    password = folder.password.read_text().strip().removeprefix("internal=")
    assert load_pem_private_key(pem, password.encode()).public_key() == manager.certificate.public_key()


def test_create_root_is_a_self_signed_ca(manager):
    """The root verifies with its own key and may sign certificates and CRLs, nothing else."""
    certificate = manager.certificate
    certificate.verify_directly_issued_by(certificate)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_create_in_folder_with_something_in_it_is_refused(manager, tmp_path):
    """A CA is never made over another one or over somebody's files."""
    before = manager.folder.certificate.read_bytes()
    with pytest.raises(AlreadyExists):
        create_authority(manager.folder.root, AuthorityPlan("CN=x"), NOW)
    assert manager.folder.certificate.read_bytes() == before
    (tmp_path / "empty").mkdir()
    create_authority(tmp_path / "empty", AuthorityPlan("CN=x"), NOW).close()


def test_create_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """A step that fails takes all that was made with it."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(creating, "build_root", fail)
    with pytest.raises(IssuanceError, match="No space"):
        create_authority(tmp_path / "ca", AuthorityPlan("CN=x"), NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "plan",
    [
        AuthorityPlan("not a name"),
        AuthorityPlan(""),
        AuthorityPlan("CN=x", "DSA-1024"),
        AuthorityPlan("CN=x", validity_seconds=0),
        AuthorityPlan("CN=x", settings=AuthoritySettings(crl_seconds=0)),
        AuthorityPlan("CN=x", settings=AuthoritySettings(delta_seconds=400 * DAY)),
        AuthorityPlan("CN=x", settings=AuthoritySettings(ocsp_url="ocsp.example.org")),
    ],
    ids=["subject", "empty", "key", "validity", "crl period", "delta period", "url"],
)
def test_create_with_a_wrong_plan_is_refused_and_leaves_nothing(tmp_path, plan):
    """What could not work is refused at once."""
    with pytest.raises(IssuanceError):
        create_authority(tmp_path / "ca", plan, NOW)
    assert list(tmp_path.iterdir()) == []


def test_create_below_another_ca_chains_to_it(manager, tmp_path):
    """A subordinate CA's certificate is issued, and revocable, by the CA above; its chain file leads to the root."""
    plan = AuthorityPlan("CN=Sub", path_length=0, parent=manager)
    with create_authority(tmp_path / "sub", plan, NOW) as sub:
        sub.certificate.verify_directly_issued_by(manager.certificate)
        leaf = sub.issue(CertificateRequest(name("x"), shared_key().public_key(), ProfileName.USER), NOW)
        x509.load_der_x509_certificate(leaf.der).verify_directly_issued_by(sub.certificate)
        assert x509.load_pem_x509_certificates(sub.chain_pem()) == [sub.certificate, manager.certificate]
        with pytest.raises(IssuanceError, match="path length"):
            create_authority(tmp_path / "subsub", AuthorityPlan("CN=SubSub", parent=sub), NOW)
    assert [record.profile for record in manager.store.certificates()] == ["ca"]
    with pytest.raises(IssuanceError, match="issuer's name"):
        create_authority(tmp_path / "same", AuthorityPlan("CN=Test CA,O=Example", parent=manager), NOW)


def test_open_folder_without_a_ca_says_how_to_make_one(tmp_path):
    """The first mistake of a newcomer gets the command that mends it."""
    with pytest.raises(NotFound) as caught:
        CertificateManager(tmp_path)
    assert "vouchd ca create" in caught.value.hint


def test_sign_with_password_file_open_to_others_is_refused(manager):
    """Key material that others may read is refused with the command that mends it."""
    manager.folder.password.chmod(0o644)
    with pytest.raises(SigningError) as caught:
        manager.make_crl(NOW)
    assert caught.value.hint == f"chmod 600 {manager.folder.password}"


def test_sign_with_password_file_without_password_is_refused(manager):
    """A damaged password file is named."""
    manager.folder.password.write_text("other=1\n")
    with pytest.raises(ConfigError, match="internal="):
        manager.make_crl(NOW)


def test_sign_with_another_key_is_refused(manager, tmp_path):
    """A key that does not belong to ca.crt signs nothing."""
    with create_authority(tmp_path / "other", AuthorityPlan("CN=Other"), NOW) as other:
        manager.folder.key.write_bytes(other.folder.key.read_bytes())
        manager.folder.password.write_bytes(other.folder.password.read_bytes())
    with pytest.raises(SigningError, match="not the key"):
        manager.make_crl(NOW)
    assert manager.store.crls() == ()


def test_create_where_nothing_can_be_made_is_refused(tmp_path):
    """A place that cannot hold a folder is named, not shown as a bug."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(IssuanceError, match=str(tmp_path)):
        create_authority(tmp_path / "file" / "ca", AuthorityPlan("CN=x"), NOW)
