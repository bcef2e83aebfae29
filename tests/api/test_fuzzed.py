"""The REST API fuzzed from its own OpenAPI document."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from tests.api.conftest import EVERYBODY, PREFIX, opened

from vouchd.api.openapi import document
from vouchd.api.operation import NoParameters
from vouchd.api.table import OPERATIONS

EXAMPLES = {"positive": settings().max_examples // 5, "negative": settings().max_examples // 7}
pytestmark = pytest.mark.hypothesis
# What is there, to come further than to its absence; not for what would take it away from the tests that follow.
EXISTING = {"authority": "Site", "scope": "complete", "serial": "0xc", "user": "agent", "name": "sslserver", "seq": "1"}
REMOVALS = {"DELETE /api/v1/authorities/{authority}", "DELETE /api/v1/users/{user}"}


def _sends_something(row) -> bool:
    """Whether there is anything in the request that could be wrong."""
    return bool(row.query is not NoParameters or row.body or "{" in row.path)


CASES = [
    pytest.param(f"{row.method} {PREFIX}{row.path}", mode, id=f"{row.method} {PREFIX}{row.path} {mode}")
    for row in OPERATIONS
    for mode in EXAMPLES
    if mode == "positive" or _sends_something(row)
]


@pytest.fixture(scope="module")
def fuzzing() -> SimpleNamespace:
    """Operations by label, and what is looked at in each answer; it is loaded by the process that does it alone."""
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    described = schemathesis.openapi.from_dict(document(OPERATIONS))
    every = [result.ok() for result in described.get_all_operations()]
    conformance = (checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance)
    return SimpleNamespace(
        operations={one.label: one for one in every},
        modes=GenerationMode,
        checks=[not_a_server_error, *conformance],
    )


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
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.cert, session.verify = str(folder / "client.pem"), str(folder / "trust.pem")
        yield session


def test_document_tells_of_every_operation(fuzzing):
    """The fuzzing reaches each row of the table."""
    assert set(fuzzing.operations) == {f"{row.method} /api/v1{row.path}" for row in OPERATIONS}


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_operation_answers_whatever_is_sent_as_its_document_says(label, mode, port, session, fuzzing):
    """No input makes the port fail, and no answer is of a status, type or form that the document does not tell."""
    operation = fuzzing.operations[label]

    @given(case=operation.as_strategy(generation_mode=fuzzing.modes(mode)), existing=booleans())
    @settings(
        max_examples=EXAMPLES[mode],
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case, existing):
        if existing and label not in REMOVALS:
            case.path_parameters = {name: EXISTING.get(name, value) for name, value in case.path_parameters.items()}
        url = f"https://localhost:{port.port}"
        case.call_and_validate(base_url=url, session=session, checks=fuzzing.checks, timeout=60, verify=session.verify)

    send()
