"""The answers file: JSON, or an INI as `pkispawn` reads one; both ways, and without secrets where it is given away."""

from __future__ import annotations

import configparser
import io
import json
from collections.abc import Mapping
from pathlib import Path

from vouchd.api.model import read_json
from vouchd.errors import BadInput
from vouchd.files import read_secret
from vouchd.setup.fields import PAGE, SECTIONS, Field, fields, read_answers, without_secrets
from vouchd.setup.questionnaire import Answers

_INI_SECTIONS = ("DEFAULT", "OCSP")
_HEAD = """\
# Answers of `vouchd setup --answers FILE`, without secrets. Each field is explained in docs/operate/setup-wizard.md.
# The file may hold passwords once you have filled them in: it has to be readable by its owner alone (chmod 600).
"""


def read_answers_file(path: Path) -> Answers:
    """The answers in the file, which may hold secrets. Raises: SigningError when others may read it; BadInput."""
    try:
        text = read_secret(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text", hint=PAGE) from error
    try:
        if text.lstrip().startswith("{"):
            return read_answers(read_json(text.encode()))
        return read_ini(text)
    except BadInput as error:
        raise BadInput(f"{path}: {error}", hint=error.hint) from error


def read_ini(text: str) -> Answers:
    """The answers of an INI with `pki_…` names in [DEFAULT] or [OCSP]. Raises: BadInput."""
    parser = configparser.ConfigParser(interpolation=None, strict=True, default_section="vouchd reads none")
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names are as they are written
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BadInput(f"not an INI file: {str(error).splitlines()[0]}", hint=PAGE) from error
    named = [(name, word) for section in _ini_sections(parser) for name, word in parser[section].items()]
    values: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for name, word in sorted(named, key=lambda one: not any(field.name == "kind" for field in _of_name(one[0]))):
        field = next((one for one in _of_name(name) if _belongs(one, values[one.section])), _of_name(name)[0])
        if field.name in values[field.section]:
            raise BadInput(f"{name}: {field.path} is there already", hint="leave one of them out")
        meaning = {ini.lower(): value for value, ini in field.words.items()}
        values[field.section][field.name] = meaning.get(word.lower(), word)
    return read_answers(values)


def _ini_sections(parser: configparser.ConfigParser) -> list[str]:
    for section in parser.sections():
        if section not in _INI_SECTIONS:
            raise BadInput(f"[{section[:80]}]: no such section", hint=f"one of {', '.join(_INI_SECTIONS)}; {PAGE}")
    return parser.sections()


def _of_name(name: str) -> list[Field]:
    """The fields of that name: several where each belongs to another choice. Raises: BadInput."""
    named = [one for one in fields() if name in {one.ini, *one.also}]
    if not named:
        raise BadInput(f"{name[:80]}: no such name", hint=PAGE)
    return named


def _belongs(field: Field, chosen: Mapping[str, str]) -> bool:
    """Whether the field belongs to the choice that was made in its panel."""
    return not field.when or chosen.get("kind") in field.when


def json_text(answers: Answers) -> str:
    """The file for the next host as JSON."""
    return json.dumps(without_secrets(answers), indent=2, ensure_ascii=False) + "\n"


def ini_text(answers: Answers) -> str:
    """The same as an INI; where the secrets belong is said."""
    out = io.StringIO()
    out.write(f"{_HEAD}\n[OCSP]\n")
    values, section = without_secrets(answers), ""
    for one in fields():
        if one.section != section:
            section = one.section
            out.write(f"\n# {section.replace('_', ' ')}\n")
        if one.secret:
            if _belongs(one, values.get(one.section, {})) or len(_of_name(one.ini)) == 1:
                out.write(f"# {one.ini}=\n")
            continue
        value = str(values[one.section][one.name])
        out.write(f"{one.ini}={one.words.get(value, value)}\n")
    return out.getvalue()
