"""CS.cfg: `key=value` lines in the Certificate System's manner; comments and order survive a change.

`parse` knows no file and no clock. What it returns is checked: every key is known, every value well-formed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from heapq import nlargest
from pathlib import Path

from vouchd.errors import ConfigError
from vouchd.files import read_file
from vouchd.settings.declared import KNOWN
from vouchd.settings.keys import KnownKey

# Finding a key of CS.cfg in the table of known keys: by either spelling, by pattern, or the nearest one.

_PREFIX = "OCSP.Responder."
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_ -]*"

_EXACT = {known.name: known for known in KNOWN if "<" not in known.name and not known.name.endswith(".*")}
_FAMILY = {known.name.removesuffix("*"): known for known in KNOWN if known.name.endswith(".*")}
_PATTERNS = tuple(
    (re.compile(re.sub(r"<\w+>", f"({_SEGMENT})", known.name.replace(".", r"\."))), known)
    for known in KNOWN
    if "<" in known.name
)


def canonical(key: str) -> str:
    """The one spelling of a key that the guides write with `OCSP.Responder.` in front, or without `ocsp.`."""
    if key.startswith(_PREFIX):
        rest = key.removeprefix(_PREFIX)
        return rest if rest.startswith("ocsp.") else f"ocsp.{rest}"
    return f"ocsp.{key}" if key.startswith("store.defStore.") else key


@cache
def _families_longest_first() -> tuple[str, ...]:
    return tuple(sorted(_FAMILY, key=len, reverse=True))


_COMPARED = 4


def look_up(key: str) -> KnownKey | None:
    """The declaration of a key in its canonical spelling, None when it is not known."""
    if key in _EXACT:
        return _EXACT[key]
    for pattern, known in _PATTERNS:
        if pattern.fullmatch(key):
            return known
    return next((_FAMILY[prefix] for prefix in _families_longest_first() if key.startswith(prefix)), None)


def nearest(key: str) -> str | None:
    """The known name most like `key`, its placeholders filled in from `key`; None when nothing is like it."""
    names = {
        name.lower(): name for name in (_filled(known.name, key) for known in KNOWN if not known.name.endswith("*"))
    }
    letters = Counter(key.lower())
    # Comparing takes the product of the lengths: only those that have the most letters in common are compared.
    likeliest = nlargest(_COMPARED, names, key=lambda name: 2 * (letters & Counter(name)).total() - len(name))
    from difflib import get_close_matches  # noqa: PLC0415  most files of settings have no name that is mistaken

    close = get_close_matches(key.lower(), likeliest, n=1, cutoff=0.7)
    return names[close[0]] if close else None


def _filled(name: str, key: str) -> str:
    theirs = key.split(".")
    ours = name.split(".")
    if len(ours) != len(theirs):
        return name
    return ".".join(their if our.startswith("<") else our for our, their in zip(ours, theirs, strict=True))


_HINT = "make an instance with `vouchd create --instance DIR`"
MAX_BYTES = 16 << 20  # 10,000 signers take 2 MiB
MAX_LINE = 8192
MAX_KEY = 256
_KEY = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. -]*[A-Za-z0-9_-])?")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One `key=value` line: the key as spelled there, its text and value, and the line's number from 1."""

    key: str
    text: str
    value: object
    line: int
    known: KnownKey


@dataclass(frozen=True, slots=True)
class CSConfig:
    """A checked CS.cfg: its lines as they stand, and its assignments by canonical key."""

    name: str
    lines: tuple[str, ...]
    assignments: dict[str, Assignment] = field(default_factory=dict)

    def value(self, key: str) -> object:
        """The value of a key in its canonical spelling, the declared default when absent."""
        assignment = self.assignments.get(key)
        if assignment is not None:
            return assignment.value
        known = look_up(key)
        if known is None:
            raise KeyError(key)
        return known.default

    def where(self, key: str) -> str:
        """`FILE:LINE` of a key, or FILE when it is absent: the start of an error message about its value."""
        assignment = self.assignments.get(key)
        return f"{self.name}:{assignment.line}" if assignment else self.name

    def names_under(self, prefix: str) -> tuple[str, ...]:
        """The placeholder segments of the keys that start with `prefix`, in the order of the file."""
        names = (key.removeprefix(prefix).split(".", 1)[0] for key in self.assignments if key.startswith(prefix))
        return tuple(dict.fromkeys(names))

    def warnings(self) -> tuple[str, ...]:
        """One line per group of keys that are accepted but have no effect here."""
        groups: dict[str, list[Assignment]] = {}
        for assignment in self.assignments.values():
            if assignment.known.inert:
                groups.setdefault(assignment.known.name, []).append(assignment)
        return tuple(self._inert_warning(group) for group in groups.values())

    def _inert_warning(self, group: list[Assignment]) -> str:
        first = group[0]
        more = f" and {len(group) - 1} more of {first.known.name}" if len(group) > 1 else ""
        verb = "have" if more else "has"
        return f"{self.name}:{first.line}: {first.key}{more} {verb} no effect here: {first.known.about}"

    def render(self) -> str:
        """The file's text; `parse(text).render()` is `text`."""
        return "\n".join(self.lines)

    def with_values(self, values: dict[str, str]) -> CSConfig:
        """The same file with `values` (key to text) put where the key stands, or at the end. Raises: ConfigError."""
        lines = list(self.lines)
        for key, text in values.items():
            existing = list(_all_spellings(self, key))
            if existing:
                lines[existing[0].line - 1] = f"{existing[0].key}={text}"
                continue
            at = len(lines) - 1 if lines and not lines[-1] else len(lines)
            lines.insert(at, f"{key}={text}")
        return parse("\n".join(lines), self.name)

    def without(self, key: str) -> CSConfig:
        """The same file without the lines of `key`, whatever its spelling."""
        gone = {assignment.line for assignment in _all_spellings(self, key)}
        return parse("\n".join(line for n, line in enumerate(self.lines, 1) if n not in gone), self.name)


def _all_spellings(config: CSConfig, key: str) -> Iterator[Assignment]:
    for number, line in enumerate(config.lines, 1):
        pair = _split(line, f"{config.name}:{number}")
        if pair and canonical(pair[0]) == canonical(key):
            known = config.assignments[canonical(key)].known
            yield Assignment(pair[0], pair[1], known.kind.read(pair[1]), number, known)


def parse(text: str, name: str) -> CSConfig:
    """The settings in `text`; `name` is the file's name for messages.

    Raises: ConfigError `NAME:LINE: …` for a line that is not `key=value`, a key that is not known (the hint tells the
    nearest one), a value that is not of its kind, a key that is set twice.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_BYTES} bytes")
    config = CSConfig(name, tuple(text.split("\n")))
    for number, line in enumerate(config.lines, 1):
        where = f"{name}:{number}"
        pair = _split(line, where)
        if pair:
            _assign(config.assignments, _checked(*pair, number, where), where)
    return config


def read(path: Path) -> CSConfig:
    """The settings in the file `path` (UTF-8, at most 16 MiB). Raises: ConfigError."""
    try:
        data = read_file(path, MAX_BYTES, error=ConfigError, hint=_HINT)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint=_HINT) from error
    try:
        return parse(data.decode(), str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from error


def _split(line: str, where: str) -> tuple[str, str] | None:
    """Key and text of a line, None for a comment or a blank one."""
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return None
    if len(line) > MAX_LINE:
        raise ConfigError(f"{where}: line longer than {MAX_LINE} characters")
    if not stripped.isprintable():
        raise ConfigError(f"{where}: has a control character")
    key, equals, value = stripped.partition("=")
    key = key.strip()
    if not equals or len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise ConfigError(f"{where}: not a key=value line", hint="a comment starts with #")
    return key, value.strip()


def _checked(key: str, text: str, number: int, where: str) -> Assignment:
    name = canonical(key)
    known = look_up(name)
    if known is None:
        near = nearest(name)
        raise ConfigError(
            f"{where}: unknown key {key}",
            hint=f"did you mean {near}?" if near else "see docs/use/configuration.md for the known keys",
        )
    try:
        value = known.kind.read(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {key} {error}", hint=f"its default is {known.name}={_default(known)}") from None
    return Assignment(key, text, value, number, known)


def _default(known: KnownKey) -> str:
    return known.kind.write(known.default)


def _assign(assignments: dict[str, Assignment], new: Assignment, where: str) -> None:
    name = canonical(new.key)
    old = assignments.get(name)
    if old is None:
        assignments[name] = new
    elif old.key == new.key:
        raise ConfigError(f"{where}: {new.key} is set already in line {old.line}", hint="keep one of the two lines")
    elif old.value != new.value:
        raise ConfigError(
            f"{where}: {new.key} and {old.key} in line {old.line} are two spellings of one key with different values",
            hint=f"keep {name} only",
        )
