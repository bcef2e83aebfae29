"""The real Dogtag that these tests hold vouchd against, and instances of vouchd beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.x509 import ocsp
from tests.dogtag.beside import Beside
from tests.dogtag.lab import plan
from tests.dogtag.lab.lab import Lab
from tests.processes.running import eventually


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab, running; what was stopped before is stopped again."""
    lab = Lab.at_home()
    stopped = lab.start()
    yield lab
    if stopped:
        lab.stop()


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Whatever stands beside them, Dogtag's master and clone list the same CAs, once replicated, and answer the same."""
    yield
    eventually(lambda: lab.list_cas(plan.OCSP).keys() == lab.list_cas(plan.CLONE).keys(), "both list the same CAs")
    for instance in (plan.OCSP, plan.CLONE):
        assert lab.answer(instance, lab.ca.serial_number).certificate_status is ocsp.OCSPCertStatus.GOOD


@pytest.fixture(scope="session")
def beside(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """An instance of vouchd with the OCSP manager's keys, running, to which the CA publishes."""
    beside = Beside(lab, tmp_path_factory.mktemp("beside"))
    beside.said = beside.create()
    beside.run("start")
    lab.publish()
    yield beside
    beside.run("stop")
