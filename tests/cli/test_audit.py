"""`vouchd audit verify | show | search`."""

from __future__ import annotations

import json
import shutil

import pytest

from vouchd.cli.main import main
from vouchd.settings.layout import Layout


@pytest.fixture
def log(instance):
    """The audit log of an instance that was just made."""
    return Layout(instance.instance).audit_log


def printed(capsys):
    return json.loads(capsys.readouterr().out)


def test_verify_whole_log_succeeds_and_warns_that_nothing_is_signed(log, capsys):
    """What was made while no instance ran is chained, and signed once one runs."""
    assert main(["audit", "verify"]) == 0
    shown = capsys.readouterr()
    assert "yes" in shown.out
    assert "no record is signed" in shown.err


def test_verify_signed_fails_on_records_that_are_not(log, capsys):
    """Who wants a proof gets an error where there is none."""
    assert main(["audit", "verify", "--signed"]) == 76
    assert "no record is signed" in capsys.readouterr().err


def test_verify_edited_copy_names_file_and_line(log, tmp_path, capsys):
    """A copy elsewhere is verified too, and the first broken line is named."""
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(log.read_bytes().replace(b'"outcome":"success"', b'"outcome":"failure"', 1))
    assert main(["audit", "verify", str(copy)]) == 76
    assert f"{copy}:1: its hash does not fit its content" in capsys.readouterr().err


def test_verify_names_a_file_of_the_former_log_that_is_another_one_since(log, tmp_path, capsys):
    """What was imported is proved not to have changed, and searched; a file of it that did is named, one that is gone too."""
    line = "0.main - [29/Nov/2026:01:53:51 UTC] [14] [6] [AuditEvent=AUTH][SubjectID=ann][Outcome=Success] came in"
    (tmp_path / "theirs").write_text(line)
    assert main(["import", "audit", str(tmp_path / "theirs"), "--json"]) == 0
    (kept,) = printed(capsys)
    assert (kept["records"], kept["new"]) == (1, True)
    assert main(["audit", "former", "--caller", "ann"]) == 0
    assert "came in" in capsys.readouterr().out
    assert main(["audit", "verify"]) == 0
    path = log.parent / "former-audit" / kept["name"]
    path.write_text(line.replace("Success", "Failure"))
    capsys.readouterr()
    assert main(["audit", "verify"]) == 76
    assert f"{path}: is not what was imported" in capsys.readouterr().err
    path.unlink()
    assert main(["audit", "verify"]) == 0
    assert "was imported and is gone" in capsys.readouterr().err


def test_verify_folder_of_copies(log, tmp_path, capsys):
    """A folder of copies is verified with its rotated files."""
    shutil.copytree(log.parent, tmp_path / "copies")
    assert main(["audit", "verify", str(tmp_path / "copies"), "--json"]) == 0
    assert printed(capsys)["intact"] is True


def test_verify_expect_finds_a_log_that_was_cut_off(log, capsys):
    """A number and hash noted before show that the newest records were taken away."""
    assert main(["audit", "verify", "--json"]) == 0
    newest = printed(capsys)["newest"]
    assert main(["audit", "verify", "--expect", newest]) == 0
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert main(["audit", "verify", "--expect", newest]) != 0


def test_verify_file_that_is_no_certificate_is_refused(log, tmp_path, capsys):
    """--cert says what it wants."""
    (tmp_path / "no.pem").write_text("nothing")
    assert main(["audit", "verify", "--cert", str(tmp_path / "no.pem")]) == 78
    assert "hint: --cert wants certificates" in capsys.readouterr().err


def test_search_finds_by_event_and_is_itself_recorded(log, capsys):
    """The log is searched by any field, and who searched it stands in it."""
    assert main(["audit", "search", "--event", "ocsp_add_ca_request_processed", "--json"]) == 0
    assert [record["event"] for record in printed(capsys)] == ["OCSP_ADD_CA_REQUEST_PROCESSED"]
    assert main(["audit", "search", "--text", "read audit log", "--json"]) == 0
    assert len(printed(capsys)) == 2


def test_search_time_that_is_none_is_refused(log, capsys):
    """A time is written in one of the forms that the help shows."""
    assert main(["audit", "search", "--since", "yesterday"]) == 78
    assert "hint: write 2026-11-24" in capsys.readouterr().err


def test_search_from_a_time_on(log, capsys):
    """Nothing was recorded after the end of the century."""
    assert main(["audit", "search", "--since", "2100-01-01"]) == 0
    assert "no record is like that" in capsys.readouterr().err


def test_show_tells_one_record_in_full(log, capsys):
    """A record is shown with its detail and its place in the chain."""
    assert main(["audit", "show", "1", "--json"]) == 0
    record = printed(capsys)
    assert (record["number"], record["previous"]) == (1, "0" * 64)
    assert main(["audit", "show", "9999"]) == 66
