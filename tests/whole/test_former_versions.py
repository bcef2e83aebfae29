"""Whole backups that former versions made: restored by this one they start, and answer with the same bytes."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from tests.commands import run_vouchd
from tests.vectors.former.make import PASSWORD

from vouchd.settings.layout import Layout
from vouchd.stores.sqlite.database import SCHEMA_VERSION

pytestmark = pytest.mark.process

BACKUPS = sorted((Path(__file__).parents[1] / "vectors" / "former").glob("schema-*.backup"))
FIRST = 5  # the schema of the first version that made whole backups


def test_each_schema_before_this_one_has_its_backup():
    """Who changes the schema of the embedded store makes a backup with the version before: tests/vectors/former/make.py."""
    schemas = {int(re.sub(r"\D", "", path.name)) for path in BACKUPS}
    assert schemas == set(range(FIRST, SCHEMA_VERSION))


@pytest.mark.parametrize("backup", BACKUPS, ids=lambda path: path.stem)
def test_instance_of_a_former_version_is_taken_over_and_answers_as_it_did(backup, tmp_path):
    """Each recorded answer comes again, byte for byte; the store is of this version's schema, with nothing lost."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    words = ("--password-file", password)
    proved = run_vouchd("restore", backup, "--verify", "--json", *words)
    assert proved.returncode == 0, proved.stdout + proved.stderr
    layout = Layout(tmp_path / "instance")
    done = run_vouchd("restore", backup, "--instance", layout.root, *words)
    assert done.returncode == 0, done.stderr
    listed = run_vouchd("crl", "list", "--instance", layout.root, "--json")
    assert [(one["crl_number"], one["entries"]) for one in json.loads(listed.stdout)] == [(3, 51)]
    with sqlite3.connect(layout.database) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
