"""`vouchd explain`: from which CRL, entry and policy the answer for one serial comes, and who signs it.

It reads the facts that the workers answer from and asks the same decision, so it tells what a client is told now; it
works on a stopped instance too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli import output, remote, told
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.cli.query import certificate_der, serial_octets
from vouchd.client.inquiry import serial_of
from vouchd.clock import SystemClock
from vouchd.core.facts import Authority, Epoch
from vouchd.core.status import ServingState
from vouchd.errors import ConfigError
from vouchd.index.manifest import load_manifest
from vouchd.index.serving import open_state
from vouchd.instance import lifecycle
from vouchd.pkix import certs
from vouchd.pkix.reasons import reason_text
from vouchd.service.authorities import Authorities
from vouchd.service.explaining import ExaminedPoint, Explanation, Signers
from vouchd.service.explaining import explain as explain_serial
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.signing.certificates import read_certificates
from vouchd.wiring import instance as wiring


@remote.reachable
def explain(
    certificate: Annotated[
        Path | None, typer.Argument(metavar="[CERT]", help="Certificate to explain, PEM or DER; needs --issuer.")
    ] = None,
    *,
    instance: InstanceOption = DEFAULT_INSTANCE,
    issuer: Annotated[
        Path | None, typer.Option("--issuer", metavar="FILE", help="Certificate of the CA that issued it.")
    ] = None,
    authority: Annotated[
        str, typer.Option("--authority", metavar="CA", help="Instead of --issuer: its label, or digits of its id.")
    ] = "",
    serial: Annotated[str, typer.Option("--serial", "-s", metavar="HEX", help="Instead of a certificate.")] = "",
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Tell why a certificate is answered as it is: CRL, entry, policy and signer.

    Example: vouchd explain --issuer ca.crt --serial 0x52a1c7
    """
    octets = _serial(certificate, issuer, serial)
    if asked:
        named = _issuer_id(issuer, authority)
        found = asked.get("authorities", named, "certificates", output.serial_text(octets))
        _show(told.explanation(found), json_output)
        return
    with wiring.services(Layout(instance.absolute())) as found:
        state = open_state(found.indexing.prepare(), found.layout.index)  # as the workers will
        explanation = explain_serial(
            state,
            found.settings.responder,
            _signers(found.settings),
            authority_id=_authority_id(found.authorities, issuer, authority),
            serial=octets,
            at=SystemClock().now(),
        )
        if lifecycle.status(found.layout).pid and not _is_served(state, found.layout):
            output.warn("the store holds changes that are not served yet", "look at: vouchd status")
    _show(_facts(explanation), json_output)


def _authority_id(authorities: Authorities, issuer: Path | None, reference: str) -> str:
    """The id of the CA that the options name. Raises: ConfigError, NotFound."""
    named = _issuer_id(issuer, reference)
    return named if issuer is not None else authorities.find(named).id


def _issuer_id(issuer: Path | None, reference: str) -> str:
    """The id of the CA in the file, else the reference. Raises: ConfigError."""
    if issuer is not None:
        return certs.authority_id(certs.load_certificate(certificate_der(issuer)))
    if not reference:
        raise ConfigError("a serial number means nothing without its CA", hint="give --issuer FILE or --authority CA")
    return reference


def _is_served(state: ServingState, layout: Layout) -> bool:
    """Whether the manifest of the running instance says the same. Raises: IndexFileError."""
    served = load_manifest(layout.index)
    return _told(served) == _told(state)


def _told(state: ServingState) -> tuple[set[Authority], set[Epoch]]:
    epochs = {point.epoch for one in state.authorities for point in one.points}
    return {one.authority for one in state.authorities}, epochs


def _serial(certificate: Path | None, issuer: Path | None, serial: str) -> bytes:
    if serial:
        return serial_octets(serial)
    if certificate is None:
        raise ConfigError("nothing to explain", hint="give a certificate file, or --serial HEX")
    if issuer is None:
        parsed = certs.load_certificate(certificate_der(certificate))
        return certs.serial_octets(parsed)
    return serial_of(certificate_der(certificate), certificate_der(issuer))


def _signers(settings: Settings) -> Signers:
    """The certificates of the signers that are ready; the keys stay where they are."""
    ready = {one.nickname: one.certificate_file for one in settings.signers if one.certificate_file.exists()}
    return Signers(
        {nickname: read_certificates(path)[0].public_bytes(Encoding.DER) for nickname, path in ready.items()},
        settings.default_signer,
    )


def _facts(explanation: Explanation) -> dict[str, object]:
    authority, decision = explanation.authority, explanation.decision
    return {
        "serial": output.serial_text(explanation.serial),
        "answer": explanation.answer,
        "why": explanation.why,
        "hint": explanation.hint or None,
        "authority": authority and {"id": authority.id, "label": authority.label},
        "revoked_at": output.when(decision.entry.revocation_time) if decision and decision.entry else None,
        "reason": reason_text(decision.entry.reason) if decision and decision.entry else None,
        "this_update": output.when(decision.this_update) if decision else None,
        "next_update": output.when(decision.next_update) if decision else None,
        "produced_at": output.when(decision.produced_at) if decision else None,
        "signer": explanation.signer,
        "issuing_points": [_point(one) for one in explanation.points],
        "policy": explanation.policy and _policy(explanation),
    }


def _point(examined: ExaminedPoint) -> dict[str, object]:
    epoch, entry = examined.point.epoch, examined.entry
    return {
        "scope": epoch.issuing_point.scope_id,
        "relied_upon": examined.relied_upon,
        "expired": examined.stale,
        "sequence": epoch.sequence,
        "crl_number": epoch.base.crl_number,
        "crl_sha256": epoch.base.sha256,
        "delta_number": epoch.delta.crl_number if epoch.delta else None,
        "delta_sha256": epoch.delta.sha256 if epoch.delta else None,
        "this_update": output.when(epoch.this_update),
        "next_update": output.when(epoch.next_update),
        "accepted_at": output.when(epoch.accepted_at),
        "origin": epoch.origin or None,
        "entries": len(examined.point.index),
        "entry": entry and f"revoked {output.when(entry.revocation_time)}, {reason_text(entry.reason)}",
        "invalidity_date": output.when(entry.invalidity_date) if entry else None,
    }


def _policy(explanation: Explanation) -> dict[str, object]:
    policy = explanation.policy
    return (
        {
            "notFoundAsGood": policy.not_found_as_good,
            "includeNextUpdate": policy.include_next_update,
            "expiredCRL": policy.expired_crl,
            "extendedRevoke": policy.extended_revoke,
            "issuedSerialsKnown": policy.issued_serials_known,
            "expectedScopes": list(policy.expected_scopes),
            "byName": policy.by_name,
        }
        if policy
        else {}
    )


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
