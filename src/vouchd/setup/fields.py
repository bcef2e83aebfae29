"""The questionnaire's fields as pages, files and documentation show them; answers read by them, and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import structs

from vouchd.errors import BadInput
from vouchd.setup.questionnaire import Answers

PAGE = "docs/operate/setup-wizard.md tells every field"
SECTIONS = tuple(Answers.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Field:
    """One field as pages, files and documentation show it."""

    section: str
    name: str
    title: str
    about: str
    example: str
    ini: str
    also: tuple[str, ...]
    secret: bool
    chosen: bool
    when: tuple[str, ...]
    words: Mapping[str, str]
    choices: Mapping[str, tuple[str, str]]
    type: type
    options: tuple[str, ...]
    default: Any

    @property
    def path(self) -> str:
        """`panel.field`, as JSON has it."""
        return f"{self.section}.{self.name}"

    @property
    def input(self) -> str:
        """Its name in a form, where it meets those of the page's own inputs."""
        return f"answer-{self.name}"


@cache
def fields() -> tuple[Field, ...]:
    """Every field of every panel, in their order."""
    return tuple(_fields())


def _fields() -> Iterator[Field]:
    hints = get_type_hints(Answers)
    for section in SECTIONS:
        annotations = get_type_hints(hints[section], include_extras=True)
        for one in structs.fields(hints[section]):
            kind, *metas = get_args(annotations[one.name])
            merged: dict[str, Any] = {}
            for meta in metas:
                merged |= meta.extra or {}
            said = next(meta for meta in metas if meta.title)
            options = merged.get("options") or (get_args(kind) if kind not in {str, int, bool} else ())
            yield Field(
                section,
                one.name,
                said.title or "",
                said.description or "",
                str((said.examples or [""])[0]),
                merged["ini"],
                merged["also"],
                merged["secret"],
                merged["chosen"],
                merged["when"],
                merged["words"],
                merged["choices"],
                kind if kind in {int, bool} else str,
                tuple(options),
                one.default,
            )


def fields_of(section: str) -> tuple[Field, ...]:
    """Those of one panel."""
    return tuple(one for one in fields() if one.section == section)


def section_of(answers: Answers, section: str, values: Mapping[str, Any]) -> Answers:
    """The answers with these values in one panel; others there stay as they are. Raises: BadInput."""
    present = getattr(answers, section)
    whole = {**structs.asdict(present), **values}
    model = type(present)
    try:
        return structs.replace(answers, **{section: msgspec.convert(whole, model, strict=False)})
    except msgspec.ValidationError as error:
        raise _named(section, error) from error


def _named(section: str, error: msgspec.ValidationError) -> BadInput:
    """The error with the title of the field."""
    words, _, place = str(error).partition(" - at `$.")
    name = place.rstrip("`")
    title = next((one.title for one in fields_of(section) if one.name == name), name or section)
    return BadInput(f"{title}: {words[:1].lower()}{words[1:]}", hint="mend that field")


def read_answers(value: Any) -> Answers:
    """The answers of a JSON value: an object with an object for each panel. Raises: BadInput."""
    answers = Answers()
    if not isinstance(value, dict):
        raise BadInput("the answers are not an object", hint=PAGE)
    for section, values in value.items():
        if section not in SECTIONS or not isinstance(values, dict):
            raise BadInput(f"{str(section)[:80]}: no such panel", hint=f"one of {', '.join(SECTIONS)}; {PAGE}")
        known = {one.name for one in fields_of(section)}
        for name in values:
            if name not in known:
                raise BadInput(
                    f"{section}.{str(name)[:80]}: no such field",
                    hint=f"{section} has: {', '.join(sorted(known))}; {PAGE}",
                )
        answers = section_of(answers, section, values)
    return answers


def without_secrets(answers: Answers) -> dict[str, dict[str, Any]]:
    """The answers as a JSON value, for the next host: secrets are left out."""
    whole: dict[str, dict[str, Any]] = {}
    for one in fields():
        if not one.secret:
            whole.setdefault(one.section, {})[one.name] = getattr(getattr(answers, one.section), one.name)
    return whole
