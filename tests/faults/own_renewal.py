"""The renewal of a member's own certificate as a program that is killed: `main(NAME, ROOT)` in a process of its own.

Before each of its steps once, on a copy of the instance at ROOT beside it, ROOT-0, ROOT-1 and so on; of the last copy it
comes to its end. It prints how many there are. A step is what leaves something behind: a file that gets or loses its
name, the record of the member, and, once the next certificate has come, what is appended to the audit log.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from vouchd.audit.log import AuditLog
from vouchd.cloning.enrolling import Enrolling
from vouchd.cloning.own_certificates import OwnCertificates
from vouchd.cloning.own_record import OwnRecord
from vouchd.instance.certificates.places import AUDIT_SIGNING, find
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.stores.sqlite.store import SqliteStore
from vouchd.wiring import services as wiring
from vouchd.wiring.audit import sign_audit_log, succeeding_audit_signer
from vouchd.wiring.services import audit_keeping

DAY = 86400


class DueOnce:
    """It is due as long as the first certificate is in use."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout, self._name = layout, name

    def now(self) -> int:
        files = find(read_settings(self._layout), self._name).files
        return int(time.time()) + (3000 if files.certificate_file.stem == self._name else 1) * DAY


def renew(layout: Layout, name: str) -> None:
    """What a manager process does for the certificate from its start on."""
    with wiring.services(layout) as services:
        log, clock, settings = services.audit, services.clock, services.settings
        signer = succeeding_audit_signer(layout, settings, log, clock)
        keeping = audit_keeping(log, signer, settings.audit, clock)
        services.in_use.listen(lambda now: sign_audit_log(keeping, layout, now), AUDIT_SIGNING)
        keeping.keep_last()
        nobody = SimpleNamespace(states=(), others=tuple)
        record = OwnRecord(layout, services.in_use, services.store, services.domain, nobody, services.caller, clock)
        own = OwnCertificates(layout, services.certificates, services.in_use, record.lacking, tuple, services.caller)
        enrolling = Enrolling([own], lambda: read_settings(layout), DueOnce(layout, name))
        for _ in range(4):
            enrolling.look()
            record.look()
        keeping.stopped()


def killed_before(step: int, layout: Layout, name: str) -> None:
    """Renew in this process, which is killed before that step."""
    steps = [0]

    def counted(act: Callable, counts: Callable[..., bool] = lambda *_: True) -> Callable:
        def acting(*arguments, **named):
            if counts(*arguments):
                if steps[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                steps[0] += 1
            return act(*arguments, **named)

        return acting

    Path.replace, os.link, SqliteStore.put_member = map(counted, (Path.replace, os.link, SqliteStore.put_member))
    Path.unlink = counted(Path.unlink, lambda path, *_: path.suffix == ".next")
    AuditLog.extend = counted(AuditLog.extend, lambda *_: any(layout.alias.glob("*.next")))
    renew(layout, name)


def main(name: str, root: Path) -> None:
    step = 0
    while True:
        folder = root.with_name(f"{root.name}-{step}")
        shutil.copytree(root, folder, symlinks=True)
        child = os.fork()
        if not child:
            killed_before(step, Layout(folder), name)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        step += 1
        if not os.WIFSIGNALED(status):
            sys.stdout.write(f"{step}\n")
            sys.exit(os.waitstatus_to_exitcode(status))
