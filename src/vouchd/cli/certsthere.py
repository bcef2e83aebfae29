"""The own certificates of an instance that is asked over its agent port: listed, requested, installed, renewed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from vouchd.cli import output, told
from vouchd.client.admin import AdminClient
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.purposes import Purpose


@dataclass(frozen=True, slots=True)
class Placed:
    """One of the instance's certificates as it is listed; `requests` are the names of the requests that wait."""

    name: str
    purpose: Purpose
    problem: str
    certificate: x509.Certificate | None
    requests: tuple[str, ...]


def placed_certificates(asked: AdminClient) -> list[Placed]:
    """All of them."""
    return [_placed(one) for one in asked.get("certificates")]


def _placed(found: Mapping[str, Any]) -> Placed:
    certificate = found["certificate"] and load_certificate(told.der(found["certificate"]["pem"]))
    names = tuple(request["name"] for request in found["requests"])
    return Placed(found["name"], Purpose(found["purpose"]), found["problem"], certificate, names)


def request(
    asked: AdminClient, name: str, subject: str, names: Sequence[str], algorithm: str, *, same_key: bool
) -> Any:
    """Have it make a key and a request; `name` and `pem` of that."""
    given = {"subject": subject, "names": list(names), "algorithm": algorithm}
    body = {key: value for key, value in given.items() if value} | {"same_key": same_key}
    return asked.post("certificates", name, "requests", body=body)


def install(asked: AdminClient, name: str, certificate: bytes, chain: bytes = b"", *, trial: bool = False) -> Any:
    """Have it take in a certificate."""
    body: dict[str, object] = {"certificate": _text(certificate), "trial": trial}
    if chain:
        body["chain"] = _text(chain)
    return asked.post("certificates", name, "install", body=body)


def renew(asked: AdminClient, one: Placed, certify: Callable[[Purpose, bytes], bytes], *, same_key: bool) -> Any:
    """Have it make a request, have that certified here, and have it take the certificate in."""
    made = request(asked, one.name, "", (), "", same_key=same_key)
    return install(asked, one.name, certify(one.purpose, made["pem"].encode()))


def show_installed(
    asked: AdminClient, done: Iterable[Mapping[str, Any]], *, restart: bool, trial: bool, json_output: bool
) -> None:
    """Show what was installed, and have the instance take it on."""
    rows: list[dict[str, object]] = []
    switched = False
    for one in done:
        placed = one["certificate"]
        for warning in one["warnings"]:
            output.warn(f"{placed['name']}: {warning}")
        switched = switched or one["switched"]
        not_after = placed["certificate"] and placed["certificate"]["not_after"]
        rows.append({"name": placed["name"], "state": "", "not_after": not_after})
    restarted = switched and restart
    if restarted:
        asked.post("restart", body={})
    state = "tried out" if trial else "being taken on" if restarted else "installed"
    output.records([{**row, "state": state} for row in rows], json_output=json_output)
    if switched and not restart:
        output.hint("take it on with `vouchd restart`")


def _text(data: bytes) -> str:
    """As the API takes it: PEM, or base64 of what is not text."""
    return data.decode("ascii", "replace") if b"-----BEGIN" in data else base64.b64encode(data).decode()
