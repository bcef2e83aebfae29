"""The REST API fuzzed from its own OpenAPI document."""

from __future__ import annotations

import pytest
import requests
import schemathesis
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.api.conftest import EVERYBODY, opened

from vouchd.api.openapi import document
from vouchd.api.operation import NoParameters
from vouchd.api.table import OPERATIONS

DESCRIBED = schemathesis.openapi.from_dict(document(OPERATIONS))
DOCUMENTED = [result.ok() for result in DESCRIBED.get_all_operations()]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = {
    GenerationMode.POSITIVE: settings().max_examples // 5,
    GenerationMode.NEGATIVE: settings().max_examples // 7,
}
pytestmark = pytest.mark.hypothesis
# What is there, to come further than to its absence; not for what would take it away from the tests that follow.
EXISTING = {"authority": "Site", "scope": "complete", "serial": "0xc", "user": "agent", "name": "sslserver", "seq": "1"}
REMOVALS = {"DELETE /api/v1/authorities/{authority}", "DELETE /api/v1/users/{user}"}


def _sends_something(operation) -> bool:
    """Whether there is anything in the request that could be wrong."""
    row = next(row for row in OPERATIONS if operation.label == f"{row.method} /api/v1{row.path}")
    return bool(row.query is not NoParameters or row.body or "{" in row.path)


CASES = [
    pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
    for operation in DOCUMENTED
    for mode in EXAMPLES
    if mode is GenerationMode.POSITIVE or _sends_something(operation)
]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("fuzzed") / "vouchd") as api:
        yield api.port


@pytest.fixture(scope="module")
def session(port, tmp_path_factory):
    """A client of the port with the certificate of a user who may do everything."""
    issued, folder = port.users[EVERYBODY], tmp_path_factory.mktemp("client")
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "client.pem").write_bytes(key + issued.pem)
    (folder / "trust.pem").write_bytes(port.ca.pem)
    with requests.Session() as session:
        session.trust_env = False
        session.cert, session.verify = str(folder / "client.pem"), str(folder / "trust.pem")
        yield session


def test_document_tells_of_every_operation():
    """The fuzzing reaches each row of the table."""
    assert {one.label for one in DOCUMENTED} == {f"{row.method} /api/v1{row.path}" for row in OPERATIONS}


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_operation_answers_whatever_is_sent_as_its_document_says(operation, mode, port, session):
    """No input makes the port fail, and no answer is of a status, type or form that the document does not tell."""

    @given(case=operation.as_strategy(generation_mode=mode), existing=booleans())
    @settings(
        max_examples=EXAMPLES[mode],
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case, existing):
        if existing and operation.label not in REMOVALS:
            case.path_parameters = {name: EXISTING.get(name, value) for name, value in case.path_parameters.items()}
        url = f"https://localhost:{port.port}"
        case.call_and_validate(base_url=url, session=session, checks=CHECKS, timeout=60, verify=session.verify)

    send()
