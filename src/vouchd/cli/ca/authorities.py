"""`vouchd ca add`, `list`, `remove` and `set`: the CAs that an instance answers for."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cli import output, remote, serving, told
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_input
from vouchd.client.admin import AdminClient
from vouchd.core.facts import Authority, AuthorityPolicy, ExpiredCRLPolicy, ExpiredDeltaPolicy
from vouchd.core.records import policy_record
from vouchd.errors import ConfigError
from vouchd.service.authorities import MAX_CERTIFICATE_BYTES, AuthoritySummary
from vouchd.settings.layout import Layout
from vouchd.signing.certificates import read_certificates
from vouchd.wiring import instance as wiring
from vouchd.wiring.instance import Services

# The options of `vouchd ca set`; what their values mean is in policyoptions.py.

_FLAG = "true|false|default"

NotFoundAsGoodOption = Annotated[
    str | None, typer.Option(metavar=_FLAG, help="A serial that no CRL lists is good, else unknown.")
]
IncludeNextUpdateOption = Annotated[str | None, typer.Option(metavar=_FLAG, help="Answers tell the CRL's nextUpdate.")]
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


# What `vouchd ca set` takes for a CA's own policy; `default` takes a setting of its own away again.

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The options as given; None: not given, that field stays as it is."""

    not_found_as_good: str | None = None
    include_next_update: str | None = None
    expired_crl: str | None = None
    invalidity_date: bool | None = None
    crl_reference: bool | None = None
    archive_cutoff_seconds: str | None = None
    extended_revoke: bool | None = None
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
        return all(not self._given(field.name) for field in fields(self))

    def _given(self, name: str) -> bool:
        return getattr(self, name) not in (None, [])

    def applied_to(self, policy: AuthorityPolicy) -> AuthorityPolicy:
        """The policy with this change. Raises: ConfigError naming the option, SigningError."""
        return replace(policy, **self._changed())

    def as_json(self) -> dict[str, Any]:
        """The change as the REST API takes it. Raises: likewise."""
        changed = self._changed()
        if "crl_issuers" in changed:
            changed["crl_issuers"] = [base64.b64encode(der).decode() for der in changed["crl_issuers"]]
        return changed

    def _changed(self) -> dict[str, Any]:
        """The fields that were given, with their new values."""
        names = [field.name for field in fields(self) if self._given(field.name)]
        return {name: _READERS.get(name, _as_it_is)(name, getattr(self, name)) for name in names}


def _as_it_is(_: str, value: object) -> object:
    return value


def _flag(name: str, text: str) -> bool | None:
    if text not in {"true", "false", DEFAULT}:
        raise _wrong(name, f"true, false or {DEFAULT}")
    return None if text == DEFAULT else text == "true"


def _expired_crl(name: str, text: str) -> ExpiredCRLPolicy | None:
    if text == DEFAULT:
        return None
    try:
        return ExpiredCRLPolicy(text)
    except ValueError:
        raise _wrong(name, ", ".join([*ExpiredCRLPolicy, DEFAULT])) from None


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


def _expired_delta(name: str, text: str) -> ExpiredDeltaPolicy:
    if text == DEFAULT:
        return AuthorityPolicy().expired_delta
    try:
        return ExpiredDeltaPolicy(text)
    except ValueError:
        raise _wrong(name, ", ".join([*ExpiredDeltaPolicy, DEFAULT])) from None


def _entries(name: str, text: str) -> int:
    if text == DEFAULT:
        return AuthorityPolicy().quarantine_entries
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise _wrong(name, f"a number, or {DEFAULT} for none")
    return int(text)


def _nickname(_: str, text: str) -> str | None:
    return None if text == DEFAULT else text


def _scopes(_: str, scopes: list[str]) -> tuple[str, ...]:
    return () if scopes == [DEFAULT] else tuple(scopes)


def _certificates(_: str, paths: list[Path]) -> tuple[bytes, ...]:
    if paths == [Path(DEFAULT)]:
        return ()
    return tuple(found.public_bytes(Encoding.DER) for path in paths for found in read_certificates(path))


def _wrong(name: str, right: str) -> ConfigError:
    option = name.removesuffix("_seconds").replace("_", "-")
    return ConfigError(f"--{option} takes {right}")


_READERS: dict[str, Any] = {
    "not_found_as_good": _flag,
    "include_next_update": _flag,
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

ReferenceArgument = Annotated[
    str, typer.Argument(metavar="CA", help="Its label, its subject, or the first 8 or more digits of its id.")
]


def register(app: typer.Typer) -> None:
    """Mount these verbs on the group `ca`."""
    app.command("add")(add)
    app.command("list")(list_)
    app.command("remove")(remove)
    app.command("set")(set_)


@remote.reachable
def add(
    certificates: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="CA certificates, PEM or DER; - is stdin.")
    ],
    instance: InstanceOption = DEFAULT_INSTANCE,
    label: Annotated[str, typer.Option("--label", help="What it is called; default: its subject.")] = "",
    signer: Annotated[
        str, typer.Option("--signer", metavar="NICKNAME", help="The signer for this CA; default: the default signer.")
    ] = "",
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Answer for a CA from now on; its CRL comes with `vouchd crl add` or a source.

    Example: vouchd ca add root.pem --label "Example Root"
    """
    if label and len(certificates) > 1:
        raise ConfigError("one label for several CAs", hint="add them one by one")
    if asked:
        output.records([_add_there(asked, name, label, signer) for name in certificates], json_output=json_output)
        return
    with wiring.services(Layout(instance.absolute())) as services, serving.authorities_changed(services):
        added = [_add(services, name, label, signer) for name in certificates]
    output.records([_short(authority) for authority in added], json_output=json_output)


def _add_there(asked: AdminClient, name: str, label: str, signer: str) -> dict[str, object]:
    """Add the CA in the file `name` over the agent port."""
    data = read_input(name, MAX_CERTIFICATE_BYTES)
    text = data.decode("ascii", "replace") if b"-----BEGIN" in data else base64.b64encode(data).decode()
    found = asked.post("authorities", body={"certificate": text, "label": label})
    if signer:
        asked.patch("authorities", found["id"], "policy", body={"signer": signer})
    return {"label": found["label"], "id": found["id"]}


def _add(services: Services, name: str, label: str, signer: str) -> Authority:
    """Add the CA in the file `name` if a signer may answer for it."""
    data = read_input(name, MAX_CERTIFICATE_BYTES)
    draft = services.authorities.draft(data, label=label)
    wished = replace(draft.policy, signer=signer) if signer else draft.policy
    for doubt in services.check_signer(replace(draft, policy=wished)):
        output.warn(doubt)
    authority = services.authorities.add(data, services.caller, label=label)
    if wished != authority.policy:
        authority = services.authorities.set_policy(authority.id, wished, services.caller)
    return authority


@remote.reachable
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """List the CAs that are answered for, with the state of their CRLs.

    Example: vouchd ca list --json
    """
    empty = "no CA is answered for; add one with `vouchd ca add CA.pem`"
    if asked:
        found = asked.get("authorities")
        if json_output:
            output.as_json([told.authority_fields(one) for one in found])
            return
        output.records([told.authority_row(one, SHORT_ID) for one in found], json_output=False, empty=empty)
        return
    with wiring.services(Layout(instance.absolute())) as services:
        summaries = services.authorities.summaries(services.caller)
    if json_output:
        output.as_json([_full(summary) for summary in summaries])
        return
    output.records([_row(summary) for summary in summaries], json_output=False, empty=empty)


@remote.reachable
def remove(
    reference: ReferenceArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Answer for a CA no longer and forget its CRLs; their highest number stays known.

    Example: vouchd ca remove "Example Root"
    """
    if asked:
        found = asked.get("authorities", reference)
        asked.delete("authorities", found["id"])
        output.record({"label": found["label"], "id": found["id"]}, json_output=json_output)
        return
    with wiring.services(Layout(instance.absolute())) as services, serving.authorities_changed(services):
        removed = services.authorities.remove(reference, services.caller)
    output.record(_short(removed), json_output=json_output)


@remote.reachable
def set_(
    reference: ReferenceArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    not_found_as_good: NotFoundAsGoodOption = None,
    include_next_update: IncludeNextUpdateOption = None,
    expired_crl: ExpiredCRLOption = None,
    invalidity_date: InvalidityDateOption = None,
    crl_reference: CRLReferenceOption = None,
    archive_cutoff: ArchiveCutoffOption = None,
    extended_revoke: ExtendedRevokeOption = None,
    signer: SignerOption = None,
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
    asked: remote.Asked = None,
    json_output: JsonOption = False,
) -> None:
    """Set how a CA is answered for, where it differs from CS.cfg; without options show it.

    Example: vouchd ca set "Example Root" --not-found-as-good false --invalidity-date
    """
    change = PolicyChange(
        not_found_as_good=not_found_as_good,
        include_next_update=include_next_update,
        expired_crl=expired_crl,
        invalidity_date=invalidity_date,
        crl_reference=crl_reference,
        archive_cutoff_seconds=archive_cutoff,
        extended_revoke=extended_revoke,
        signer=signer,
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
    )
    if asked:
        _show(_changed_there(asked, reference, change, issued_serials, decimal=decimal), json_output)
        return
    with wiring.services(Layout(instance.absolute())) as services:
        authority = services.authorities.find(reference)
        if not change.is_empty or issued_serials is not None:
            with serving.authorities_changed(services):
                authority = _changed(services, authority, change, issued_serials, radix=10 if decimal else 16)
    _show(authority, json_output)


def _changed(
    services: Services, authority: Authority, change: PolicyChange, issued_serials: str | None, *, radix: int
) -> Authority:
    """The authority after the changes asked for."""
    if not change.is_empty:
        policy = change.applied_to(authority.policy)
        for doubt in services.check_signer(replace(authority, policy=policy)):
            output.warn(doubt)
        authority = services.authorities.set_policy(authority.id, policy, services.caller)
    if issued_serials is not None:
        serials = None if issued_serials == DEFAULT else read_input(issued_serials, MAX_SERIALS_BYTES)
        authority = services.authorities.set_issued_serials(authority.id, serials, services.caller, radix=radix)
    return authority


def _changed_there(
    asked: AdminClient, reference: str, change: PolicyChange, issued_serials: str | None, *, decimal: bool
) -> Authority:
    """The same over the agent port."""
    found = asked.get("authorities", reference)
    if not change.is_empty:
        found = asked.patch("authorities", found["id"], "policy", body=change.as_json())
    if issued_serials == DEFAULT:
        asked.delete("authorities", found["id"], "issued-serials")
        found = asked.get("authorities", found["id"])
    elif issued_serials is not None:
        data = bytes(read_input(issued_serials, MAX_SERIALS_BYTES))
        path, query = ("authorities", found["id"], "issued-serials"), {} if decimal else {"hexadecimal": "true"}
        found = asked.upload(*path, data=data, media_type="text/plain", method="PUT", **query)
    return told.authority(found)


def _show(authority: Authority, json_output: bool) -> None:
    policy = policy_record(authority.policy)
    if json_output:
        output.as_json({"id": authority.id, "label": authority.label, "policy": policy})
        return
    policy["crl_issuers"] = f"{len(authority.policy.crl_issuers)} certificates"
    policy["expected_scopes"] = ", ".join(authority.policy.expected_scopes) or None
    output.fields({"label": authority.label, "id": authority.id, **policy})


def _short(authority: Authority) -> dict[str, object]:
    return {"label": authority.label, "id": authority.id}


def _row(summary: AuthoritySummary) -> dict[str, object]:
    updates = [epoch.next_update for epoch in summary.epochs if epoch.next_update is not None]
    return {
        "label": summary.authority.label,
        "id": summary.authority.id[:SHORT_ID],
        "CRLs": len(summary.epochs),
        "revoked": summary.entry_count,
        "next_update": output.when(min(updates, default=None)),
        "quarantined": len(summary.quarantined),
        "CA_not_after": output.when(summary.not_after),
    }


def _full(summary: AuthoritySummary) -> dict[str, object]:
    return {
        **_row(summary),
        "id": summary.authority.id,
        "subject": summary.subject,
        "policy": policy_record(summary.authority.policy),
    }
