"""`vouchd explain`: from which CRL, entry and policy the answer for one serial comes, and who signs it.

It tells what a client is told now; of an instance that does not run, what it would tell.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.certificate_files import read_issuer, read_leaf
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption
from vouchd.cli.query import serial_octets
from vouchd.client.inquiry import serial_of
from vouchd.errors import ConfigError
from vouchd.pkix import certs


@reachable
def explain(
    certificate: Annotated[
        Path | None, typer.Argument(metavar="[CERT]", help="Certificate to explain, PEM or DER.")
    ] = None,
    *,
    instance: Instance,
    issuer: Annotated[
        Path | None, typer.Option("--issuer", metavar="FILE", help="Certificate of the CA that issued it.")
    ] = None,
    authority: Annotated[
        str,
        typer.Option(
            "--authority", metavar="CA", help="With --serial, instead of --issuer: its label, or digits of its id."
        ),
    ] = "",
    serial: Annotated[str, typer.Option("--serial", "-s", metavar="HEX", help="Instead of a certificate.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Tell why a certificate is answered as it is: CRL, entry, policy and signer.

    Example: vouchd explain --issuer ca.crt --serial 0x52a1c7
    """
    leaf = read_leaf(str(certificate)) if certificate is not None else None
    issuer_der = read_issuer(str(issuer), [leaf] if leaf else ()) if issuer is not None else None
    if leaf and not issuer_der and not serial:  # the instance knows its CA, and which of the CA's keys issued it
        body = {"certificate": b64encode(leaf).decode()}
        explanation = instance.call("certificate_status.check", body=body)
    else:
        octets = output.serial_text(_serial(leaf, issuer_der, serial))
        key = certs.key_id(issuer_der) if issuer_der else ""
        explanation = instance.call("certificate_status.get", _authority(issuer_der, authority), octets, key=key)
    _show(_facts(explanation), json_output)


def _authority(issuer_der: bytes | None, reference: str) -> str:
    """The id of that CA, else the reference. Raises: ConfigError."""
    if issuer_der is not None:
        return certs.authority_id(certs.load_certificate(issuer_der))
    if not reference:
        raise ConfigError("a serial number means nothing without its CA", hint="give --issuer FILE or --authority CA")
    return reference


def _serial(leaf: bytes | None, issuer_der: bytes | None, serial: str) -> bytes:
    if serial:
        return serial_octets(serial)
    if leaf is None or issuer_der is None:
        raise ConfigError("nothing to explain", hint="give a certificate file, or --serial HEX")
    return serial_of(leaf, issuer_der)


def _facts(explanation: Mapping[str, Any]) -> dict[str, object]:
    label = explanation["authority_label"]
    plain = ("revoked_at", "reason", "this_update", "next_update", "produced_at", "signer")
    return {
        "serial": explanation["serial"],
        "answer": explanation["answer"],
        "why": explanation["why"],
        "hint": explanation["hint"] or None,
        "authority": {"id": explanation["authority"], "label": label} if label is not None else None,
        **{name: explanation[name] for name in plain},
        "issuing_points": [_point(one) for one in explanation["issuing_points"]],
        "policy": explanation["policy"]
        and {_POLICY_NAMES[name]: value for name, value in explanation["policy"].items()},
    }


_POLICY_NAMES = {
    "not_found_as_good": "notFoundAsGood",
    "include_next_update": "includeNextUpdate",
    "reasons": "reasons",
    "expired_crl": "expiredCRL",
    "extended_revoke": "extendedRevoke",
    "issued_serials_known": "issuedSerialsKnown",
    "expected_scopes": "expectedScopes",
    "by_name": "byName",
}


def _point(point: Mapping[str, Any]) -> dict[str, object]:
    base, delta, entry = point["base"], point["delta"] or {}, point["entry"]
    return {
        "scope": point["scope"],
        "relied_upon": point["relied_upon"],
        "expired": point["expired"],
        "sequence": point["sequence"],
        "crl_number": base["crl_number"],
        "crl_sha256": base["sha256"],
        "delta_number": delta.get("crl_number"),
        "delta_sha256": delta.get("sha256"),
        **{name: point[name] for name in ("this_update", "next_update", "accepted_at")},
        "origin": point["origin"] or None,
        "lower_number_reason": point["lower_number_reason"] or None,
        "entries": point["entries"],
        "entry": entry and f"revoked {entry['revoked_at']}, {entry['reason']}",
        "invalidity_date": entry and entry["invalidity_date"],
    }


def _show(facts: dict[str, object], json_output: bool) -> None:
    if json_output:
        output.as_json(facts)
        return
    points, policy, authority = facts.pop("issuing_points"), facts.pop("policy"), facts["authority"]
    facts["authority"] = f"{authority['label']} ({authority['id']})" if isinstance(authority, dict) else None
    output.record({name: value for name, value in facts.items() if value is not None}, json_output=False)
    for number, point in enumerate(points if isinstance(points, list) else (), 1):
        output.say(f"\nissuing point {number}")
        output.record({name: value for name, value in point.items() if value is not None}, json_output=False)
    if isinstance(policy, dict):
        output.say("\npolicy")
        output.fields(policy)
