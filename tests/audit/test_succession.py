"""A log whose next signer came into use while nobody could speak for it: the one before does so at the next start."""

from __future__ import annotations

import hashlib

import pytest
from tests.audit.auditing import CALLER, COMMITS, Bench
from tests.pki import CA, shared_key
from tests.serving import signer

from vouchd.audit.search import AuditQuery, AuditReader
from vouchd.audit.signing import AuditSigning
from vouchd.audit.trust import SIGNER_NAME, SUCCESSION, last_signer, vouch


@pytest.fixture
def bench(tmp_path) -> Bench:
    """A log that its signer has signed."""
    made = Bench(tmp_path / "audit.jsonl")
    made.record("A")
    made.signing.sign()
    return made


def following():
    """Another signer, of whose CA nobody has heard."""
    issued = CA.create("Next CA").issue("next", key=shared_key("EC", 8), extensions=((COMMITS, True),))
    return signer(issued, "audit_signing")


def test_last_signer_of_a_log_that_was_never_signed_is_nobody(tmp_path):
    """There is nobody who could speak for the first one."""
    bench = Bench(tmp_path / "audit.jsonl")
    bench.record("A")
    assert last_signer(bench.log) == ""


@pytest.mark.parametrize("recorded", [False, True], ids=["killed before its record", "with its record"])
def test_former_signer_speaks_for_the_next(bench, recorded):
    """Who trusts the first alone verifies the whole log, whether the record of the next was written yet or not."""
    after = following()
    name = hashlib.sha256(after.certificate_der).hexdigest()
    if recorded:
        bench.log.record(SUCCESSION, CALLER, "success", certificate=SIGNER_NAME, sha256=name)
    assert last_signer(bench.log) == hashlib.sha256(bench.issued.der).hexdigest()
    vouch(bench.log, signer(bench.issued, "audit_signing"), after, bench.clock)
    bench.record("B")
    AuditSigning(bench.log, after, bench.clock).sign()
    proof = bench.prove()
    assert (proof.broken, proof.unsigned) == (None, 0)
    assert last_signer(bench.log) == name
    assert len(AuditReader(bench.path).search(AuditQuery(event=SUCCESSION))) == 1


def test_next_signer_for_whom_nobody_speaks_is_not_believed(bench):
    """Without the word of the one before its signatures prove nothing to who trusts that one alone."""
    bench.record("B")
    AuditSigning(bench.log, following(), bench.clock).sign()
    assert "whom nothing says to trust" in bench.prove().broken.why
