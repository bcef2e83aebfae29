"""Law 4: a failing part costs that part. Every way in which a signer or a port fails, at the start and while running.

One instance answers for a CA for each way, beside one whose signer is sound. However many fail: it starts, restarts and
passes its self tests on demand; those CAs are answered tryLater with a cause that shows wherever operators look; the
sound one is answered.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from tests.commands import run_vouchd
from tests.faults.page import FaultTable
from tests.images import Image
from tests.laws.broken_site import FAULTS, LISTED, UNLISTED
from tests.pki import CA, DAY, HOUR, Issued, shared_key
from tests.serving import request_for
from tests.sites import Site

from vouchd.instance.lifecycle import status
from vouchd.instance.pidfile import running_pid
from vouchd.instance.report import InstanceReport
from vouchd.service.authorities import Authorities
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.keys import write_key
from vouchd.wiring.services import services as open_instance

pytestmark = pytest.mark.process


@dataclass(frozen=True)
class Signer:
    """Key and certificate files of one signer, its password, and its CA."""

    key: Path
    certificate: Path
    password: str
    ca: CA

    def certify(self, **more) -> Issued:
        """A certificate of its CA for its key."""
        now = int(time.time())
        more = {"not_before": now - DAY, "not_after": now + DAY, **more}
        return self.ca.issue_signer(f"signer of {self.certificate.stem}", key=shared_key("EC", 1), **more)

    def take(self, issued: Issued) -> None:
        self.certificate.write_bytes(issued.pem)


def _expired(signer: Signer) -> None:
    signer.take(signer.certify(not_before=int(time.time()) - 2 * DAY, not_after=int(time.time()) - HOUR))


def _early(signer: Signer) -> None:
    signer.take(signer.certify(not_before=int(time.time()) + DAY, not_after=int(time.time()) + 2 * DAY))


def _of_another_ca(signer: Signer) -> None:
    signer.take(replace(signer, ca=CA.create("Foreign CA")).certify())


def _not_for_ocsp(signer: Signer) -> None:
    now = int(time.time())
    signer.take(signer.ca.issue("no purpose", key=shared_key("EC", 1), not_before=now - DAY, not_after=now + DAY))


def _not_for_signatures(signer: Signer) -> None:
    now, usage = int(time.time()), x509.KeyUsage(False, False, True, False, False, False, False, False, False)
    purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.OCSP_SIGNING])
    more = {"extensions": ((purpose, False), (usage, True)), "not_before": now - DAY, "not_after": now + DAY}
    signer.take(signer.ca.issue("encrypts", key=shared_key("EC", 1), **more))


def _unknown_to_clients(signer: Signer) -> None:
    now, odd = int(time.time()), x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.OCSP_SIGNING])
    more = {"extensions": ((purpose, False), (odd, True)), "not_before": now - DAY, "not_after": now + DAY}
    signer.take(signer.ca.issue("odd", key=shared_key("EC", 1), **more))


def _with_another_key(signer: Signer) -> None:
    signer.key.unlink()
    write_key(signer.key, shared_key("EC", 3), signer.password)


def _with_another_password(signer: Signer) -> None:
    signer.key.unlink()
    write_key(signer.key, shared_key("EC", 1), "another")


# How a signer comes to fail, what that is called, and a word of the cause that is shown.
WAYS: dict[str, tuple[Callable[[Signer], object], str, str]] = {
    "expired": (_expired, "the signer of a CA has expired", "not valid now"),
    "early": (_early, "the signer of a CA is not valid yet", "not valid now"),
    "foreign": (_of_another_ca, "the signer of a CA was issued by another one", "not issued by"),
    "purpose": (_not_for_ocsp, "the certificate of a signer is not for OCSP", "not for OCSP signing"),
    "usage": (_not_for_signatures, "the certificate of a signer is not for signatures", "digitalSignature"),
    "critical": (_unknown_to_clients, "a signer has a critical extension that clients do not know", "1.2.3.4"),
    "waiting": (lambda one: one.certificate.unlink(), "the certificate of a signer has not come", "no certificate yet"),
    "junk-certificate": (
        lambda one: one.certificate.write_bytes(b"junk"),
        "the certificate file of a signer is damaged",
        "holds no certificate",
    ),
    "no-key": (lambda one: one.key.unlink(), "the key file of a signer is gone", "cannot be read"),
    "junk-key": (lambda one: one.key.write_bytes(b"junk"), "the key file of a signer is damaged", "key"),
    "other-key": (_with_another_key, "the key of a signer is not its certificate's", "does not belong"),
    "other-password": (_with_another_password, "the key of a signer has another password", "password"),
    "expired-ca": (lambda _: None, "a CA with a delegated signer has expired", "has expired"),
    "revoked": (lambda _: None, "a signer is revoked in its CA's own CRL", "is revoked by its CA"),
}
TABLE = FaultTable.of("a member")
PARTS = [
    TABLE.case(
        part,
        f"{what} is damaged",
        "every CA is answered",
        f'the log and `vouchd start`; `/readyz`: `parts` fails; `vouchd_hindrance{{cause="part"}}` {said}',
        "`vouchd certs install`, then `vouchd restart`",
    )
    for part, what, said in (
        ("sslserver", "the certificate of the agent port", "(the port is off)"),
        ("audit_signing", "the certificate that signs the audit log", "(it is not signed)"),
        ("subsystem", "the certificate that shows a member of the set", "where it is in one"),
    )
]
for _, _what, _ in WAYS.values():
    TABLE.fault(
        _what,
        "tryLater for its CAs; all others are answered, and the instance starts and restarts",
        'the cause, in `status`, `/readyz` (`parts`), the log; `vouchd_hindrance{cause="part"}` by the CA',
        "install what is right (`vouchd certs install`), then `vouchd restart`",
    )(_what)
FROM_THE_BEGINNING = ("expired-ca", "revoked")


@dataclass
class Instance:
    """The instance, its CAs by way of failing, and its commands as processes."""

    site: Site
    signers: dict[str, Signer]

    @property
    def layout(self) -> Layout:
        return Layout(self.site.instance)

    def vouchd(self, *arguments: str):
        environment = {**os.environ, "VOUCHD_INSTANCE": str(self.site.instance)}
        return run_vouchd(*arguments, env=environment, cwd=self.site.folder)

    def report(self) -> InstanceReport:
        return status(self.layout).report

    def answer(self, ca: CA) -> str:
        """What a client is told of a certificate of that CA: the certificate's status, or that of the answer."""
        request = urllib.request.Request(self.report().ee_url, request_for(ca, 7))  # noqa: S310  ours
        request.add_header("Content-Type", "application/ocsp-request")
        with urllib.request.urlopen(request) as response:  # noqa: S310
            answer = ocsp.load_der_ocsp_response(response.read())
        sound = answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        return (answer.certificate_status if sound else answer.response_status).name

    def shown(self, path: str) -> str:
        """A page of the health port, whatever its status."""
        host, port = self.report().health
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}") as response:
                return response.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def fail(self, *ways: str) -> None:
        for way in ways:
            WAYS[way][0](self.signers[way])

    def check(self, *ways: str) -> None:
        """The CAs of these ways are answered tryLater with the cause shown everywhere, all others are served."""
        assert self.answer(self.site.ca) == "GOOD"
        report, metrics, ready = self.report(), self.shown("/metrics"), json.loads(self.shown("/readyz"))
        status_text, log = self.vouchd("status").stdout, self.layout.log.read_text()
        (parts,) = [check for check in ready["checks"] if check["name"] == "parts"]
        assert ready["status"] == "ready"
        for way in ways:
            assert self.answer(self.signers[way].ca) == "TRY_LATER", way
            (failing,) = [one for one in report.failing if one.ca == way]
            assert WAYS[way][2] in failing.cause, failing
            assert f'vouchd_hindrance{{cause="part",name="CA {way}"}} 1.0' in metrics
            assert f"CA {way}: answered tryLater" in parts["detail"]
            assert f"CA {way}: answered tryLater" in log, log
            assert f"CA {way}" in status_text, status_text
        assert not {one.ca for one in report.failing} - {*ways, ""}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory) -> tuple[Instance, Image]:
    """A CA for each way, with a CRL and a signer of its own, beside the sound one; nothing runs."""
    site = Site.make(tmp_path_factory.mktemp("pattern"))
    instance = Instance(site, {})
    files = ["--signer-key", "signer.key", "--signer-cert", "signer.pem", "--ca-cert", "ca.pem"]
    ports = ["--listen", "127.0.0.1", "--port", "0", "--health-port", "0", "--workers", "1"]
    assert instance.vouchd("create", *files, *ports).returncode == 0
    now, password = int(time.time()), read_passwords(instance.layout.password_conf)[INTERNAL]
    lines = []
    for way in WAYS:
        end = {"not_after": now - HOUR} if way == "expired-ca" else {}
        ca = CA.create(way, key=shared_key("EC", 5), **end)
        signer = Signer(instance.layout.alias / f"{way}.key", instance.layout.alias / f"{way}.pem", password, ca)
        instance.signers[way] = signer
        write_key(signer.key, shared_key("EC", 1), password)
        signer.take(signer.certify())
        lines += [f"vouchd.signer.{way}.key=alias/{way}.key", f"vouchd.signer.{way}.certificate=alias/{way}.pem"]
    with instance.layout.cs_cfg.open("a") as file:
        file.write("\n".join(["", *lines, ""]))
    _register(instance, now)
    return instance, Image.of(site.folder)


@pytest.fixture
def instance(pattern, tmp_path) -> Iterator[Instance]:
    """A copy of that one."""
    made, image = pattern
    image.put(tmp_path)
    alias = Layout(tmp_path / "vouchd").alias
    signers = {
        way: replace(signer, key=alias / f"{way}.key", certificate=alias / f"{way}.pem")
        for way, signer in made.signers.items()
    }
    instance = Instance(replace(made.site, folder=tmp_path), signers)
    yield instance
    if running_pid(instance.layout.pid_file):
        assert instance.vouchd("stop").returncode == 0


def _register(instance: Instance, now: int) -> None:
    with open_instance(instance.layout) as opened:
        opened.ingesting.accept_crl(Path(instance.site.crl("site.crl")).read_bytes(), "test", opened.caller, now)
        authorities = Authorities(opened.store, opened.permission, opened.audit)  # a CA was fit once: none is refused
        for way, signer in instance.signers.items():
            authorities.add(signer.ca.der, opened.caller, label=way, signer=way)
            (certificate,) = x509.load_pem_x509_certificates(signer.certificate.read_bytes())
            revoked = {certificate.serial_number: x509.ReasonFlags.key_compromise} if way == "revoked" else None
            crl = signer.ca.crl(revoked, this_update=now - HOUR, next_update=now + DAY)
            opened.ingesting.accept_crl(crl, "test", opened.caller, now)


def test_instance_starts_whatever_signer_fails_and_serves_all_other_cas(instance):
    """Every way of failing at once: the start succeeds, names each, and the sound CA is answered."""
    instance.fail(*WAYS)
    started = instance.vouchd("start")
    assert started.returncode == 0, started.stderr
    assert all(f"CA {way}: " in started.stderr for way in WAYS if way != "revoked")  # no index is open yet
    instance.check(*WAYS)
    tested = instance.vouchd("selftest", "run")
    assert "tryLater only" not in tested.stderr
    instance.check(*WAYS)


def test_restart_is_not_refused_for_a_signer_that_fails_and_takes_on_all_else(instance):
    """What came to fail while the instance ran costs those CAs at the restart; mended, they are served again."""
    assert instance.vouchd("start").returncode == 0
    instance.check(*FROM_THE_BEGINNING)
    instance.fail(*WAYS)
    with instance.layout.cs_cfg.open("a") as file:
        file.write("vouchd.ee.idleInSec=33\n")
    restarted = instance.vouchd("restart")
    assert restarted.returncode == 0, restarted.stderr
    instance.check(*WAYS)
    mended = instance.signers["waiting"]
    mended.take(mended.certify())
    assert instance.vouchd("restart").returncode == 0
    instance.check(*(way for way in WAYS if way != "waiting"))
    assert instance.answer(mended.ca) == "GOOD"


@pytest.mark.parametrize("part", PARTS)
def test_system_certificate_that_fails_costs_its_own_part(instance, part):
    """Junk in place of the TLS server's, the log's or the member's certificate keeps no answer back."""
    password = instance.signers["expired"].password
    for name in ("sslserver", "audit_signing", "subsystem"):
        key, certificate = instance.layout.alias / f"{name}.key", instance.layout.alias / f"{name}.pem"
        if not key.exists():
            write_key(key, shared_key("EC", 1), password)
        certificate.write_bytes(instance.site.signer.pem)
    (instance.layout.alias / f"{part}.pem").write_bytes(b"junk")
    started = instance.vouchd("start")
    assert started.returncode == 0, started.stderr
    instance.check(*FROM_THE_BEGINNING)


@pytest.mark.parametrize(
    "cause",
    [
        TABLE.case(
            cause,
            f"of a CA: {fault.what}",
            f"{fault.words}; all other CAs are answered",
            f'`vouchd_hindrance{{cause="{cause}"}}`, `/readyz`: `revocations`, `status`, the pages, the log',
            fault.mends,
        )
        for cause, fault in FAULTS.items()
    ],
)
def test_fault_of_one_ca_costs_no_other(broken, cause):
    """With all of them at once: each CA is answered as its own fault allows, the sound one as ever, and it is ready."""
    fault = FAULTS[cause]
    assert tuple(broken.answer(cause.value, serial) for serial in (LISTED, UNLISTED)) == fault.answers
    assert [broken.answer("sound", serial) for serial in (LISTED, UNLISTED)] == ["REVOKED", "GOOD"]
