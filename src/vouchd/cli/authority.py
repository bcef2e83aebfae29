"""`vouchd authority`: the CAs that an instance answers for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli import bulk, output
from vouchd.cli.certificate_files import read_authorities
from vouchd.cli.instance import Instance, all_authorities, reachable
from vouchd.cli.options import STDIN, JsonOption, read_input, spread
from vouchd.cli.policy_options import DEFAULT, PolicyChange
from vouchd.cli.serving import seconds_to_wait
from vouchd.core.facts import CompromisedAnswer
from vouchd.errors import ConfigError, UnlistedCertificates

IssuedSerialsOption = Annotated[
    str | None, typer.Option(metavar="FILE|default", help="The serials issued: no other one is good; - is stdin.")
]
DecimalOption = Annotated[bool, typer.Option("--decimal", help="The issued serials are decimal, not hexadecimal.")]

MAX_SERIALS_BYTES = 1 << 30
SHORT_ID = 16

Shape = Mapping[str, Any]  # as the operations give it

ReferenceArgument = Annotated[
    str, typer.Argument(metavar="CA", help="Its label, its subject, or the first 8 or more digits of its id.")
]


@reachable
def add(
    instance: Instance,
    certificates: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="CA certificates, or bundles of them; - is stdin.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Add the CAs of all files of a folder, as few changes.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="What it is called; default: its subject.")] = "",
    signer: Annotated[
        str, typer.Option("--signer", metavar="NICKNAME", help="The signer for this CA; default: the default signer.")
    ] = "",
    new_signer: Annotated[
        str,
        typer.Option(
            "--new-signer", metavar="NICKNAME", help="A signer of its own: its key is made, and requested for."
        ),
    ] = "",
    trusted_responder: Annotated[
        bool,
        typer.Option(
            "--trusted-responder", help="The CA need not have issued the signer: clients are set to trust it."
        ),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Answer for a CA from now on; its CRL comes with `vouchd crl add` or a source.

    With --from a file that fails is told of and costs itself alone; the exit code is that of the first one. It may be
    done again: what is there already is left as it is.

    Example: vouchd authority add root.pem --label "Example Root"
    """
    if bool(certificates) == bool(folder):
        raise ConfigError("name either files or a folder", hint="vouchd authority add FILE..., or --from DIR")
    if folder is not None:
        if label or new_signer:
            raise ConfigError("one label or new signer for several CAs", hint="add that CA by itself")
        named = {"signer": signer} if signer else {}
        _add_folder(instance, folder, {**named, **_trusting(trusted_responder)}, json_output=json_output)
    else:
        more = _trusting(trusted_responder)
        _add_files(instance, certificates or [], label, signer, new_signer, more, json_output=json_output)


def _trusting(trusted: bool) -> dict[str, object]:
    return {"trusted_responder": True} if trusted else {}


def _add_files(
    instance: Instance,
    files: list[str],
    label: str,
    signer: str,
    new_signer: str,
    more: Mapping[str, object],
    *,
    json_output: bool,
) -> None:
    rows = []
    authorities = [one for name in files for one in read_authorities(name)]
    if label and len(authorities) > 1:
        raise ConfigError("one label for several CAs", hint="add them one by one")
    if new_signer:
        if signer:
            raise ConfigError("--signer and --new-signer exclude each other", hint="give one of them")
        made = instance.call("signers.add", body={"nickname": new_signer})
        signer = new_signer
    for authority in authorities:
        pem = authority.public_bytes(Encoding.PEM).decode()
        body: dict[str, object] = {"certificate": pem, "label": label, "signer": signer, **more}
        added = instance.call(
            "authorities.add", body={key: value for key, value in body.items() if value}, wait=seconds_to_wait(True)
        )
        for doubt in added["doubts"]:
            output.warn(doubt)
        output.effect(added["label"], added["changes"])
        rows.append(_short(added))
    output.records(rows, json_output=json_output)
    if new_signer:
        if not json_output:
            output.say(made["versions"][-1]["request"].rstrip("\n"))
        output.hint(
            f"the CA is answered tryLater until it has certified this request: vouchd signer install {new_signer} FILE"
        )


def _add_folder(instance: Instance, folder: Path, more: Mapping[str, object], *, json_output: bool) -> None:
    files = bulk.files_of(folder)
    tally = bulk.Tally(len(files))

    def read(file: Path) -> list[tuple[dict[str, object], int]]:
        texts = [one.public_bytes(Encoding.PEM).decode() for one in read_authorities(str(file))]
        return [({"certificate": text, **more}, len(text)) for text in texts]

    done = 0
    for batch, last in bulk.batches(bulk.read_all(files, read, tally)):
        body = {"authorities": [item.body for item in batch]}
        answers = instance.call("authorities.add_all", body=body, wait=seconds_to_wait(last))
        for item, answer in zip(batch, answers, strict=True):
            if bulk.judged(item, answer["problem"], tally):
                tally.new += bool(answer["changes"])
                tally.unchanged += not answer["changes"]
        done += len(batch)
        bulk.progress(done, "CAs")
    tally.finish(json_output=json_output)


@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the CAs that are answered for, with the state of their CRLs.

    Example: vouchd authority list --json
    """
    authorities = list(all_authorities(instance))
    if json_output:
        output.as_json([_full(one) for one in authorities])
        return
    empty = "no CA is answered for; add one with `vouchd authority add CA.pem`"
    output.records([_row(one, SHORT_ID) for one in authorities], json_output=False, empty=empty)


@reachable
def remove(
    reference: ReferenceArgument,
    instance: Instance,
    certificate: Annotated[
        str,
        typer.Option("--certificate", metavar="SHA256", help="Only this certificate, out of its history."),
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Answer for a CA no longer and forget its CRLs; their highest number stays known.

    Example: vouchd authority remove "Example Root"
    """
    authority = instance.call("authorities.get", reference)
    if certificate:
        left = instance.call("authorities.remove_certificate", authority["id"], certificate, wait=seconds_to_wait(True))
        output.record(_short(left), json_output=json_output)
        return
    instance.call("authorities.remove", authority["id"], wait=seconds_to_wait(True))
    output.record(_short(authority), json_output=json_output)


@reachable
@spread
def set_(
    reference: ReferenceArgument,
    instance: Instance,
    *,
    policy: PolicyChange,
    issued_serials: IssuedSerialsOption = None,
    decimal: DecimalOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask about a list that lacks our own certificates.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Set how a CA is answered for, where it differs from CS.cfg; without options show it.

    Example: vouchd authority set "Example Root" --not-found-as-good false --invalidity-date
    """
    change = policy.as_json()
    authority, wait = instance.call("authorities.get", reference), seconds_to_wait(True)
    if change:
        authority = instance.call("authorities.set_policy", authority["id"], body=change, wait=wait)
        output.effect(authority["label"], authority["changes"])
        for doubt in authority["doubts"]:
            output.warn(doubt)
    if issued_serials == DEFAULT and authority["policy"]["issued_serials"] is None:
        output.effect(authority["label"], ())
    elif issued_serials == DEFAULT:
        instance.call("authorities.drop_issued_serials", authority["id"], wait=wait)
        authority = instance.call("authorities.get", authority["id"])
    elif issued_serials is not None:
        authority = _set_serials(instance, authority["id"], issued_serials, {"hexadecimal": not decimal}, yes=yes)
        output.effect(authority["label"], authority["changes"])
        for doubt in authority["doubts"]:
            output.warn(doubt)
    _show(authority, json_output)


def _set_serials(instance: Instance, authority_id: str, file: str, query: dict[str, Any], *, yes: bool) -> Shape:
    """Take the list; one that lacks certificates of the set only when that is wanted. Raises: VouchdError."""
    serials, wait = bytes(read_input(file, MAX_SERIALS_BYTES)), seconds_to_wait(True)
    name = "authorities.set_issued_serials"
    try:
        taken: Shape = instance.call(name, authority_id, body=serials, unlisted=yes, wait=wait, **query)
    except UnlistedCertificates as error:
        if file == STDIN or not sys.stdin.isatty():
            raise
        output.warn(f"{error}")
        if not typer.confirm("take the list all the same?", err=True):
            raise typer.Exit(1) from error
        taken = instance.call(name, authority_id, body=serials, unlisted=True, wait=wait, **query)
    return taken


def _show(authority: Shape, json_output: bool) -> None:
    policy = _policy(authority)
    if json_output:
        output.as_json({"id": authority["id"], "label": authority["label"], "policy": policy})
        return
    policy["crl_issuers"] = f"{len(authority['policy']['crl_issuers'])} certificates"
    policy["expected_scopes"] = ", ".join(authority["policy"]["expected_scopes"]) or None
    output.fields({"label": authority["label"], "id": authority["id"], **policy})


def _policy(authority: Shape) -> dict[str, object]:
    """The CA's own policy; certificates as base64 of their DER."""
    issuers = ["".join(one.splitlines()[1:-1]) for one in authority["policy"]["crl_issuers"]]
    return {**authority["policy"], "crl_issuers": issuers}


def _short(authority: Shape) -> dict[str, object]:
    return {"label": authority["label"], "id": authority["id"]}


def _row(authority: Shape, digits: int) -> dict[str, object]:
    updates = [point["next_update"] for point in authority["issuing_points"] if point["next_update"]]
    return {
        "label": authority["label"],
        "id": authority["id"][:digits],
        "CRLs": len(authority["issuing_points"]),
        "revoked": authority["entries"],
        "next_update": min(updates, default=None),
        "quarantined": len(authority["quarantined"]),
        "CA_not_after": authority["not_after"],
        "notes": _notes(authority["policy"]) or None,
    }


def _notes(policy: Shape) -> str:
    """What is out of the ordinary about how a CA is answered for."""
    notes = ["trusted responder"] if policy["trusted_responder"] else []
    if policy["compromised_at"]:
        notes.append(f"compromised since {policy['compromised_at']}: {policy['compromised_answer']}")
    return "; ".join(notes)


def _full(authority: Shape) -> dict[str, object]:
    known = {name: authority[name] for name in ("history", "retired_scopes")}
    return {
        **_row(authority, len(authority["id"])),
        **known,
        "subject": authority["subject"],
        "policy": _policy(authority),
    }


@reachable
def compromised(
    reference: ReferenceArgument,
    instance: Instance,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Since when, such as 2026-11-24T05:41:44Z; default: now.")
    ] = "",
    answer: Annotated[
        str,
        typer.Option(
            "--answer", metavar="revoked|tryLater", help="All it issued is revoked, cACompromise; or tryLater."
        ),
    ] = str(CompromisedAnswer.REVOKED),
    withdraw: Annotated[bool, typer.Option("--withdraw", help="It is not: take the declaration back.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Declare a CA compromised or ended: all that it issued is answered revoked since then. Audited.

    Example: vouchd authority compromised "Example Root" --since 2026-11-24T05:41:44Z
    """
    authority, wait = instance.call("authorities.get", reference), seconds_to_wait(True)
    if withdraw:
        if since:
            raise ConfigError("--withdraw and --since exclude each other", hint="give one of them")
        done = instance.call("authorities.not_compromised", authority["id"], wait=wait)
    else:
        body = {"answer": answer} | ({"since": since} if since else {})
        done = instance.call("authorities.compromised", authority["id"], body=body, wait=wait)
    output.effect(done["label"], done["changes"])
    output.record({**_short(done), "notes": _notes(done["policy"]) or None}, json_output=json_output)


app = typer.Typer(name="authority", no_args_is_help=True, help="The CAs that an instance answers for.")
VERBS = {"add": add, "list": list_, "remove": remove, "set": set_, "compromised": compromised}
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)


def register(group: typer.Typer) -> None:
    """Mount the verbs on the group of the certificate manager, where they were once: the old spelling goes on."""
    for name, verb in VERBS.items():
        group.command(name, hidden=True)(verb)
