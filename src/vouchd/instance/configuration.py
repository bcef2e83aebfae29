"""CS.cfg read, tried and changed by who may: what is set, what a change would do, and the change itself."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink, Clock, StatusStore
from vouchd.errors import ConfigError, StoreConflict, VouchdError
from vouchd.files import replace_file
from vouchd.instance.certificates.signers import Checked, KeyMaterial, check_settings
from vouchd.instance.locking import config_lock
from vouchd.service.permission import Action, Permission
from vouchd.settings import cs_cfg
from vouchd.settings.cs_cfg import CSConfig, canonical
from vouchd.settings.declared import KNOWN
from vouchd.settings.keys import KnownKey
from vouchd.settings.layout import Layout
from vouchd.settings.reading import settings_from

NAME = "CS.cfg"
HIDDEN = "********"
MAX_DETAIL = 2000
_SECRET = re.compile(r"pass(word|wd|phrase)|secret|\bpin$|\bpwd", re.IGNORECASE)
_AUDIT_KEYS = ("log.instance.SignedAudit.", "vouchd.audit.", "vouchd.auditSigning.")

Changes = Mapping[str, str | None]  # key -> text, None: take the line out


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of CS.cfg: the text that holds now and the one that would without a line; `set` says there is a line."""

    key: str
    value: str
    default: str
    set: bool
    accepts: str
    about: str
    inert: bool


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """All settings; `revision` names this state of the file, `pending` says that the instance runs with another."""

    revision: str
    pending: bool
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """What a change does to the file: `diff` in unified format, empty for none; `applied` says that it is written."""

    before: str
    after: str
    diff: str
    warnings: tuple[str, ...]
    applied: bool


class Configuration:
    """Every act passes `permission` first; a change is recorded in `audit` when it is written."""

    def __init__(
        self, layout: Layout, store: StatusStore, permission: Permission, audit: AuditSink, clock: Clock
    ) -> None:
        self._layout = layout
        self._store = store
        self._permission = permission
        self._audit = audit
        self._clock = clock

    def read(self, caller: Caller) -> ConfigurationView:
        """All settings; what looks like a secret is hidden. Raises: PermissionDenied, ConfigError."""
        self._permission.allow(caller, Action.READ_CONFIGURATION, NAME)
        config = self._now()
        return ConfigurationView(_revision(config), self._pending(config), _settings(config), config.warnings())

    def change(
        self, changes: Changes, caller: Caller, *, expected: str = "", dry_run: bool = False
    ) -> ConfigurationChange:
        """Make the changes, all or none; a running instance goes by them after its next restart.

        The file is checked as a start would check it. `expected` is the revision that the caller has read; `dry_run`
        shows what would be done, which takes no more than the right to read.

        Raises: ConfigError; StoreConflict when the file is not as expected; PermissionDenied.
        """
        action = Action.READ_CONFIGURATION if dry_run else Action.CHANGE_CONFIGURATION
        self._permission.allow(caller, action, ", ".join(changes)[:MAX_DETAIL])
        with config_lock(self._layout.config_lock):
            before = self._now()
            if expected and expected != _revision(before):
                raise StoreConflict("CS.cfg has been changed meanwhile", hint="read it again and repeat the change")
            after = _changed(before, changes)
            warnings = self._checked(before, after)
            written = not dry_run and after.lines != before.lines
            if written:
                replace_file(self._layout.cs_cfg, after.render().encode(), 0o600)
                self._record(before, after, changes, caller)
        return ConfigurationChange(_revision(before), _revision(after), _diff(before, after), warnings, written)

    def _now(self) -> CSConfig:
        return replace(cs_cfg.read(self._layout.cs_cfg), name=NAME)

    def _pending(self, config: CSConfig) -> bool:
        """Whether the running instance started with other settings."""
        try:
            active = cs_cfg.read(self._layout.active_cs_cfg)
        except ConfigError:  # it does not run
            return False
        return _texts(active) != _texts(config)

    def _checked(self, before: CSConfig, after: CSConfig) -> tuple[str, ...]:
        """What is doubtful about the settings, and what fails with them as it did before.

        Raises: ConfigError when an instance would not start with them, or with a part less than before.
        """
        checked = self._judged(after)
        try:
            failing = set(self._judged(before).failing)
        except ConfigError:  # it is being mended
            failing = set()
        for part, error in checked.failing.items():
            if part not in failing:
                raise ConfigError(f"the instance would not start whole: {part}: {error}", hint=error.hint)
        return (*checked.doubts, *(f"{part}: {error}" for part, error in checked.failing.items()))

    def _judged(self, config: CSConfig) -> Checked:
        """Raises: ConfigError when an instance would not start."""
        try:
            settings = settings_from(config, self._layout.root)
            return check_settings(self._layout, KeyMaterial(settings), self._store.authorities(), self._clock.now())
        except ConfigError:
            raise
        except VouchdError as error:
            raise ConfigError(f"the instance would not start: {error}", hint=error.hint) from error

    def _record(self, before: CSConfig, after: CSConfig, changes: Changes, caller: Caller) -> None:
        audits = any(canonical(key).startswith(_AUDIT_KEYS) for key in changes)
        lines = (f"no {key}" if text is None else f"{key}={_shown(key, text)}" for key, text in changes.items())
        self._audit.record(
            "CONFIG_SIGNED_AUDIT" if audits else "CONFIG_OCSP_PROFILE",
            caller,
            "success",
            changes="; ".join(lines)[:MAX_DETAIL],
            before=_revision(before),
            after=_revision(after),
        )


def _changed(config: CSConfig, changes: Changes) -> CSConfig:
    """The file with these changes. Raises: ConfigError."""
    for key, text in changes.items():
        if key != key.strip() or not key.isprintable() or (text is not None and not text.isprintable()):
            raise ConfigError(f"{key[:80]!r}: a key and its text are one line of printable characters")
        if key.startswith("#") or "=" in key:
            raise ConfigError(f"{key[:80]!r} is not a key")
        if text is None and canonical(key) not in config.assignments:
            raise ConfigError(f"{key} is not set", hint="take out only what GET /api/v1/configuration shows as set")
    for key, text in changes.items():
        if text is None:
            config = config.without(key)
    return config.with_values({key: text.strip() for key, text in changes.items() if text is not None})


def _revision(config: CSConfig) -> str:
    return hashlib.sha256(config.render().encode()).hexdigest()


def _texts(config: CSConfig) -> dict[str, str]:
    return {key: assignment.text for key, assignment in config.assignments.items()}


def _settings(config: CSConfig) -> tuple[Setting, ...]:
    """Every key with an effect, in the order of the reference, then those lines that have none."""
    named = {known.name: known for known in KNOWN if not known.inert and "<" not in known.name}
    known_settings = [_setting(config, name, known) for name, known in named.items()]
    more = [(key, one.known) for key, one in config.assignments.items() if key not in named]
    return (
        *known_settings,
        *(_setting(config, key, known) for key, known in sorted(more, key=lambda one: one[1].inert)),
    )


def _setting(config: CSConfig, key: str, known: KnownKey) -> Setting:
    assignment = config.assignments.get(key)
    default = known.kind.write(known.default)
    return Setting(
        key=key,
        value=_shown(key, assignment.text if assignment else default),
        default=default,
        set=assignment is not None,
        accepts=known.accepts,
        about=known.about,
        inert=known.inert,
    )


def _shown(key: str, text: str) -> str:
    return HIDDEN if text and _SECRET.search(key) else text


def _diff(before: CSConfig, after: CSConfig) -> str:
    then, now = ([_shown_line(line) for line in config.lines] for config in (before, after))
    lines = difflib.unified_diff(then, now, f"{NAME} before", f"{NAME} after", lineterm="", n=2)
    return "".join(f"{line}\n" for line in lines)


def _shown_line(line: str) -> str:
    key, equals, text = line.partition("=")
    return f"{key}{equals}{_shown(key.strip(), text.strip())}" if equals and _SECRET.search(key) else line


# Lines of CS.cfg put in place by the instance itself, without a rehearsal: see `instance.configuration` for people.


def write_values(layout: Layout, values: Mapping[str, str]) -> bool:
    """Put lines into CS.cfg; whether that changed it. Raises: ConfigError."""
    with config_lock(layout.config_lock):
        before = cs_cfg.read(layout.cs_cfg)
        after = before.with_values(dict(values))
        if after.lines == before.lines:
            return False
        replace_file(layout.cs_cfg, after.render().encode(), 0o600)
        return True
