"""Processes that are killed in the midst of an act, and two that act at once: numbers are never given twice."""

import os
import signal

import pytest
from cryptography import x509
from tests.commands import PIPE, run_python, start_python
from tests.pki import NOW, name, shared_key

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import IssuedStatus
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest

pytestmark = pytest.mark.process

# Each line ends the process at one step of making a CRL, after telling the number that it had taken.
KILL_AT = {
    "number taken, nothing signed": "patch(authority, 'build_crl', lambda header, *_: die(header.number))",
    "signed, not stored": "patch(store.CertificateStore, 'add_crl', lambda self, crl: die(crl.number))",
    "stored, not committed": (
        "patch(store.CertificateStore, '_commit', lambda self: die(self.next_crl_number() - 1) )"
    ),
    "committed, not told": (
        "commit = store.CertificateStore._commit\n"
        "patch(store.CertificateStore, '_commit', lambda self: (commit(self), die(self.next_crl_number() - 1)))"
    ),
}
PROGRAM = """
import os, signal, sys
from pathlib import Path
from vouchd.ca import authority, store
patch = setattr
def die(number):
    print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
manager = authority.CertificateManager(Path(sys.argv[1]))
{kill}
manager.make_crl(int(sys.argv[2]))
"""


@pytest.mark.parametrize("step", KILL_AT)
def test_make_crl_killed_leaves_all_or_nothing(manager, step):
    """Killed at any step: the CRL with its number is there whole, or no trace of it; the next number is above all."""
    before = manager.make_crl(NOW)
    killed = run_python(PROGRAM.format(kill=KILL_AT[step]), manager.folder.root, NOW + 1)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    taken = int(killed.stdout)
    assert taken == before.number + 1
    stored = manager.store.crls()
    if step == "committed, not told":
        assert [crl.number for crl in stored] == [before.number, taken]
        assert x509.load_der_x509_crl(stored[-1].der).is_signature_valid(manager.certificate.public_key())
    else:
        # Its bytes never existed outside the dead process, so nobody can hold another CRL of that number.
        assert stored == (before,)
    after = manager.make_crl(NOW + 2)
    assert after.number == stored[-1].number + 1
    assert x509.load_der_x509_crl(after.der).is_signature_valid(manager.certificate.public_key())


def test_revoke_killed_before_commit_changes_nothing(manager, issue):
    """A status change that was not acknowledged is not there, neither in the certificate nor in the log of changes."""
    record = issue()
    program = PROGRAM.format(kill="patch(store.CertificateStore, '_commit', lambda self: die(0))").replace(
        "manager.make_crl(int(sys.argv[2]))", "manager.revoke(bytes.fromhex(sys.argv[2]), int(sys.argv[3]))"
    )
    killed = run_python(program, manager.folder.root, record.serial.hex(), NOW)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert manager.store.get(record.serial) == record
    assert manager.store.last_change() == 0
    assert manager.revoke(record.serial, NOW).status is IssuedStatus.REVOKED


MAKE_MANY = """
import sys
from pathlib import Path
from vouchd.ca.authority import CertificateManager
manager = CertificateManager(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    print(manager.make_crl(int(sys.argv[3])).number, flush=True)
"""


def test_two_processes_making_crls_share_no_number(manager):
    """Two processes at once: every number once, none left out, and each CRL's own number is the stored one."""
    makers = [start_python(MAKE_MANY, manager.folder.root, 10, NOW, stdin=PIPE, stdout=PIPE) for _ in range(2)]
    try:
        for maker in makers:
            assert maker.stdout.readline() == "ready\n"
        for maker in makers:
            maker.stdin.write("go\n")
            maker.stdin.flush()
        numbers = [int(line) for maker in makers for line in maker.communicate(timeout=60)[0].split()]
    finally:
        for maker in makers:
            if maker.poll() is None:
                os.kill(maker.pid, signal.SIGKILL)
            maker.wait()
    assert sorted(numbers) == list(range(1, 21))
    for crl in manager.store.crls():
        number = x509.load_der_x509_crl(crl.der).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        assert number == crl.number


def test_two_managers_on_one_folder_see_each_other_s_acts(manager):
    """What one process has finished, the next call in another sees."""
    with CertificateManager(manager.folder.root) as other:
        record = other.issue(CertificateRequest(name("x"), shared_key().public_key(), ProfileName.USER), NOW)
        manager.hold(record.serial, NOW)
        assert other.store.get(record.serial).status is IssuedStatus.HELD
        assert other.make_crl(NOW).entry_count == 1
        assert manager.make_crl(NOW).number == 2
