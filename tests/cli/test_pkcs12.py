"""`vouchd backup`, `vouchd pkcs12` and `PKCS12Export`: keys leave an instance and come into another."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.images import image_of
from tests.sites import Site

from vouchd.cli.compat import pkcs12export
from vouchd.cli.main import main
from vouchd.instance.certificates.places import system_certificates
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.signing.pkcs12 import KeyBag, read_key_file, write_key_file

PASSWORD = "correct horse battery"
BACKED_UP = ["ocspSigningCert", "subsystem", "audit_signing"]


@pytest.fixture
def lab(site) -> Site:
    """A master and another instance, both with all certificates from one CA, and a password file."""
    image_of(make_lab).put(site.folder)
    return site


def make_lab(folder: Path) -> None:
    lab = str(folder / "lab")
    assert main(["ca", "create", "--ca", lab, "--subject", "CN=Lab CA"]) == 0
    for name in ("vouchd", "other"):
        options = ["--ca", lab, "--hostname", f"{name}.example", "--instance", str(folder / name)]
        assert main(["create", *options]) == 0
    path = folder / "pw"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)


def certificates(site: Site, name: str):
    """Certificate by name of an instance."""
    settings = read_settings(Layout(Path(site.file(name))))
    return {one.name: one.certificate for one in system_certificates(settings)}


def with_password(site: Site, *arguments: str) -> int:
    return main([*arguments, "--password-file", site.file("pw")])


def backed_up(site: Site) -> str:
    """The file of a backup of the master."""
    path = site.file("keys.p12")
    assert with_password(site, "backup", "--out", path) == 0
    return path


def test_backup_holds_all_keys_but_those_of_host_and_person(lab):
    """Signer, subsystem and audit signing key with chain; the TLS server's and the administrator's stay."""
    path = Path(backed_up(lab))
    backup = read_key_file(path, PASSWORD)
    mine = certificates(lab, "vouchd")
    assert {bag.friendly_name: bag.certificate for bag in backup.bags} == {name: mine[name] for name in BACKED_UP}
    assert path.stat().st_mode & 0o777 == 0o600


def test_backup_is_in_the_audit_log(lab):
    """Who took the keys out is on record; the password is not."""
    backed_up(lab)
    log = Layout(lab.instance).audit_log.read_text()
    assert "PRIVATE_KEY_EXPORT" in log
    assert PASSWORD not in log


def test_backup_with_a_missing_key_is_refused(lab, capsys):
    """A backup that lacks a key would be found out only on the clone: nothing is written."""
    next(Layout(lab.instance).alias.glob("subsystem.key")).unlink()
    assert with_password(lab, "backup", "--out", lab.file("keys.p12")) == 70
    assert "subsystem.key" in capsys.readouterr().err
    assert not Path(lab.file("keys.p12")).exists()


def test_backup_with_a_certificate_that_has_not_come_tells_so(instance, capsys):
    """What is not there yet is named; what is there is written."""
    (instance.folder / "pw").write_text(PASSWORD)
    (instance.folder / "pw").chmod(0o600)
    assert with_password(instance, "backup", "--out", instance.file("keys.p12"), "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["keys"] == "ocspSigningCert"
    assert "subsystem is not in the file" in shown.err


def test_backup_with_an_open_password_file_is_refused(lab, capsys):
    """The password of keys is as secret as the keys."""
    Path(lab.file("pw")).chmod(0o644)
    assert with_password(lab, "backup", "--out", lab.file("keys.p12")) == 70
    assert f"chmod 600 {lab.file('pw')}" in capsys.readouterr().err


def test_show_lists_keys_without_them(lab, capsys):
    """Names, subjects and chains are shown."""
    path = backed_up(lab)
    capsys.readouterr()
    assert with_password(lab, "pkcs12", "show", path, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if row["kind"] == "key"] == BACKED_UP


def test_export_takes_the_named_key(lab):
    """Also the TLS server's, when it is asked for by name."""
    assert with_password(lab, "pkcs12", "export", "sslserver", "--out", lab.file("one.p12")) == 0
    assert read_key_file(Path(lab.file("one.p12")), PASSWORD).bag("sslserver")


def test_export_of_an_unknown_name_is_refused(lab, capsys):
    """The names there are are told."""
    assert with_password(lab, "pkcs12", "export", "nobody", "--out", lab.file("one.p12")) == 66
    assert "ocspSigningCert" in capsys.readouterr().err


def test_import_brings_the_master_s_keys_into_use(lab, capsys):
    """The other instance has the master's certificates, its own TLS server's, and says good to itself."""
    path, own = backed_up(lab), certificates(lab, "other")["sslserver"]
    assert with_password(lab, "pkcs12", "import", path, "--instance", lab.file("other")) == 0
    master, clone = certificates(lab, "vouchd"), certificates(lab, "other")
    assert [clone[name] for name in BACKED_UP] == [master[name] for name in BACKED_UP]
    assert clone["sslserver"] == own
    assert main(["selftest", "run", "--instance", lab.file("other")]) == 0


def test_import_twice_changes_nothing(lab):
    """A repeated step writes no key a second time."""
    path, alias = backed_up(lab), Layout(Path(lab.file("other"))).alias
    assert with_password(lab, "pkcs12", "import", path, "--instance", lab.file("other")) == 0
    before = {one.name: one.read_bytes() for one in alias.iterdir()}
    assert with_password(lab, "pkcs12", "import", path, "--instance", lab.file("other")) == 0
    assert {one.name: one.read_bytes() for one in alias.iterdir()} == before


def test_import_with_the_certificate_system_s_nicknames_finds_the_places(lab):
    """A file of the Certificate System needs no renaming; its TLS server key is left out."""
    renamed = {"ocspSigningCert": "ocspSigningCert cert-pki-tomcat OCSP", "subsystem": "subsystemCert cert-pki-tomcat"}
    backup = read_key_file(Path(backed_up(lab)), PASSWORD)
    bags = [
        KeyBag(bag.key, bag.certificate, bag.others, renamed.get(bag.friendly_name, "Server-Cert x"))
        for bag in backup.bags
    ]
    write_key_file(Path(lab.file("pki.p12")), bags, PASSWORD)
    assert with_password(lab, "pkcs12", "import", lab.file("pki.p12"), "--instance", lab.file("other")) == 0
    master, clone = certificates(lab, "vouchd"), certificates(lab, "other")
    assert [clone[name] == master[name] for name in BACKED_UP] == [True, True, False]


@pytest.mark.interop
def test_import_of_a_file_of_openssl_without_names(lab):
    """`NAME=` takes the key that has no name in the file."""
    bag = read_key_file(Path(backed_up(lab)), PASSWORD).bag("ocspSigningCert")
    (lab.folder / "k").write_bytes(bag.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (lab.folder / "c").write_bytes(bag.certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "pkcs12", "-export", "-inkey", "k", "-in", "c", "-passout", "file:pw", "-out", "o.p12"]
    subprocess.run(command, cwd=lab.folder, check=True, capture_output=True)
    into = ["--instance", lab.file("other")]
    assert with_password(lab, "pkcs12", "import", lab.file("o.p12"), *into) == 70
    assert with_password(lab, "pkcs12", "import", lab.file("o.p12"), "ocspSigningCert=", *into) == 0
    assert certificates(lab, "other")["ocspSigningCert"] == bag.certificate


@pytest.mark.parametrize("mistake", ["password", "mode", "file", "name", "foreign"])
def test_import_that_fails_leaves_nothing_behind(lab, capsys, mistake):
    """Each mistake has its own words, and neither key nor setting is changed by it."""
    path, layout = backed_up(lab), Layout(Path(lab.file("other")))
    before = {one.name: one.read_bytes() for one in (*layout.alias.iterdir(), layout.cs_cfg)}
    capsys.readouterr()
    arguments = ["pkcs12", "import", path, "--instance", lab.file("other")]
    words = {
        "password": "wrong password",
        "mode": f"chmod 600 {path}",
        "file": "not a PKCS #12 file",
        "name": "holds no key 'sslserver'",
        "foreign": "lacks clientAuth",
    }[mistake]
    if mistake == "password":
        (lab.folder / "pw").write_text("another")
    elif mistake == "mode":
        Path(path).chmod(0o644)
    elif mistake == "file":
        Path(path).write_bytes(b"no such thing")
    elif mistake == "name":
        arguments.append("sslserver")
    else:
        write_key_file(Path(path), [KeyBag(lab.signer.key, lab.signer.certificate, (), "subsystem")], PASSWORD)
    assert with_password(lab, *arguments) != 0
    assert words in capsys.readouterr().err
    assert {one.name: one.read_bytes() for one in (*layout.alias.iterdir(), layout.cs_cfg)} == before


def test_create_from_a_file_with_several_keys_takes_the_signer(lab, tmp_path, capsys):
    """`vouchd create --pkcs12` finds its signer by name in a backup."""
    options = ["--pkcs12", backed_up(lab), "--instance", str(tmp_path / "third"), "--ca-cert", lab.file("lab/ca.crt")]
    assert with_password(lab, "create", *options) == 0
    assert certificates(lab, "third")["ocspSigningCert"] == certificates(lab, "vouchd")["ocspSigningCert"]


def test_pkcs12export_writes_every_key_of_the_folder(lab, monkeypatch, capsys):
    """The documented options: -d, -p, -w, -o and -debug; no password is shown."""
    layout = Layout(lab.instance)
    options = ["-d", str(layout.alias), "-p", str(layout.password_conf), "-w", lab.file("pw"), "-o", lab.file("x.p12")]
    monkeypatch.setattr("sys.argv", ["PKCS12Export", *options, "-debug"])
    with pytest.raises(SystemExit) as ended:
        pkcs12export.main()
    shown = capsys.readouterr()
    assert ended.value.code == 0
    assert "subsystem.key" in shown.err
    assert PASSWORD not in shown.err + shown.out
    names = {bag.friendly_name for bag in read_key_file(Path(lab.file("x.p12")), PASSWORD).bags}
    assert {*BACKED_UP, "sslserver"} <= names


def test_pkcs12export_with_a_wrong_database_password_is_told(lab, monkeypatch, capsys):
    """Words and an exit code, no file."""
    options = [
        "-d",
        str(Layout(lab.instance).alias),
        "-p",
        lab.file("pw"),
        "-w",
        lab.file("pw"),
        "-o",
        lab.file("x.p12"),
    ]
    monkeypatch.setattr("sys.argv", ["PKCS12Export", *options])
    with pytest.raises(SystemExit) as ended:
        pkcs12export.main()
    assert ended.value.code == 70
    assert "wrong password" in capsys.readouterr().err
    assert not Path(lab.file("x.p12")).exists()
