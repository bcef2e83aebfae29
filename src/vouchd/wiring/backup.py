"""A whole instance backed up, restored, and the backup proved: the archive put together with store and answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vouchd import __version__
from vouchd.audit.search import AuditReader
from vouchd.clock import SystemClock
from vouchd.cloning.moving import copy_facts
from vouchd.cloning.recorded_answers import Replay, answers_record, read_answers, record_answers, replay
from vouchd.core.facts import Facts
from vouchd.core.ports import Store
from vouchd.core.records import rfc3339
from vouchd.errors import ConfigError, VerificationError, VouchdError
from vouchd.files import PRIVATE, replace_file
from vouchd.instance import lifecycle
from vouchd.instance.archive import Opened, extract, open_archive, write_archive
from vouchd.instance.backups import read_backup_record, write_backup_record
from vouchd.instance.creation import new_folder, require_free
from vouchd.instance.lifecycle import manager_command
from vouchd.service.permission import Action
from vouchd.settings import cs_cfg
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import BACKUP, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.stores.beliefs import Believed
from vouchd.stores.sqlite.store import SqliteStore
from vouchd.wiring.services import services

_PREFIX, _SUFFIX = "vouchd-", ".backup"

Say = Callable[[str], None]

# What ties an instance to its set and its directory server. Without these it stands alone, on the facts of the backup.
_TIES = ("internaldb.", "vouchd.directory.", "vouchd.store", "vouchd.clone.", "vouchd.domain.", "securitydomain.")
# What a copy that is only tried out must not do: fetch, renew, tell people, or listen where others could reach it.
_OUTWARD = ("vouchd.source.", "vouchd.renewal.", "vouchd.alert.", "vouchd.backup.")
_ON_LOOPBACK = {
    f"vouchd.{port}.{name}": value
    for port in ("ee", "agent", "health")
    for name, value in (("host", "127.0.0.1"), ("port", "0"))
} | {"vouchd.ee.workers": "1"}


@dataclass(frozen=True, slots=True)
class Proof:
    """A backup that was restored and asked: what it says of itself, and what its answers were beside the recorded."""

    about: Mapping[str, Any]
    replay: Replay


def write_backup(layout: Layout, out: Path, password: str) -> Mapping[str, Any]:
    """Back the instance up to `out`, whether it runs or not; returns what the backup says of itself.

    The answers of a running instance are recorded with it. Raises: PermissionDenied, StoreError, SigningError.
    """
    with services(layout) as opened, tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".backup") as folder:
        opened.permission.allow(opened.caller, Action.EXPORT_KEYS, "*")
        database = Path(folder) / "vouchd.sqlite"
        authorities = _copy_store(opened.store, database)
        report = lifecycle.status(layout).report
        answers = record_answers(opened.running.state(), report.ee_url) if report is not None else ()
        about = {
            "version": __version__,
            "at": opened.clock.now(),
            "authorities": authorities,
            "facts_in": "directory" if opened.settings.directory else "embedded",
            "audit_head": _audit_head(opened.audit_reader),
            "answers": answers_record(answers),
        }
        databases = {layout.database: database}
        if layout.believed.exists():
            databases[layout.believed] = Path(folder) / "believed.sqlite"
            Believed(layout.believed).copy(databases[layout.believed])
        count = write_archive(out, layout, databases, password, about)
        opened.audit.record("PRIVATE_KEY_EXPORT", opened.caller, "success", certificates="*", file=out.name)
    return {**about, "files": count}


def restore_backup(backup: Path, password: str, root: Path, *, alone: bool) -> Opened:
    """Make the instance of a backup at `root`, which is not there or empty; `alone`: outside its set and directory.

    Whole or not at all. Raises: AlreadyExists; LifecycleError; ConfigError, SigningError: no use can be made of it.
    """
    require_free(root.absolute())
    opened = open_archive(backup, password)
    with new_folder(root) as draft:
        extract(backup, opened, draft)
        if alone:
            _stand_alone(draft, _TIES, {})
        else:
            replace_file(draft.restored, b"", PRIVATE)
    head = str(opened.about.get("audit_head") or "none")
    with services(Layout(root.absolute())) as made:
        made.audit.record("INSTANCE_RESTORED", made.caller, "success", audit_head=head, file=backup.name)
    return opened


def prove_backup(backup: Path, password: str, say: Say) -> Proof:
    """Restore the backup into a folder of its own, start it on loopback, ask it what was asked when it was made.

    The copy stands outside its set: it reaches no member, no directory server and no source. Raises: as
    `restore_backup`; LifecycleError when the copy does not start; ClientError when it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="vouchd-backup-") as folder:
        layout = Layout(Path(folder) / "instance")
        say("restoring")
        opened = open_archive(backup, password)
        with new_folder(layout.root) as draft:
            extract(backup, opened, draft)
            _stand_alone(draft, (*_TIES, *_OUTWARD), _ON_LOOPBACK)
            _forget_members(draft)
        say("starting")
        report = lifecycle.start(layout, manager_command(layout))
        try:
            answers = read_answers(opened.about.get("answers", ()))
            say(f"asking {len(answers)} questions")
            return Proof(opened.about, replay(answers, report.ee_url, SystemClock().now()))
        finally:
            lifecycle.stop(layout)


def own_backup(layout: Layout, say: Say) -> Path:
    """A backup as the settings have it: into their folder, proved, noted, the oldest removed; returns its file.

    What went wrong is noted, too. Raises: ConfigError when there is no password `backup`; as the two above;
    VerificationError when the copy answers otherwise.
    """
    settings, now = read_settings(layout), SystemClock().now()
    before = replace(read_backup_record(layout.backups), tried_at=now, error="")
    write_backup_record(layout.backups, before)
    try:
        folder = settings.backup.folder or layout.root / "backups"
        password = _backup_password(layout)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = folder / f"{_PREFIX}{rfc3339(now).replace(':', '')}{_SUFFIX}"
        write_backup(layout, out, password)
        made = replace(before, file=str(out), made_at=now)
        write_backup_record(layout.backups, made)
        proof = prove_backup(out, password, say)
        if proof.replay.different:
            raise VerificationError(
                f"{out}: {len(proof.replay.different)} answers of the copy are others",
                hint="the keys or facts of the backup are not those that answered; make another backup",
            )
    except (VouchdError, OSError) as error:
        write_backup_record(layout.backups, replace(read_backup_record(layout.backups), error=str(error)))
        raise
    write_backup_record(layout.backups, replace(made, proved_at=SystemClock().now()))
    _keep_newest(folder, settings.backup.keep)
    return out


def _backup_password(layout: Layout) -> str:
    password = read_passwords(layout.password_conf).get(BACKUP)
    if not password:
        raise ConfigError(
            f"{layout.password_conf}: no password that backups are sealed with",
            hint=f"add a line {BACKUP}=PASSWORD, and keep it elsewhere too: without it nothing is restored",
        )
    return password


def _keep_newest(folder: Path, count: int) -> None:
    """Remove the oldest of those that the instance made itself, by their names, which have the time."""
    for old in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))[:-count]:
        old.unlink(missing_ok=True)


def _copy_store(store: Store, path: Path) -> int:
    """Copy the facts of the store to a new database; returns the number of authorities."""
    if isinstance(store, SqliteStore):
        store.copy(path)
        return len(store.authorities())
    target = SqliteStore(path)
    try:
        copy_facts(_facts_of(store), store, target)
        return len(target.authorities())
    finally:
        target.close()


def _facts_of(store: Store) -> Facts:
    """What is copied, as each store tells it."""
    return Facts(
        authorities=store.authorities(),
        epochs=store.epochs(),
        quarantined=store.quarantined(),
        users=store.users(),
        keyring=store.keyring(),
        approvals=store.approvals(),
    )


def _forget_members(draft: Layout) -> None:
    """Copy the facts into a database without members, whom a copy that is tried out must not meet."""
    whole, alone = draft.database, draft.database.with_name("alone.sqlite")
    source = SqliteStore(whole)
    try:
        target = SqliteStore(alone)
        try:
            copy_facts(source.facts(), source, target)
        finally:
            target.close()
    finally:
        source.close()
    for left in whole.parent.glob(f"{whole.name}*"):
        left.unlink()
    alone.rename(whole)
    for left in whole.parent.glob(f"{alone.name}*"):
        left.unlink()


def _stand_alone(draft: Layout, ties: tuple[str, ...], values: dict[str, str]) -> None:
    config = cs_cfg.read(draft.cs_cfg)
    for key in [key for key in config.assignments if key.startswith(ties)]:
        config = config.without(key)
    replace_file(draft.cs_cfg, config.with_values(values).render().encode(), PRIVATE)
    draft.believed.unlink(missing_ok=True)  # it was of that directory server


def _audit_head(reader: AuditReader) -> str:
    newest = reader.search(limit=1)
    return f"{newest[0].seq}:{newest[0].hash}" if newest else ""
