"""The demo is the first thing a newcomer runs: it must do what it says, and touch nothing that is not its own."""

from pathlib import Path

import pytest
from tests.commands import run_python

ROOT = Path(__file__).parents[2]
PROGRAM = f"""
import runpy, sys
sys.path.insert(0, "{ROOT}/scripts")
runpy.run_path("{ROOT}/scripts/demo.py", run_name="__main__")
"""


def demo(*arguments):
    """Run the demo; the finished process."""
    return run_python(PROGRAM, "--once", *arguments, cwd=ROOT)


@pytest.mark.process
@pytest.mark.interop
def test_demo_shows_the_expected_answers_and_stops(tmp_path):
    """Ten certificates, three revoked for three reasons, as two clients see them; a clone gives the same; all stops."""
    done = demo("--folder", tmp_path / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    answers, compared = done.stdout.split("A clone of the responder")
    rows = [line.split() for line in answers.splitlines() if line.strip().startswith("www")]
    assert [row[1:] for row in rows if row[0] == "www3"] == [["revoked"] * 3]
    assert sum(row[1:] == ["good"] * 3 for row in rows) == 7
    for reason in ("certificateHold", "keyCompromise", "superseded"):
        assert done.stdout.count(f"({reason})") == 3
    for name in ("vouchd", "clone"):
        assert not (tmp_path / "demo" / name / "run" / "vouchd.pid").exists()
    assert "the same, byte for byte" in compared
    assert "Try next" not in done.stdout
    assert "CN=Demo CA,O=Example: 4 revoked certificates" in done.stdout
    assert str(tmp_path / "demo" / "vouchd" / "admin.p12") in done.stdout
    assert (tmp_path / "demo" / "vouchd" / "admin.p12").exists()


@pytest.mark.process
def test_demo_refuses_a_folder_that_it_did_not_make(tmp_path):
    """Somebody's files are never removed."""
    (tmp_path / "thesis.txt").write_text("precious")
    done = demo("--folder", tmp_path)
    assert done.returncode == 1
    assert "not made by the demo" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
