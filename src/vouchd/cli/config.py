"""`vouchd config`: the settings of an instance, looked at, explained, changed, and compared with another's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.instance import Instance, opened, reachable
from vouchd.cli.options import JsonOption
from vouchd.errors import NotFound
from vouchd.settings.cs_cfg import canonical, look_up
from vouchd.settings.keys import KnownKey

app = typer.Typer(
    name="config", no_args_is_help=True, help="The settings of an instance: CS.cfg, read, explained, changed, compared."
)
DIFFERENT = 1

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="A key of CS.cfg, such as vouchd.ee.port.")]


@app.command("list")
@reachable
def list_(
    instance: Instance,
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="Only keys or meanings that have this word.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Also those that have no line, with their defaults.")] = False,
    json_output: JsonOption = False,
) -> None:
    """List the settings that CS.cfg has a line for, or with --all every one.

    Example: vouchd config list --all audit
    """
    view = instance.call("configuration.get")
    shown = [
        one
        for one in view["settings"]
        if (one["set"] or every) and word.lower() in f"{one['key']} {one['about']}".lower()
    ]
    if json_output:
        output.as_json({**view, "settings": shown})
        return
    rows = [[one["key"], one["value"] or None, "" if one["set"] else "default"] for one in shown]
    output.table(("key", "value", ""), rows, empty="no such setting")
    for warning in view["warnings"]:
        output.note(f"warning: {warning}")
    if view["pending_restart"]:
        output.warn("the instance runs with other settings", "vouchd restart takes these on")


@app.command()
@reachable
def get(key: KeyArgument, instance: Instance) -> None:
    """Print the text that holds for a key, its line's or its default.

    Example: vouchd config get vouchd.ee.port
    """
    output.say(_setting(instance, key)["value"])


@app.command()
@reachable
def explain(key: KeyArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Tell what a key means, what it takes, what holds now and why.

    Example: vouchd config explain vouchd.clone.staleInSec
    """
    one = _setting(instance, key)
    known = _known(key)
    record = {
        "key": one["key"],
        "value": one["value"] or None,
        "from": "CS.cfg" if one["set"] else "default",
        "default": one["default"] or None,
        "accepts": one["accepts"].replace("`", ""),
        "about": one["about"].replace("`", ""),
        "shared": "by every member of a set" if known.shared else "no, each member has its own",
    }
    output.record(record, json_output=json_output)


@app.command("set")
@reachable
def set_(
    changes: Annotated[
        list[str], typer.Argument(metavar="KEY=TEXT...", help="What to write; KEY alone takes its line out.")
    ],
    instance: Instance,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, write nothing.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Have a running instance take it on.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Change settings, all or none; what an instance would not start with is refused, and nothing is changed.

    Example: vouchd config set vouchd.request.maxCertIDs=10 --dry-run
    """
    wanted: dict[str, str | None] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        wanted[key.strip()] = text.strip() if equals else None
    done = instance.call("configuration.change", body={"changes": wanted, "dry_run": dry_run})
    if json_output:
        output.as_json(done)
    elif done["diff"]:
        output.say(done["diff"].rstrip("\n"))
    else:
        output.note("it was so already: nothing was changed")
    for warning in done["warnings"]:
        output.note(f"warning: {warning}")
    if done["applied"] and restart:
        instance.call("instance.restart")
    elif done["applied"]:
        output.hint("a running instance goes by it after `vouchd restart`")


@app.command()
@reachable
def diff(
    other: Annotated[str, typer.Argument(metavar="DIR|URL", help="The other instance: folder, or URL of agent port.")],
    instance: Instance,
    other_cert: Annotated[
        Path | None,
        typer.Option("--other-cert", envvar="VOUCHD_CERT", metavar="FILE", help="Your certificate there."),
    ] = None,
    other_key: Annotated[
        Path | None,
        typer.Option("--other-key", envvar="VOUCHD_KEY", metavar="FILE", help="Its key, PEM, if elsewhere."),
    ] = None,
    other_password: Annotated[
        Path | None,
        typer.Option(
            "--other-password-file",
            envvar="VOUCHD_CERT_PASSWORD_FILE",
            metavar="FILE",
            help="Password of that PKCS #12 file or key: first line (0600).",
        ),
    ] = None,
    other_trust: Annotated[
        Path | None,
        typer.Option("--other-trust", envvar="VOUCHD_TRUST", metavar="FILE", help="The CA of that server, PEM."),
    ] = None,
    shared: Annotated[bool, typer.Option("--shared", help="Only what every member of a set has the same.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Compare the settings with those of another instance, defaults included; exit code 1 when some are different.

    Example: vouchd config diff https://ocsp2.example.org:8443 --shared
    """
    with opened(other, "", other_cert, other_key, other_trust, other_password, option="--other-cert") as second:
        ours, theirs = (_texts(one.call("configuration.get")) for one in (instance, second))
    rows = [
        {"key": key, "here": ours.get(key), "there": theirs.get(key), "shared": _known(key).shared}
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key) and (_known(key).shared or not shared)
    ]
    if json_output:
        output.as_json(rows)
    else:
        cells = [[one["key"], one["here"], one["there"], "shared" if one["shared"] else ""] for one in rows]
        output.table(("key", "here", "there", ""), cells, empty="no difference")
    if rows:
        raise typer.Exit(DIFFERENT)


def _texts(view: Mapping[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in view["settings"] if not one["inert"]}


def _known(key: str) -> KnownKey:
    """Raises: NotFound."""
    known = look_up(canonical(key))
    if known is None:
        raise NotFound(f"no setting {key[:100]!r}", hint="vouchd config list --all WORD finds it")
    return known


def _setting(instance: Instance, key: str) -> Mapping[str, Any]:
    """The setting of that key; of one whose name has a placeholder and that has no line, what it would be."""
    known, name = _known(key), canonical(key)
    for one in instance.call("configuration.get")["settings"]:
        if canonical(one["key"]) == name:
            setting: Mapping[str, Any] = one
            return setting
    text = known.kind.write(known.default)
    return {"key": key, "value": text, "default": text, "set": False, "accepts": known.accepts, "about": known.about}
