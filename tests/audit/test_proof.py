"""The proof of an audit log: any edit is found and told by its line, whoever made it."""

from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.auditing import CALLER, COMMITS, Bench
from tests.pki import CA, DAY, Issued
from tests.serving import signer

from vouchd.audit.log import Rotation
from vouchd.audit.log_files import log_files
from vouchd.audit.proof import prove
from vouchd.audit.signing import AuditSigning
from vouchd.audit.trust import Trust
from vouchd.errors import NotFound


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "audit.jsonl")


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A log of four records and a signature, and its octets."""
    bench = Bench(tmp_path_factory.mktemp("signed") / "audit.jsonl")
    bench.record("A", "B", "C", "D")
    bench.signing.sign()
    return bench, bench.path.read_bytes()


def forged(lines: list[bytes]) -> bytes:
    """The lines chained anew, as someone without the key can."""
    previous, made = "0" * 64, b""
    for line in lines:
        fields = json.loads(line)
        fields.pop("hash")
        fields["previous"] = previous
        head = json.dumps(fields, separators=(",", ":")).encode()[:-1]
        previous = hashlib.sha256(head).hexdigest()
        made += head + b',"hash":"' + previous.encode() + b'"}\n'
    return made


def test_prove_whole_log_tells_what_it_holds(bench):
    """A log that nobody touched is proved, with the number of its records and who signed them."""
    bench.record("A", "B")
    bench.signing.sign()
    proof = bench.prove()
    assert (proof.broken, proof.records, proof.first, proof.head.seq) == (None, 3, 1, 3)
    assert (proof.signatures, proof.signed_through, proof.unsigned) == (1, 2, 0)
    assert proof.signers == ("CN=Auditor's key",)


def test_prove_records_after_the_signature_count_as_unsigned(bench):
    """What no signature covers yet is told, for the chain alone is no proof of it."""
    bench.record("A")
    bench.signing.sign()
    bench.record("B", "C")
    assert bench.prove().unsigned == 2


def test_prove_log_never_signed_is_all_unsigned(bench):
    """A log without a signature proves nothing, however whole its chain is."""
    bench.record("A", "B")
    assert (bench.prove().signatures, bench.prove().unsigned) == (0, 2)


def test_prove_every_octet_edited_is_detected(signed, tmp_path):
    """An edit of any octet of the log is found, and in the line where it was made or the one after."""
    bench, content = signed
    path = tmp_path / "audit.jsonl"
    trust = Trust([bench.issued.certificate])
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        broken = prove(path, trust).broken
        assert broken is not None, position
        assert broken.line == content.count(b"\n", 0, position) + 1


@given(data=st.data())
def test_prove_any_replacement_is_detected(signed, tmp_path, data):
    """Octets replaced, put in or taken out anywhere are found, unless they only cut off the end of the log at a line."""
    bench, content = signed
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    changed = content[:start] + data.draw(st.binary(max_size=20)) + content[end:]
    path = tmp_path / "audit.jsonl"
    path.write_bytes(changed)
    proof = prove(path, Trust([bench.issued.certificate]))
    cut_off = content.startswith(changed) and (not changed or changed.endswith(b"\n"))
    assert (proof.broken is None) == (changed == content or cut_off)


@pytest.mark.parametrize("place", range(5))
def test_prove_line_taken_out_is_detected(signed, tmp_path, place):
    """A record cannot vanish from the log, but for the last ones."""
    bench, content = signed
    lines = content.splitlines(keepends=True)
    del lines[place]
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(lines))
    proof = prove(path, Trust([bench.issued.certificate]))
    assert proof.broken is not None or proof.first == 2 or proof.head.seq == 4


def test_prove_lines_exchanged_is_detected(signed, tmp_path):
    """Records stand in the order in which they were made."""
    bench, content = signed
    one, two, *rest = content.splitlines(keepends=True)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join([two, one, *rest]))
    broken = prove(path, Trust([bench.issued.certificate])).broken
    assert (broken.line, broken.why) == (2, "it is number 1, and 3 was to come")


def test_prove_chain_made_anew_without_the_key_is_detected(signed, tmp_path):
    """Who edits a record and makes all hashes anew is found by the signature."""
    bench, content = signed
    path = tmp_path / "audit.jsonl"
    path.write_bytes(forged(content.replace(b'"outcome":"success"', b'"outcome":"failure"', 1).splitlines()))
    broken = prove(path, Trust([bench.issued.certificate])).broken
    assert (broken.line, broken.why) == (5, "the signature is wrong")


def test_prove_signature_of_a_stranger_is_detected(bench):
    """Who makes the chain anew and signs it with a key of their own is found, too."""
    stranger = CA.create("Stranger").issue("Auditor's key", extensions=((COMMITS, True),))
    bench.record("A")
    AuditSigning(bench.log, signer(stranger), bench.clock).sign()
    assert "whom nothing says to trust" in bench.prove().broken.why


@pytest.mark.parametrize("extensions, whole", [(((COMMITS, True),), True), ((), False)])
def test_prove_trusts_a_ca_for_signers_of_logs_only(bench, extensions, whole):
    """A CA that is trusted vouches for its certificates with contentCommitment, not for its servers'."""
    other = bench.ca.issue("Another", extensions=extensions)
    bench.record("A")
    AuditSigning(bench.log, signer(other), bench.clock).sign()
    assert (bench.prove(bench.ca).broken is None) == whole


def test_prove_without_certificates_believes_the_logs_own(bench):
    """Without anybody to trust the signatures still show damage."""
    bench.record("A")
    bench.signing.sign()
    assert prove(bench.path, Trust([])).broken is None


@pytest.mark.parametrize("names", [("signature",), ("certificate", "signer"), ("algorithm",)], ids=" and ".join)
def test_prove_signature_without_a_part_is_broken(bench, names):
    """A signing record that lacks a part is told as broken, never passed over."""
    bench.record("A")
    bench.signing.sign()
    first, second = bench.path.read_bytes().splitlines()
    fields = json.loads(second)
    for name in names:
        del fields["detail"][name]
    bench.path.write_bytes(forged([first, json.dumps(fields).encode()]))
    assert bench.prove().broken.line == 2


def test_prove_rotated_files_are_one_chain(tmp_path):
    """The chain runs on from file to file; one that is taken away or put elsewhere is missed."""
    bench = Bench(tmp_path / "audit.jsonl", Rotation(max_bytes=600))
    bench.record(*"ABCDEFGH")
    files = sorted(tmp_path.glob("audit-*.jsonl"))
    assert len(files) >= 3
    proof = bench.prove()
    assert (proof.broken, proof.records, proof.files) == (None, 8, len(files) + 1)
    files[1].unlink()
    assert bench.prove().broken.file == files[2]


def test_prove_oldest_files_put_away_begins_later(tmp_path):
    """Old files may be archived elsewhere; the proof says where it begins."""
    bench = Bench(tmp_path / "audit.jsonl", Rotation(max_bytes=600))
    bench.record(*"ABCDEFGH")
    min(tmp_path.glob("audit-*.jsonl")).unlink()
    proof = bench.prove()
    assert proof.broken is None
    assert proof.first > 1


def test_record_rotates_by_age(tmp_path):
    """A file is put aside when its first record is old enough, and the chain runs on."""
    bench = Bench(tmp_path / "audit.jsonl", Rotation(max_age_seconds=DAY))
    bench.record("A")
    bench.clock.at += DAY - 1
    bench.record("B")
    assert not list(tmp_path.glob("audit-*"))
    bench.clock.at += 1
    bench.record("C")
    assert [one.name for one in tmp_path.glob("audit-*")] == ["audit-000000000001.jsonl"]
    assert bench.prove().records == 3


def test_sign_twice_signs_once(bench):
    """Without a new record there is nothing to sign: signatures alone do not fill the log."""
    bench.record("A")
    assert bench.signing.sign()
    assert not bench.signing.sign()


def test_sign_empty_log_signs_nothing(bench):
    """There is nothing to prove of a log without a record."""
    assert not bench.signing.sign()


def test_prove_no_log_not_found(tmp_path):
    """A log that is not there is no proof of anything."""
    with pytest.raises(NotFound):
        prove(tmp_path / "audit.jsonl", Trust([]))


def test_certificate_stands_once_in_each_file_and_each_file_is_proved_alone(tmp_path):
    """Signatures name the certificate that the first of their file has, so that older files may be moved away."""
    bench = Bench(tmp_path / "audit.jsonl", Rotation(max_bytes=4000))
    for _ in range(12):
        bench.record("A")
        bench.signing.sign()
    files = log_files(bench.path)
    assert len(files) > 2
    for file in files:
        assert file.read_bytes().count(b'"certificate":') == 1
    for file in files[:-1]:
        file.unlink()
    proof = bench.prove(bench.ca)
    assert proof.broken is None
    assert proof.signatures > 1


def test_signature_whose_certificate_is_in_no_record_is_broken(bench):
    """A name alone proves nothing to whoever does not have the certificate."""
    bench.record("A")
    bench.signing.sign()
    first, second = bench.path.read_bytes().splitlines()
    fields = json.loads(second)
    del fields["detail"]["certificate"]
    bench.path.write_bytes(forged([first, json.dumps(fields).encode()]))
    assert "stands in no record before it" in bench.prove(bench.ca).broken.why


def naming(issued: Issued) -> dict[str, str]:
    """What a record says of the next certificate of the log's signer."""
    return {"certificate": "audit_signing", "sha256": issued.certificate.fingerprint(hashes.SHA256()).hex()}


def test_prove_signer_that_the_one_before_has_signed_is_trusted(bench):
    """Who trusts the first certificate alone follows the log from one to the next, and the one after that."""
    first, second, third = bench.issued, *(CA.create(f"CA {number}").issue("Next") for number in (2, 3))
    bench.record("A")
    for issued in (second, third):
        bench.log.record("CONFIG_TRUSTED_PUBLIC_KEY", CALLER, "success", **naming(issued))
        bench.signing.succeed(signer(issued))
        bench.record("B")
    bench.signing.sign()
    proof = bench.prove(first)
    assert (proof.broken, proof.unsigned) == (None, 0)
    assert "whom nothing says to trust" in bench.prove(third).broken.why


def test_prove_record_that_nobody_has_signed_vouches_for_nobody(bench):
    """A record that names a stranger counts when a trusted signer has signed it, not before."""
    stranger = CA.create("Stranger").issue("Auditor's key", extensions=((COMMITS, True),))
    bench.record("A")
    bench.signing.sign()
    bench.log.record("CONFIG_TRUSTED_PUBLIC_KEY", CALLER, "success", **naming(stranger))
    AuditSigning(bench.log, signer(stranger), bench.clock).sign()
    assert "whom nothing says to trust" in bench.prove().broken.why
