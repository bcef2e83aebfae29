"""`vouchd backup` and `vouchd restore`: the keys for a clone, or the whole instance in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.instance import Folder, Instance, reachable
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, read_password
from vouchd.cli.pkcs12 import PasswordFileOption, export
from vouchd.cli.progress import working
from vouchd.errors import ConfigError, VerificationError


@reachable
def backup(
    instance: Instance,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the file goes (0600).")] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Settings, keys, certificates and facts, for `vouchd restore`.")
    ] = False,
    password_file: PasswordFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Write the instance's keys with their chains into one PKCS #12 file, or with --all the whole instance.

    The PKCS #12 file is for a clone or a spare. The TLS server's key stays: it belongs to this host. The
    administrator's is in admin.p12. With --all everything is in the file, what is secret sealed with the password; the
    answers of a running instance are recorded in it, which `vouchd restore --verify` compares.

    With --all and without --out it goes where the instance's own backups go (`vouchd.backup.folder`), sealed with the
    password `backup` of password.conf; it is proved, and the oldest beyond `vouchd.backup.keep` are removed.

    Example: vouchd backup --all --out ocsp.backup --password-file ocsp.password
    """
    if not whole and out is None:
        raise ConfigError("where to?", hint="name the file: --out FILE")
    if not whole and out is not None:
        export(instance, out, (), password_file, json_output=json_output)
        return
    if not isinstance(instance, Folder):
        raise ConfigError("--all copies a folder, which another host cannot reach", hint="run it on its host")
    from vouchd.wiring.backup import own_backup, write_backup  # noqa: PLC0415  the keys alone need no stores

    if out is None:
        with working("back the instance up, and prove it", shown=not json_output):
            file = own_backup(instance.layout, output.note)
        output.record({"file": str(file), "proved": True}, json_output=json_output)
        return

    password = read_password(password_file, out)
    with working("back the instance up", shown=not json_output):
        about = write_backup(instance.layout, out, password)
    output.record({"file": str(out), **_shown(about)}, json_output=json_output)
    if not about["answers"]:
        output.warn("no answers were recorded: the instance does not run", "back it up while it runs, then they are")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `vouchd backup --all` has written.")],
    instance: InstanceOption = DEFAULT_INSTANCE,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only try it out: restored elsewhere, started on loopback, asked.")
    ] = False,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="On the facts of the backup, outside its set and directory server.")
    ] = False,
    password_file: PasswordFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make the instance of a whole backup anew, or with --verify try the backup out.

    The folder is not there yet, or empty. It is made whole or not at all. With --verify the recorded questions are
    asked again and the answers compared byte for byte; those whose CRL has run out meanwhile are counted apart.

    Example: vouchd restore ocsp.backup --instance /srv/vouchd --password-file ocsp.password
    """
    from vouchd.wiring.backup import prove_backup, restore_backup  # noqa: PLC0415  `backup` does without

    password = read_password(password_file, file)
    if verify:
        with working("restore it elsewhere, and compare its answers", shown=not json_output):
            proof = prove_backup(file, password, output.note)
        result = proof.replay
        shown = {"same": result.same, "different": len(result.different), "ended": result.ended}
        output.record({"file": str(file), **_shown(proof.about), **shown}, json_output=json_output)
        if result.different:
            first = result.different[0]
            raise VerificationError(
                f"{len(result.different)} answers are others, such as for {first.kind} of {first.authority or 'no CA'}",
                hint="the keys or facts of the backup are not those that answered; make another backup",
            )
        if not result.same:
            output.warn("nothing was compared", "make a backup while the instance runs and its CRLs are current")
        return
    with working("restore the instance", shown=not json_output):
        opened = restore_backup(file, password, instance, alone=embedded)
    output.record({"instance": str(instance), **_shown(opened.about)}, json_output=json_output)
    if opened.about.get("facts_in") == "directory" and not embedded:
        output.hint("its facts are those of its directory server; with --embedded those of the backup")
    output.hint("publish the current CRLs to it, then: vouchd start")


def _shown(about: Mapping[str, Any]) -> dict[str, object]:
    return {
        "made": output.when(about.get("at")),
        "version": about.get("version"),
        "authorities": about.get("authorities"),
        "facts_in": about.get("facts_in"),
        "answers": len(about.get("answers", ())),
        "audit_head": about.get("audit_head") or None,
    }
