"""`vouchd import`: take the place of another program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.new_instance import PortOptions
from vouchd.cli.options import (
    DEFAULT_INSTANCE,
    DirectoryPasswordOption,
    DirectoryStartTLSOption,
    DirectoryTrustOption,
    InstanceOption,
    JsonOption,
    read_password,
    spread,
)
from vouchd.cli.progress import working
from vouchd.cloning.adoption import OtherDirectory
from vouchd.directory.connection import server_of
from vouchd.directory.dse import ROOT_DN
from vouchd.migration.findings import Finding, Verdict, exit_code, of
from vouchd.migration.importing import CertificateSystemImport, Imported, ImportPlan, take_audit_log
from vouchd.settings.layout import Layout
from vouchd.wiring import services as wiring

app = typer.Typer(name="import", no_args_is_help=True, help="Take the place of another program: all that it has, here.")

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="Its CS.cfg.")]
KeysOption = Annotated[
    Path,
    typer.Option("--pkcs12", metavar="FILE", help="Its keys, as pki-server ocsp-clone-prepare writes them (0600)."),
]
KeysPasswordOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="The password of that file (0600).")
]
URLOption = Annotated[
    str,
    typer.Option("--directory", metavar="URL", help="Its internal database: ldap[s]://HOST:PORT/SUFFIX; only read."),
]
BindOption = Annotated[str, typer.Option("--bind", metavar="DN", help="Who reads there.")]
TrustedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-responder",
        metavar="SUBJECT",
        help="A CA that need not have issued the signer: its clients are set to trust it; repeatable.",
    ),
]
AuditLogOption = Annotated[
    list[Path] | None,
    typer.Option("--audit-log", metavar="FILE|DIR", help="Its signed audit log, kept beside ours; repeatable."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Build it elsewhere, tell all, and throw it away.")]
CAOption = Annotated[
    Path | None,
    typer.Option("--ca", metavar="DIR", help="Our own CA certifies the TLS server, if its key is not there."),
]


@app.callback()
def _group() -> None:
    """Have the group be one, also while it has one verb."""


@app.command()
@spread
def dogtag(
    config: ConfigOption,
    pkcs12: KeysOption,
    directory: URLOption,
    instance: InstanceOption = DEFAULT_INSTANCE,
    password_file: KeysPasswordOption = None,
    starttls: DirectoryStartTLSOption = False,
    directory_trust: DirectoryTrustOption = None,
    bind: BindOption = ROOT_DN,
    directory_password_file: DirectoryPasswordOption = None,
    trusted_responder: TrustedOption = None,
    audit_log: AuditLogOption = None,
    ca: CAOption = None,
    *,
    ports: PortOptions,
    dry_run: DryRunOption = False,
    json_output: JsonOption = False,
) -> None:
    """Make an instance of a Certificate System's OCSP manager: settings, keys, CAs with their CRLs, users.

    Every line of its CS.cfg, key, CA and user is in one of three lists: taken over and with what effect, without
    effect, not possible and why. The Certificate System is only read and goes on. Ports are taken over too. The exit
    code is that of the first thing that was refused.

    Example: vouchd import dogtag --config CS.cfg --pkcs12 ocsp.p12 --directory ldap://ds.example.com/o=ocsp --dry-run
    """
    server = server_of(directory, start_tls=starttls)
    plan = ImportPlan(
        root=instance.absolute(),
        config=config,
        pkcs12=pkcs12,
        pkcs12_password=read_password(password_file, pkcs12),
        directory=OtherDirectory(server, bind, read_password(directory_password_file, Path(bind)), directory_trust),
        trusted=tuple(trusted_responder or ()),
        audit_log=tuple(audit_log or ()),
        values=ports.lines(),
        hosts=tuple(ports.hostname or ()),
        ca=ca,
    )

    work = CertificateSystemImport(plan, wiring.services)
    with working("read the Certificate System", shown=not json_output):
        done = work.rehearse() if dry_run else work.run()
    _show(done, dry_run=dry_run, json_output=json_output)
    if code := exit_code(done.findings):
        raise typer.Exit(code)


@app.command()
def audit(
    logs: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Files of its signed audit log.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    json_output: JsonOption = False,
) -> None:
    """Keep a Certificate System's audit log beside ours, as it came; `vouchd audit former` searches it.

    It may be done again after the last record there: what goes on from a kept file is taken, what does not is refused.
    A record of ours has the size and SHA-256 of each file.

    Example: vouchd import audit /var/log/pki/pki-tomcat/ocsp/signedAudit
    """
    with wiring.services(Layout(instance.absolute())) as services:
        kept = take_audit_log(services, logs)
    output.records([asdict(one) for one in kept], json_output=json_output, empty="there is no file")


def _show(done: Imported, *, dry_run: bool, json_output: bool) -> None:
    lists = {verdict: of(verdict, done.findings) for verdict in Verdict}
    if json_output:
        output.as_json(
            {
                "instance": None if dry_run else str(done.instance),
                **{verdict.value.replace(" ", "_"): _rows(lists[verdict]) for verdict in Verdict},
                "access_rules": [
                    {
                        "resource": one.resource,
                        "right": one.right,
                        "there": one.theirs,
                        "here": one.ours,
                        "difference": one.difference,
                    }
                    for one in done.rights
                ],
                "publisher": list(done.publisher),
            }
        )
    else:
        for verdict in Verdict:
            output.say(f"{verdict.value.capitalize()}:")
            output.table(["what", "why"], _grouped(lists[verdict]), empty="nothing")
            output.say("")
        output.say("Access rules that are others here:")
        output.table(
            ["resource", "right", "there", "difference"],
            [(one.resource, one.right, one.theirs, one.difference) for one in done.rights],
            empty="none",
        )
        output.say("\nFor the CS.cfg of each CA that is to publish here, beside where it publishes now:")
        output.say("\n".join(done.publisher))
    for one in lists[Verdict.IMPOSSIBLE]:
        if one.hint:
            output.hint(f"{one.what}: {one.hint}")
    if dry_run:
        output.note("nothing was made; without --dry-run this is what is made")


def _grouped(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """A row for each reason: what has the same one as others, as most lines of a CS.cfg do, is counted."""
    by_reason: dict[str, list[str]] = {}
    for one in findings:
        by_reason.setdefault(one.why, []).append(one.what)
    return [(f"{what[0]} and {len(what) - 1} more" if what[1:] else what[0], why) for why, what in by_reason.items()]


def _rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [{"what": one.what, "why": one.why, "hint": one.hint} for one in findings]
