"""What a release is made of: wheel and source that build twice to the same octets, and what is new."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from vouchd import __version__

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "build_python.py"


@pytest.fixture(scope="module")
def builds(tmp_path_factory) -> list[Path]:
    """Two folders, each with what was built of a tree of its own."""
    command = ["git", "-c", "safe.directory=*", "archive", "HEAD"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    folders = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name)
        tree, out = folder / "tree", folder / "out"
        for path in (tree, out):
            path.mkdir()
        subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
        subprocess.run(
            [sys.executable, SCRIPT, out],
            cwd=tree,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
            capture_output=True,
            check=True,
        )
        folders.append(out)
    return folders


@pytest.mark.process
def test_builds_of_one_commit_are_the_same_octets(builds):
    """Wheel and source, built in two folders."""
    first, second = (
        {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()} for folder in builds
    )
    assert list(first) == list(second)
    assert len(first) == 2
    assert all(first[name] == second[name] for name in first)


@pytest.mark.process
def test_wheel_says_what_it_is_and_has_all_that_runs(builds):
    """Classifiers, licence, extras; templates, units and the schema beside the modules."""
    with zipfile.ZipFile(next(builds[0].glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        metadata = message_from_bytes(wheel.read(f"vouchd-{__version__}.dist-info/METADATA"))
    assert metadata["Version"] == __version__
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert set(metadata.get_all("Provides-Extra")) == {"ldap", "hsm", "snmp", "tracing", "dev"}
    for part in ("instance/units/vouchd@.service", "agent/pages/templates/base.html", "ca/schema.sql", "py.typed"):
        assert f"vouchd/{part}" in names


@pytest.mark.process
def test_source_has_what_a_packager_needs(builds):
    """Documentation, packaging and pins, as well as the tests; made at one time and by nobody."""
    with tarfile.open(next(builds[0].glob("*.tar.gz"))) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    assert {"docs/index.md", "deploy/debian/rules", "requirements.txt", "tests/pki.py", "CHANGELOG.md"} <= names
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(1700000000, 0, "")}


def test_changes_are_those_of_the_version_or_of_what_is_not_released_yet():
    """The section of the changelog that goes with a release."""
    changes = runpy.run_path(str(SCRIPT))["changes"]
    text = "# Changelog\n\n## Unreleased\n\n- b\n\n## 0.1.0 (2026-11-01)\n\n- a\n"
    assert changes(text, "0.1.0") == "# vouchd 0.1.0\n\n- a\n"
    assert changes(text, "0.2.0") == "# vouchd 0.2.0\n\n- b\n"
