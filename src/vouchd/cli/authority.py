"""`vouchd authority`: the CAs that an instance answers for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli import bulk, output
from vouchd.cli.certificate_files import read_authorities
from vouchd.cli.instance import Instance, all_authorities, reachable
from vouchd.cli.options import STDIN, JsonOption, read_input
from vouchd.cli.serving import seconds_to_wait
from vouchd.core.facts import AuthorityPolicy, CompromisedAnswer, ExpiredCRLPolicy, ExpiredDeltaPolicy
from vouchd.errors import ConfigError, UnlistedCertificates

# The options of `vouchd authority set`; what their values mean is in policyoptions.py.

_FLAG = "true|false|default"

NotFoundAsGoodOption = Annotated[
    str | None, typer.Option(metavar=_FLAG, help="A serial that no CRL lists is good, else unknown.")
]
IncludeNextUpdateOption = Annotated[str | None, typer.Option(metavar=_FLAG, help="Answers tell the CRL's nextUpdate.")]
ReasonsOption = Annotated[str | None, typer.Option(metavar=_FLAG, help="Answers tell why a certificate was revoked.")]
ExpiredCRLOption = Annotated[
    str | None, typer.Option(metavar="tryLater|unknown|serve|default", help="Answer from a CRL past its nextUpdate.")
]
InvalidityDateOption = Annotated[
    bool | None, typer.Option("--invalidity-date/--no-invalidity-date", help="Tell the CRL entry's invalidityDate.")
]
CRLReferenceOption = Annotated[
    bool | None, typer.Option("--crl-reference/--no-crl-reference", help="Tell which CRL (RFC 6960 4.4.2).")
]
ArchiveCutoffOption = Annotated[
    str | None, typer.Option(metavar="SECONDS|default", help="Retention behind archiveCutoff (RFC 6960 4.4.4).")
]
ExtendedRevokeOption = Annotated[
    bool | None,
    typer.Option("--extended-revoke/--no-extended-revoke", help="A serial never issued is revoked (RFC 6960 4.4.8)."),
]
SignerOption = Annotated[str | None, typer.Option(metavar="NICKNAME|default", help="The signer for this CA.")]
CRLIssuerOption = Annotated[
    list[Path] | None, typer.Option(metavar="FILE|default", help="Issuer of CRLs of this CA; repeatable.")
]
ExpectedScopeOption = Annotated[
    list[str] | None, typer.Option(metavar="ID|default", help="Scopes that together cover all serials; repeatable.")
]
NamedPointOption = Annotated[
    bool | None,
    typer.Option(
        "--named-point-covers-all/--no-named-point-covers-all",
        help="The CA's only CRL names its distribution point, restricts nothing, and lists all.",
    ),
]
TrustedResponderOption = Annotated[
    bool | None,
    typer.Option(
        "--trusted-responder/--no-trusted-responder",
        help="The CA need not have issued its signer: clients trust that one by configuration.",
    ),
]
ExpiredDeltaOption = Annotated[
    str | None, typer.Option(metavar="base|expired|default", help="Answer when the delta alone is past its nextUpdate.")
]
LiveTimesOption = Annotated[
    bool | None, typer.Option("--live-times/--no-live-times", help="producedAt is the start of the current slot.")
]
LiveThisUpdateOption = Annotated[
    bool | None, typer.Option("--live-this-update/--no-live-this-update", help="With live times: thisUpdate, too.")
]
SlotOption = Annotated[str | None, typer.Option(metavar="SECONDS|default", help="How long a slot of live times is.")]
QuarantinePercentOption = Annotated[
    str | None, typer.Option(metavar="N|default", help="Hold back a CRL that loses more entries, or is odd otherwise.")
]
QuarantineEntriesOption = Annotated[
    str | None, typer.Option(metavar="N|default", help="Never hold back for so many entries or fewer.")
]
QuarantineGainsOption = Annotated[
    bool | None,
    typer.Option("--quarantine-gains/--no-quarantine-gains", help="Hold back for entries gained as for those lost."),
]
IssuedSerialsOption = Annotated[
    str | None, typer.Option(metavar="FILE|default", help="The serials issued: no other one is good; - is stdin.")
]
DecimalOption = Annotated[bool, typer.Option("--decimal", help="The issued serials are decimal, not hexadecimal.")]


# What `vouchd authority set` takes for a CA's own policy; `default` takes a setting of its own away again.

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The options as given; None: not given, that field stays as it is."""

    not_found_as_good: str | None = None
    include_next_update: str | None = None
    reasons: str | None = None
    expired_crl: str | None = None
    invalidity_date: bool | None = None
    crl_reference: bool | None = None
    archive_cutoff_seconds: str | None = None
    extended_revoke: bool | None = None
    trusted_responder: bool | None = None
    signer: str | None = None
    crl_issuers: list[Path] | None = None
    expected_scopes: list[str] | None = None
    named_point_covers_all: bool | None = None
    expired_delta: str | None = None
    live_times: bool | None = None
    live_this_update: bool | None = None
    slot_seconds: str | None = None
    quarantine_percent: str | None = None
    quarantine_entries: str | None = None
    quarantine_gains: bool | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no option was given."""
        return all(not self._is_named(field.name) for field in fields(self))

    def _is_named(self, name: str) -> bool:
        return getattr(self, name) not in (None, [])

    def as_json(self) -> dict[str, Any]:
        """The fields that were given, as the operation takes them.

        Raises: ConfigError naming the option, SigningError.
        """
        names = [field.name for field in fields(self) if self._is_named(field.name)]
        return {name: _READERS.get(name, _as_it_is)(name, getattr(self, name)) for name in names}


def _as_it_is(_: str, value: object) -> object:
    return value


def _flag(name: str, text: str) -> bool | None:
    if text not in {"true", "false", DEFAULT}:
        raise _wrong(name, f"true, false or {DEFAULT}")
    return None if text == DEFAULT else text == "true"


def _expired_crl(name: str, text: str) -> str | None:
    if text == DEFAULT:
        return None
    if text not in set(ExpiredCRLPolicy):
        raise _wrong(name, ", ".join([*ExpiredCRLPolicy, DEFAULT]))
    return text


def _seconds(name: str, text: str) -> int | None:
    if text == DEFAULT:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise _wrong(name, f"a number of seconds, or {DEFAULT} for none")
    return int(text)


def _percent(name: str, text: str) -> float | None:
    if text == DEFAULT:
        return None
    try:
        return float(text)
    except ValueError:
        raise _wrong(name, f"a percentage, or {DEFAULT} for the instance's") from None


def _expired_delta(name: str, text: str) -> str:
    if text == DEFAULT:
        return str(AuthorityPolicy().expired_delta)
    if text not in set(ExpiredDeltaPolicy):
        raise _wrong(name, ", ".join([*ExpiredDeltaPolicy, DEFAULT]))
    return text


def _entries(name: str, text: str) -> int:
    if text == DEFAULT:
        return AuthorityPolicy().quarantine_entries
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise _wrong(name, f"a number, or {DEFAULT} for none")
    return int(text)


def _nickname(_: str, text: str) -> str | None:
    return None if text == DEFAULT else text


def _scopes(_: str, scopes: list[str]) -> list[str]:
    return [] if scopes == [DEFAULT] else scopes


def _certificates(_: str, paths: list[Path]) -> list[str]:
    if paths == [Path(DEFAULT)]:
        return []
    return [one.public_bytes(Encoding.PEM).decode() for path in paths for one in read_authorities(str(path))]


def _wrong(name: str, right: str) -> ConfigError:
    option = name.removesuffix("_seconds").replace("_", "-")
    return ConfigError(f"--{option} takes {right}")


_READERS: dict[str, Any] = {
    "not_found_as_good": _flag,
    "include_next_update": _flag,
    "reasons": _flag,
    "expired_crl": _expired_crl,
    "archive_cutoff_seconds": _seconds,
    "signer": _nickname,
    "crl_issuers": _certificates,
    "expected_scopes": _scopes,
    "expired_delta": _expired_delta,
    "slot_seconds": _seconds,
    "quarantine_percent": _percent,
    "quarantine_entries": _entries,
}


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
def set_(
    reference: ReferenceArgument,
    instance: Instance,
    not_found_as_good: NotFoundAsGoodOption = None,
    include_next_update: IncludeNextUpdateOption = None,
    reasons: ReasonsOption = None,
    expired_crl: ExpiredCRLOption = None,
    invalidity_date: InvalidityDateOption = None,
    crl_reference: CRLReferenceOption = None,
    archive_cutoff: ArchiveCutoffOption = None,
    extended_revoke: ExtendedRevokeOption = None,
    signer: SignerOption = None,
    trusted_responder: TrustedResponderOption = None,
    crl_issuer: CRLIssuerOption = None,
    expected_scope: ExpectedScopeOption = None,
    named_point_covers_all: NamedPointOption = None,
    expired_delta: ExpiredDeltaOption = None,
    live_times: LiveTimesOption = None,
    live_this_update: LiveThisUpdateOption = None,
    slot: SlotOption = None,
    quarantine_percent: QuarantinePercentOption = None,
    quarantine_entries: QuarantineEntriesOption = None,
    quarantine_gains: QuarantineGainsOption = None,
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
    change = PolicyChange(
        not_found_as_good=not_found_as_good,
        include_next_update=include_next_update,
        reasons=reasons,
        expired_crl=expired_crl,
        invalidity_date=invalidity_date,
        crl_reference=crl_reference,
        archive_cutoff_seconds=archive_cutoff,
        extended_revoke=extended_revoke,
        signer=signer,
        trusted_responder=trusted_responder,
        crl_issuers=crl_issuer,
        expected_scopes=expected_scope,
        named_point_covers_all=named_point_covers_all,
        expired_delta=expired_delta,
        live_times=live_times,
        live_this_update=live_this_update,
        slot_seconds=slot,
        quarantine_percent=quarantine_percent,
        quarantine_entries=quarantine_entries,
        quarantine_gains=quarantine_gains,
    ).as_json()
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
