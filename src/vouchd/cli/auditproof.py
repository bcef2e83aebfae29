"""`vouchd audit verify`: the proof that the audit log is as it was written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from vouchd.wiring import instance as wiring
from vouchd.cli import output
from vouchd.cli.inputs import read_input
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.core.bundles import MAX_BUNDLE_BYTES, read_bundle
from vouchd.pkix.certs import load_certificate
from vouchd.errors import AuditLogBroken, ConfigError
from vouchd.settings.layout import Layout
from vouchd.instance.certificates.places import AUDIT_SIGNING, find
from vouchd.audit.proof import Proof, prove
from vouchd.audit.reading import AuditReader
from vouchd.audit.trust import Trust


def verify(
    log: Annotated[
        Path | None, typer.Argument(metavar="LOG", help="A log's file or folder elsewhere; default: the instance's.")
    ] = None,
    instance: InstanceOption = DEFAULT_INSTANCE,
    cert: Annotated[
        list[str] | None,
        typer.Option("--cert", metavar="FILE", help="Trust this signer, or signers of this CA; repeatable."),
    ] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Fail when a record is not signed yet.")] = False,
    expect: Annotated[
        str, typer.Option("--expect", metavar="NUMBER:HASH", help="Fail unless this record is there, as noted before.")
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Prove that the audit log is as it was written, or name the first line that is not.

    Reads the rotated files too. Trusts the instance's audit signing certificate and its CAs, or what --cert names.

    Example: vouchd audit verify copies/audit.jsonl --cert audit_signing.pem --signed
    """
    path = Layout(instance.absolute()).audit_log if log is None else log / "audit.jsonl" if log.is_dir() else log
    trusted = _given(cert) if cert or log is not None else _of_instance(Layout(instance.absolute()))
    proof = prove(path, Trust(trusted))
    output.record(_shown(proof), json_output=json_output)
    if proof.broken:
        broken = proof.broken
        raise AuditLogBroken(
            f"{broken.file}:{broken.line}: {broken.why}",
            hint="records before this line are proved; compare with a copy",
        )
    if not trusted and proof.signatures:
        output.warn(
            "whose signatures these are was not checked", "name the signer's certificate or its CA: --cert FILE"
        )
    if proof.repairs:
        numbers = ", ".join(map(str, proof.repairs[:20]))
        output.warn(f"damage at the end of the log was found when it was written on: record {numbers}")
    _check(path, proof, expect, signed=signed)


def _check(path: Path, proof: Proof, expect: str, *, signed: bool) -> None:
    if expect:
        number, _, digest = expect.partition(":")
        found = AuditReader(path).record(int(number)) if number.isdecimal() else None
        if found is None or found.hash != digest:
            raise AuditLogBroken(f"record {number[:20]} is not the one noted", hint="compare with a copy of the log")
    if not proof.unsigned:
        return
    words = f"{proof.unsigned} records, the newest, are not signed" if proof.signatures else "no record is signed"
    if signed:
        raise AuditLogBroken(words, hint="a running instance with an audit signing certificate signs within seconds")
    output.warn(words)


def _given(names: list[str] | None) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    for name in names or []:
        try:
            found += read_bundle(read_input(name, MAX_BUNDLE_BYTES))
        except ValueError as error:
            raise ConfigError(f"{name}: {error}", hint="--cert wants certificates, PEM, DER or PKCS #7") from error
    return found


def _of_instance(layout: Layout) -> list[x509.Certificate]:
    """The certificate that signs the log with those above it, and the CAs that the instance answers for."""
    with wiring.services(layout) as services:
        signer = find(services.settings, AUDIT_SIGNING)
        authorities: Iterable[bytes] = [one.certificate_der for one in services.store.authorities()]
    own = [] if signer.certificate is None else [signer.certificate, *signer.chain]
    return [*own, *map(load_certificate, authorities)]


def _shown(proof: Proof) -> dict[str, object]:
    return {
        "intact": proof.broken is None,
        "files": proof.files,
        "records": proof.records,
        "first": proof.first,
        "newest": f"{proof.head.seq}:{proof.head.hash}",
        "signatures": proof.signatures,
        "signed_through": proof.signed_through,
        "signers": list(proof.signers),
        "unsigned": proof.unsigned,
    }
