"""A real Dogtag's OCSP manager, the peer of our users: that of `tests/dogtag/lab`, where one has been made.

Its signer has a key of RSA-2048, and it signs for every CA that its agent has named. It runs with Java as it is
installed, not with the options that make the lab start sooner; its keys are kept as the lab has them, which spares it
90 ms a signature beside an installation that leaves the 10,000 rounds of PBKDF2 of NSS as they are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.dogtag.lab import plan, running
from tests.dogtag.lab.installation import alone
from tests.dogtag.lab.lab import Lab

from bench.peers.peer import Serving, Site, Unavailable
from bench.processes import family

_WARM_UP_SECONDS = 10  # until its Java has compiled what it does often


class Dogtag:
    """Looks the CRL up in its directory server and signs each answer anew."""

    name = "Dogtag OCSP"
    keys = ("RSA",)

    @contextmanager
    def serving(self, site: Site) -> Iterator[Serving]:
        """It, with the CA added and its CRL pushed by its agent; as it was before, afterwards."""
        lab = Lab.at_home()
        with started(lab, _common_name(site.ca)):
            lab.add_ca(plan.OCSP, site.ca)
            try:
                serving = Serving(
                    _version(lab), plan.OCSP.http_port, lambda: _processes(lab), "/ocsp/ee/ocsp",
                    plan.ADDRESS, serials=10**15, warm_up_seconds=_WARM_UP_SECONDS,
                    note="signs with a key of its own; Tomcat and directory server",
                )  # fmt: skip
                begin = time.monotonic()
                lab.add_crl(plan.OCSP, site.crl.public_bytes(Encoding.DER))
                yield serving.listed(serving.seconds_until_revoked(site, begin), "addCRL by its agent")
            finally:
                lab.remove_ca(plan.OCSP, site.ca.subject.rfc4514_string())


@contextmanager
def started(lab: Lab, ca: str) -> Iterator[None]:
    """Its OCSP manager alone, with its directory server; afterwards nothing of the CA of that name is left in it.

    An OCSP manager puts the certificate of a CA whose CRL it takes among its own, and takes no other of that issuer and
    serial number from then on, also when the CA is removed; only a tool takes it out, while the manager is stopped.

    Raises:
        Unavailable: none has been made here, or it is in use.
    """
    root = lab.enclosure.root
    if not (root / "var/lib/vouchd-lab/first-CRL").exists():
        raise Unavailable(
            f"none is in {root.parent}: `python -m tests.dogtag.lab start` makes it, in a quarter of an hour"
        )
    if os.geteuid():
        raise Unavailable("its processes and mounts are root's: run this as root")
    if lab.enclosure.first():
        raise Unavailable("it is in use: `python -m tests.dogtag.lab stop` ends it")
    with alone(root.parent):
        lab.enclosure.open()
    certificates = f"/var/lib/pki/{plan.OCSP.tomcat}/alias"
    forget = ("certutil", "-D", "-d", certificates, "-n", ca)
    try:
        lab.enclosure.run(*forget, check=False)  # of a run that was ended
        lab.enclosure.run("systemctl", "start", f"dirsrv@{plan.OCSP.name}")
        java_as_installed = ("env", "--unset=JAVA_TOOL_OPTIONS")
        lab.enclosure.run(*java_as_installed, "systemctl", "start", f"pki-tomcatd@{plan.OCSP.tomcat}")
        running.answers(plan.OCSP)
        yield
    finally:
        lab.enclosure.run("systemctl", "stop", f"pki-tomcatd@{plan.OCSP.tomcat}")
        lab.enclosure.run(*forget, check=False)
        lab.stop()


def _common_name(certificate: x509.Certificate) -> str:
    return certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value


def _version(lab: Lab) -> str:
    return lab.enclosure.run("dpkg-query", "--show", "--showformat", "${Version}", "pki-ocsp")


def _processes(lab: Lab) -> list[int]:
    first = lab.enclosure.first()
    return family(first)[1:] if first else []
