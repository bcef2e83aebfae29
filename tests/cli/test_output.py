"""Printing: results on stdout, the rest on stderr, exit codes from the table of errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from vouchd.cli import output
from vouchd.errors import CRLStale, NotFound, VouchdError


def test_fail_error_goes_to_stderr_with_hint_and_exit_code(capsys):
    """An error says what and how to mend it, on stderr, and decides the exit code."""
    assert output.fail(NotFound("no CA is named x", hint="vouchd ca list")) == 66
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "vouchd: no CA is named x\nvouchd: hint: vouchd ca list\n"


def test_fail_without_hint_says_no_hint(capsys):
    """No empty hint line."""
    assert output.fail(CRLStale("older")) == 65
    assert capsys.readouterr().err == "vouchd: older\n"


def test_fail_error_without_words_is_named(capsys):
    """Even an error without a message says something."""
    output.fail(VouchdError(""))
    assert capsys.readouterr().err == "vouchd: VouchdError\n"


def test_table_in_a_pipe_keeps_one_line_for_each_row(capsys):
    """What is piped to grep or awk is not wrapped, coloured or shortened."""
    subject = "CN=" + "a" * 150
    output.table(["name", "n"], [[subject, None], ["[bold]x[/bold]", 3]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["name", "n"], [subject, "-"], ["[bold]x[/bold]", "3"]]


def test_records_that_tell_different_things_have_all_columns(capsys):
    """What one record does not tell is empty in its row, and no column is lost."""
    output.records([{"name": "a", "n": 1}, {"name": "b", "reason_why": "x"}], json_output=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["name", "n", "reason", "why"], ["a", "1", "-"], ["b", "-", "x"]]


def test_table_in_a_pipe_is_aligned_and_loads_no_rich():
    """Columns stand below each other, a cell of several lines stays in its row, and nobody waits for colours."""
    code = "output.table(['name', 'n'], [['a\\nb', 1], ['longer', None]]); output.fields({'x': None})"
    listed = f"import sys; from vouchd.cli import output; {code}; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["name    n", "a b     1", "longer  -", "x  -", "False"]


def test_table_on_a_terminal_is_shown_with_rich(monkeypatch, capsys):
    """There long cells are folded into the width of the window."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    output.table(["name"], [["a" * 60]])
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[1:]] == ["a" * 40, "a" * 20]


def test_table_without_rows_tells_on_stderr(capsys):
    """An empty result leaves stdout empty."""
    output.table(["name"], [], empty="nothing there")
    assert tuple(capsys.readouterr()) == ("", "vouchd: nothing there\n")


def test_as_json_writes_bytes_and_sets_readably(capsys):
    """JSON has hex for bytes and lists for sets."""
    output.as_json({"id": b"\x01\xff", "names": frozenset({"b", "a"})})
    assert json.loads(capsys.readouterr().out) == {"id": "01ff", "names": ["a", "b"]}


def test_records_json_of_nothing_is_an_empty_list(capsys):
    """A program gets a list also when there is nothing."""
    output.records([], json_output=True, empty="nothing there")
    assert tuple(capsys.readouterr()) == ("[]\n", "")


@pytest.mark.parametrize("at, text", [(None, None), (0, "1970-01-01T00:00:00Z"), (1795000000, "2026-11-18T11:06:40Z")])
def test_when_shows_utc(at, text):
    """Times are ISO 8601 in UTC."""
    assert output.when(at) == text


@pytest.mark.parametrize("octets, text", [(b"\x0c", "0xc"), (b"\x00\xff", "0xff"), (b"\xff", "-0x1")])
def test_serial_text_shows_the_number(octets, text):
    """Serials are shown as the number they are, in hexadecimal."""
    assert output.serial_text(octets) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (["a", None], "a, -"),
        ([], "-"),
        ({"a": 1, "b": True}, "a 1, b yes"),
        (frozenset({"b", "a"}), "a, b"),
    ],
)
def test_value_is_said_in_words_of_people(value, text):
    """Nobody has to know how a program writes nothing, a truth or a list."""
    assert output.words(value) == text


def test_records_have_the_names_of_rest_in_json_and_readable_headings_in_a_table(capsys):
    """A script reads one spelling wherever the answer comes from."""
    rows = [{"CA": "Site", "CRL_number": 7, "fresh": True}]
    output.records(rows, json_output=True)
    assert json.loads(capsys.readouterr().out) == [{"ca": "Site", "crl_number": 7, "fresh": True}]
    output.records(rows, json_output=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["CA", "CRL", "number", "fresh"],
        ["Site", "7", "yes"],
    ]


TIME = "2026-11-24T05:41:44Z"


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 6])
def test_table_on_a_terminal_breaks_no_time(monkeypatch, capsys, columns):
    """Eighty columns are enough: what does not fit beside each other is shown below each other, whole."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    row = ["a label of some words", "f" * 64, *[TIME] * columns]
    output.table(["label", "SHA-256", *[f"time {number}" for number in range(columns)]], [row, row])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum(line.count(TIME) for line in lines) == 2 * columns
