"""The answers file: JSON, or an INI as `pkispawn` reads one; both ways, and without secrets where it is given away."""

from __future__ import annotations

import configparser
import io
import json
from pathlib import Path

from vouchd.api.model import read_json
from vouchd.errors import BadInput
from vouchd.files import read_secret
from vouchd.setup.questionnaire import PAGE, SECTIONS, Answers, fields, read_answers, without_secrets

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
    known = {name: one for one in fields() for name in (one.ini, *one.also)}
    values: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for section in parser.sections():
        if section not in _INI_SECTIONS:
            raise BadInput(f"[{section[:80]}]: no such section", hint=f"one of {', '.join(_INI_SECTIONS)}; {PAGE}")
        for name, word in parser[section].items():
            if name not in known:
                raise BadInput(f"{name[:80]}: no such name", hint=PAGE)
            field = known[name]
            if field.name in values[field.section]:
                raise BadInput(f"{name}: {field.path} is there already", hint="leave one of them out")
            meaning = {ini.lower(): value for value, ini in field.words.items()}
            values[field.section][field.name] = meaning.get(word.lower(), word)
    return read_answers(values)


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
            out.write(f"# {one.ini}=\n")
            continue
        value = str(values[one.section][one.name])
        out.write(f"{one.ini}={one.words.get(value, value)}\n")
    return out.getvalue()
