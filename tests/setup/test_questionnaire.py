"""The answers of a set-up: one model, in JSON and as an INI, told by one page."""

from __future__ import annotations

import json
import runpy

import pytest
from tests.conftest import ROOT

from vouchd.errors import BadInput, SigningError
from vouchd.setup.answers_file import ini_text, json_text, read_answers_file, read_ini
from vouchd.setup.fields import fields, read_answers
from vouchd.setup.panels import ASKING, PANELS
from vouchd.setup.questionnaire import Answers

SECRET = "a secret of this test"
DOCUMENTED = (
    "Welcome",
    "Key Store",
    "Security Domain",
    "Subsystem Type",
    "Restore Keys",
    "Internal Database",
    "Key Pairs",
    "Subject Names",
    "Requests and Certificates",
    "Export Keys",
    "Administrator",
    "Review",
    "Done",
)


def another(field):
    """A value that is not the default."""
    if field.type is bool:
        return True
    if field.type is int:
        return 9
    if field.options:
        return next(one for one in field.options if one != field.default)
    return SECRET if field.secret else "x"


def everything() -> Answers:
    """Answers none of which is a default."""
    whole = {}
    for field in fields():
        whole.setdefault(field.section, {})[field.name] = another(field)
    return read_answers(whole)


def kept(path, text: str, mode: int = 0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_panels_have_the_documented_names_in_their_order():
    """An administrator who knows the documented wizard finds every panel where it was."""
    assert tuple(panel.name for panel in PANELS) == DOCUMENTED


def test_page_tells_every_field_of_every_panel():
    """The tables of the page are made from the declarations: `python scripts/setup_answers.py` writes them anew."""
    page = (ROOT / "docs" / "operate" / "setup-wizard.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(ROOT / "scripts" / "setup_answers.py"))["with_tables"](page) == page
    assert {field.section for field in fields()} == {panel.section for panel in ASKING}


def test_field_has_one_name_in_the_ini():
    """No two fields of one choice have the same name there."""
    names = [(name, kind) for field in fields() for name in (field.ini, *field.also) for kind in field.when or ("",)]
    assert len(set(names)) == len(names)
    shared = {name for name, kind in names if not kind} & {name for name, kind in names if kind}
    assert not shared


@pytest.mark.parametrize("text", [json_text, ini_text])
def test_answers_that_are_given_away_have_all_but_the_secrets(tmp_path, text):
    """What was answered comes back from the file, in either form, and no secret is in it."""
    answers = everything()
    given_away = text(answers)
    assert SECRET not in given_away
    back = read_answers_file(kept(tmp_path / "answers", given_away))
    for field in fields():
        section = getattr(back, field.section)
        wanted = "" if field.secret else getattr(getattr(answers, field.section), field.name)
        assert getattr(section, field.name) == wanted, field.path


def test_answers_of_either_form_are_the_same(tmp_path):
    """The words of pkispawn mean what ours mean, capitals aside, in [DEFAULT] too."""
    ini = "[DEFAULT]\npki_ds_setup = TRUE\npki_ds_password=p%w=d\n[OCSP]\npki_clone=True\npki_http_port=2560\n"
    value = {
        "internal_database": {"kind": "directory", "password": "p%w=d"},
        "subsystem": {"kind": "clone", "port": 2560},
    }
    assert read_ini(ini) == read_answers_file(kept(tmp_path / "a.json", json.dumps(value)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "no such section|not an INI"),
        ('{"subsystem": {"prot": 1}}', r"subsystem\.prot: no such field"),
        ('{"subsytem": {}}', "subsytem: no such panel"),
        ('{"subsystem": {"port": 70000}}', "OCSP port: expected"),
        ('{"subsystem": {"kind": "twin"}}', "Subsystem type: invalid"),
        ('{"subsystem": {}, "subsystem": {}}', "twice"),
        ("[OCSP]\npki_htp_port=1\n", "pki_htp_port: no such name"),
        ("[CA]\npki_http_port=1\n", "no such section"),
        ("[OCSP]\npki_http_port=a\n", "OCSP port: expected"),
        ("pki_http_port=1\n", "not an INI file"),
        ("[OCSP]\npki_http_port=1\npki_http_port=2\n", "not an INI file"),
    ],
)
def test_file_that_says_something_unknown_is_refused(tmp_path, text, complaint):
    """A misspelt name is no default in silence; the error names it."""
    with pytest.raises(BadInput, match=complaint) as caught:
        read_answers_file(kept(tmp_path / "answers", text))
    assert caught.value.hint


def test_file_that_others_may_read_is_refused(tmp_path):
    """It may hold passwords."""
    with pytest.raises(SigningError, match="others may read it") as caught:
        read_answers_file(kept(tmp_path / "answers", "[OCSP]\n", 0o640))
    assert "chmod 600" in caught.value.hint
