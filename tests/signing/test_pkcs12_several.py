"""PKCS #12 files with several keys: ours and those of OpenSSL and NSS, and what is wrong with the others."""

from __future__ import annotations

import subprocess

import pytest
from asn1crypto import algos, pkcs12
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.pki import CA, shared_key

from vouchd.errors import SigningError
from vouchd.pkix.pkcs12 import writing
from vouchd.pkix.pkcs12.pbe import MAX_ALL_ITERATIONS, MAX_ITERATIONS, Secret
from vouchd.pkix.pkcs12.reading import NotPKCS12, WrongPassword
from vouchd.signing import pkcs12 as ours
from vouchd.signing.pkcs12 import KeyBag, read_key_file, write_key_file

PASSWORD = "smörrebröd 42"
SIGNER, SUBSYSTEM = "ocspSigningCert cert-pki-ocsp", "subsystemCert"


def make_bags() -> list[KeyBag]:
    """Two keys of two kinds below an intermediate CA."""
    root = CA.create("Root")
    issued = root.issue("Intermediate", key=shared_key("RSA", 1))
    between = CA(issued.certificate, issued.key)
    chain = (between.certificate, root.certificate)
    first, second = between.issue("signer", key=shared_key("RSA", 2)), between.issue("subsystem")
    return [KeyBag(one.key, one.certificate, chain, name) for one, name in ((first, SIGNER), (second, SUBSYSTEM))]


def parts(bags):
    """What can be compared of keys."""
    spki = PublicFormat.SubjectPublicKeyInfo
    return {(bag.friendly_name, bag.key.public_key().public_bytes(Encoding.DER, spki), bag.certificate) for bag in bags}


@pytest.fixture
def folder(tmp_path):
    """A folder with the password in a file."""
    (tmp_path / "pw").write_text(PASSWORD)
    return tmp_path


@pytest.fixture
def bags():
    return make_bags()


def run(folder, *command):
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def export_with_openssl(folder, bag, *more):
    """DER of `openssl pkcs12 -export` with one key and its chain."""
    (folder / "k").write_bytes(bag.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "c").write_bytes(bag.certificate.public_bytes(Encoding.PEM))
    (folder / "others").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in bag.others))
    arguments = ["-inkey", "k", "-in", "c", "-certfile", "others", "-name", bag.friendly_name, "-passout", "file:pw"]
    run(folder, "openssl", "pkcs12", "-export", *arguments, "-out", "one.p12", *more)
    return (folder / "one.p12").read_bytes()


def keep_contents(last):
    """`_certificate_bags` that notes what it was given."""
    make = writing._certificate_bags

    def noting(contents):
        last.extend(contents)
        return make(contents)

    return noting


def put(path, data):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def nss_database(folder):
    (folder / "nss").mkdir()
    run(folder, "certutil", "-N", "-d", "sql:nss", "--empty-password")


def test_several_keys_come_back_with_names_and_chains(folder, bags):
    """What is written is read: keys, certificates, names, chains in order; the file is the owner's alone."""
    path = folder / "keys.p12"
    write_key_file(path, bags, PASSWORD)
    content = read_key_file(path, PASSWORD)
    assert parts(content.bags) == parts(bags)
    assert [bag.others for bag in content.bags] == [bag.others for bag in bags]
    assert content.certificates == ()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.interop
def test_several_keys_are_read_by_openssl(folder, bags):
    """OpenSSL finds both keys and each certificate once, without its legacy provider."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    shown = run(folder, "openssl", "pkcs12", "-in", "keys.p12", "-passin", "file:pw", "-nodes")
    assert (shown.count("BEGIN PRIVATE KEY"), shown.count("BEGIN CERTIFICATE")) == (2, 4)
    assert shown.count(f"friendlyName: {SIGNER}") == 2


@pytest.mark.interop
def test_several_keys_are_imported_by_nss(folder, bags):
    """NSS takes both keys under their names."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    nss_database(folder)
    run(folder, "pk12util", "-d", "sql:nss", "-i", "keys.p12", "-w", "pw")
    keys = run(folder, "certutil", "-K", "-d", "sql:nss")
    assert SIGNER in keys
    assert SUBSYSTEM in keys


@pytest.mark.interop
@pytest.mark.parametrize("legacy", [(), ("-legacy",)], ids=["modern", "legacy"])
def test_files_of_openssl_one_after_the_other_are_one(folder, bags, legacy):
    """OpenSSL puts one key into a file; the files joined by `cat` are read whole."""
    path = put(folder / "all.p12", b"".join(export_with_openssl(folder, bag, *legacy) for bag in bags))
    content = read_key_file(path, PASSWORD)
    assert parts(content.bags) == parts(bags)
    assert [bag.others for bag in content.bags] == [bag.others for bag in bags]


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "SHA1"),
        ("-keypbe", "AES-128-CBC", "-certpbe", "NONE", "-macalg", "SHA512"),
        ("-keypbe", "DES-EDE3-CBC", "-certpbe", "AES-192-CBC"),
    ],
)
def test_file_of_openssl_in_any_cipher_is_read(folder, bags, options):
    """Ciphers and MACs that OpenSSL can be told to use."""
    path = put(folder / "one.p12", export_with_openssl(folder, bags[0], *options))
    assert parts(read_key_file(path, PASSWORD).bags) == parts(bags[:1])


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        (),
        (
            *("-c", "PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC"),
            *("-C", "PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC", "-M", "SHA-1"),
        ),
    ],
    ids=["modern", "legacy"],
)
def test_file_of_nss_with_several_keys_is_read(folder, bags, options):
    """`pk12util -o` writes indefinite lengths and 600,000 iterations, of old with RC2 for the certificates."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    nss_database(folder)
    run(folder, "pk12util", "-d", "sql:nss", "-i", "keys.p12", "-w", "pw")
    content = set()
    for bag in bags:
        run(folder, "pk12util", "-d", "sql:nss", "-o", "nss.p12", "-n", bag.friendly_name, "-w", "pw", *options)
        (folder / "nss.p12").chmod(0o600)
        content |= parts(read_key_file(folder / "nss.p12", PASSWORD).bags)
    assert content == parts(bags)


def test_wrong_password_is_told_apart_from_another_file(folder, bags):
    """The MAC fails: WrongPassword. Something else, PEM or random bytes: NotPKCS12."""
    path = folder / "keys.p12"
    write_key_file(path, bags, PASSWORD)
    with pytest.raises(WrongPassword, match="wrong password") as caught:
        read_key_file(path, "guess-0815")
    assert "guess-0815" not in str(caught.value)
    for data in (
        b"",
        b"-----BEGIN CERTIFICATE-----",
        b"\x30\x03\x02\x01\x03",
        bags[0].certificate.public_bytes(Encoding.DER),
    ):
        with pytest.raises(NotPKCS12, match="not a PKCS #12 file"):
            read_key_file(put(folder / "other", data), PASSWORD)


def test_changed_byte_fails_the_mac(folder, bags):
    """A byte changed within the contents is noticed before anything is opened."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    data = bytearray((folder / "keys.p12").read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(SigningError, match="damaged"):
        read_key_file(put(folder / "bad.p12", bytes(data)), PASSWORD)


def test_truncated_file_is_no_pkcs12(folder, bags):
    """Half a file is told as such."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    data = (folder / "keys.p12").read_bytes()
    with pytest.raises(NotPKCS12):
        read_key_file(put(folder / "bad.p12", data[: len(data) // 2]), PASSWORD)


def test_key_of_another_certificate_is_told(folder, bags):
    """Key and certificate of one name that do not belong together are told, on writing and on reading."""
    first, second = bags
    crossed = KeyBag(second.key, first.certificate, (), SIGNER)
    with pytest.raises(SigningError, match="does not belong to its certificate"):
        write_key_file(folder / "x.p12", [crossed], PASSWORD)
    assert not (folder / "x.p12").exists()
    put(folder / "x.p12", ours._pfx([crossed], PASSWORD))
    with pytest.raises(
        SigningError, match=r"'ocspSigningCert cert-pki-ocsp' does not belong to the certificate 'CN=signer'"
    ):
        read_key_file(folder / "x.p12", PASSWORD)


def test_key_that_is_not_the_master_s_is_told(folder, bags):
    """A restored key is compared with the certificate that the master shows."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    content = read_key_file(folder / "keys.p12", PASSWORD)
    assert content.bag_for(SIGNER, bags[0].certificate).certificate == bags[0].certificate
    with pytest.raises(SigningError, match="does not belong to the master's certificate 'CN=subsystem'"):
        content.bag_for(SIGNER, bags[1].certificate)


def test_missing_key_is_told_apart_from_an_unknown_name(folder, bags, monkeypatch):
    """A certificate without its key is another mistake than a name that is not there."""
    make, last = writing._key_bag, []
    monkeypatch.setattr(writing, "_certificate_bags", keep_contents(last))
    monkeypatch.setattr(writing, "_key_bag", lambda _one, secret, random: make(last[1], secret, random))
    put(folder / "x.p12", ours._pfx(bags, PASSWORD))
    content = read_key_file(folder / "x.p12", PASSWORD)
    with pytest.raises(SigningError, match="the key of 'ocspSigningCert cert-pki-ocsp' is missing"):
        content.bag(SIGNER)
    with pytest.raises(SigningError, match="holds no key 'sslserver'"):
        content.bag("sslserver")


def test_missing_certificate_is_told(folder, bags, monkeypatch):
    """A key alone is of no use."""
    monkeypatch.setattr(writing, "_certificate_bags", lambda _bags: [])
    put(folder / "x.p12", ours._pfx(bags, PASSWORD))
    with pytest.raises(SigningError, match="the certificate of the key 'ocspSigningCert cert-pki-ocsp' is missing"):
        read_key_file(folder / "x.p12", PASSWORD)


def test_one_of_several_is_chosen_by_name(folder, bags):
    """Where one key is wanted, the name chooses; without it the names are told."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    assert read_key_file(folder / "keys.p12", PASSWORD).only(SUBSYSTEM).certificate == bags[1].certificate
    with pytest.raises(SigningError, match="holds 2 keys") as caught:
        read_key_file(folder / "keys.p12", PASSWORD).only()
    assert SIGNER in caught.value.hint


@pytest.mark.parametrize("iterations", [0, MAX_ITERATIONS + 1, 1 << 62])
def test_iteration_count_out_of_bounds_is_refused_unspent(folder, bags, iterations):
    """The count of a hostile file is looked at before any work is done for it."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    pfx = pkcs12.Pfx.load((folder / "keys.p12").read_bytes())
    pfx["mac_data"]["iterations"] = iterations
    with pytest.raises(SigningError, match="iteration count"):
        read_key_file(put(folder / "x.p12", pfx.dump()), PASSWORD)


def test_iterations_of_all_keys_together_are_bounded():
    """Many keys with a bearable count each are refused before the sum is spent."""
    secret = Secret(PASSWORD)
    for _ in range(MAX_ALL_ITERATIONS // MAX_ITERATIONS):
        secret.spend(MAX_ITERATIONS)
    with pytest.raises(SigningError, match="together"):
        secret.spend(1)


def test_large_file_and_many_bags_are_refused(folder, bags, monkeypatch):
    """Size and number of what is in a file are bounded."""
    with pytest.raises(SigningError, match="larger than"):
        read_key_file(put(folder / "big", b"\x30" * ((1 << 20) + 1)), PASSWORD)
    monkeypatch.setattr("vouchd.pkix.pkcs12.reading.MAX_BAGS", 3)
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    with pytest.raises(SigningError, match="more than 3 keys and certificates"):
        read_key_file(folder / "keys.p12", PASSWORD)


def test_file_without_mac_is_refused(folder, bags):
    """Nothing is taken from a file that anyone may have changed."""
    write_key_file(folder / "keys.p12", bags, PASSWORD)
    pfx = pkcs12.Pfx.load((folder / "keys.p12").read_bytes())
    bare = pkcs12.Pfx({"version": "v3", "auth_safe": pfx["auth_safe"]})
    with pytest.raises(SigningError, match="without a MAC"):
        read_key_file(put(folder / "x.p12", bare.dump()), PASSWORD)


def test_unknown_encryption_is_named(folder, bags, monkeypatch):
    """An encryption that is not read is told by its name, not as a wrong password."""
    odd = algos.EncryptionAlgorithm(
        {"algorithm": "pkcs12_sha1_rc4_128", "parameters": {"salt": b"12345678", "iterations": 1}}
    )
    monkeypatch.setattr(writing, "encrypt", lambda _secret, data, _random: (odd, data))
    put(folder / "x.p12", ours._pfx(bags, PASSWORD))
    with pytest.raises(SigningError, match="pkcs12_sha1_rc4_128 is not supported"):
        read_key_file(folder / "x.p12", PASSWORD)


def test_keys_are_not_written_without_a_password(folder, bags):
    """An empty password protects nothing."""
    with pytest.raises(SigningError, match="without a password"):
        write_key_file(folder / "x.p12", bags, "")
