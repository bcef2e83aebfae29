"""The serving report as other processes read it."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouchd.audit.keeping import AuditState
from vouchd.core.facts import IssuingPointId
from vouchd.errors import StoreUnavailable
from vouchd.instance import report
from vouchd.instance.report import (
    InstanceReport,
    MemberReport,
    ReplicationReport,
    ReportFile,
    ReportReader,
    ServedPoint,
    ServerReport,
    WorkerReport,
    read_report,
    write_report,
)
from vouchd.pkix.purposes import Validity
from vouchd.service.pulling import SourceState
from vouchd.service.selftests import SelfTestResult

POINT = ServedPoint("ab", "complete", "CA", 4, 17, 1000, None, 1001, 5, 170)
REPORT = InstanceReport(
    pid=1,
    started_at=2,
    ee=("127.0.0.1", 80),
    health=("127.0.0.1", 81),
    version=3,
    acknowledged=True,
    issuing_points=(POINT,),
    workers=(WorkerReport(0, 10, 3),),
    sources=(SourceState("main", failures=2),),
    certificates=(("agent", Validity(1, 2)),),
    selftests=(
        SelfTestResult("DiskSpace", ok=True, critical=False, detail="", hint="", at=1, milliseconds=2, trigger="x"),
    ),
    audit=AuditState(7, 1, up=False),
    members=(
        MemberReport("o2:8443", "clone", True, 1000, 2, (("ab", "complete", -70),), "", (("ab", "complete", 7),)),
    ),
    behind=("Lab CA",),
    upkeep=(("following", "cannot be asked"),),
    replication=ReplicationReport(1000, (ServerReport("o2:8443", "ds2:636", "red", why="refused"),), 1, (7, 9)),
)


def test_report_written_is_read_back(tmp_path):
    """A report comes back as it was written."""
    write_report(tmp_path / "serving.json", REPORT)
    assert read_report(tmp_path / "serving.json") == REPORT


def test_member_answers_from_our_crls_where_it_does_not_differ():
    """The numbers of a member's CRLs are ours but where they differ; of one that was never seen none is known."""
    points = [ServedPoint(each, "complete", "CA", 7, 7, 1, 2, 3, 4, 5) for each in ("ab", "cd", "ef")]
    crls, lacking = (("ab", "complete", 8),), (("cd", "complete"),)
    member = MemberReport("o2:8443", "clone", True, 1000, crls=crls, lacking=lacking)
    assert member.crl_numbers(points) == {("ab", "complete"): 8, ("ef", "complete"): points[2].crl_number}
    assert dataclasses.replace(member, seen_at=None).crl_numbers(points) == {}


POINTS = st.lists(st.integers(0, 3), min_size=5, max_size=6).map(
    lambda numbers: tuple(ServedPoint(f"{n}", "complete", "CA", n, n, 1, 2, 3, 4, 5) for n in numbers)
)


@given(
    st.lists(
        st.tuples(POINTS, st.lists(st.tuples(st.text(max_size=2), st.text(max_size=2)), max_size=2), st.text()),
        min_size=1,
    ),
    st.sampled_from([0, 200, 1 << 16]),
)
def test_report_after_any_others_is_read_back_as_a_whole(tmp_path_factory, several, least):
    """Whatever a report has otherwise than the one before is read with it, in a file that is begun anew or is not."""
    path = tmp_path_factory.mktemp("reports") / "serving.json"
    file, reader = ReportFile(path), ReportReader(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_ROWS", 2)
        patch.setattr(report, "_LEAST_OCTETS", least)
        for points, labels, error in several:
            made = dataclasses.replace(REPORT, issuing_points=points, labels=tuple(labels), store_error=error)
            file.write(made)
            assert read_report(path) == reader.read() == made


def _of_many(count=1000):
    points = tuple(ServedPoint(f"{n}", "complete", f"CA {n}", 1, 1, 1, 2, 3, 4, 5) for n in range(count))
    return dataclasses.replace(REPORT, issuing_points=points, labels=tuple((one.label, "x") for one in points))


def _with_crl(made, place):
    points = list(made.issuing_points)
    points[place] = dataclasses.replace(points[place], crl_number=points[place].sequence, sequence=made.version)
    return dataclasses.replace(made, version=made.version + 1, issuing_points=tuple(points))


def test_report_of_one_crl_among_many_writes_what_changed(tmp_path):
    """A report costs as many octets as changed, and the file has at most twice those of a whole and a report."""
    made, file, path = _of_many(), ReportFile(tmp_path / "serving.json"), tmp_path / "serving.json"
    file.write(made)
    whole = path.stat().st_size
    begun = 0
    for number in range(3000):
        before = path.stat()
        made = _with_crl(made, number % 1000)
        file.write(made)
        after = path.stat()
        begun += after.st_size < before.st_size
        assert after.st_size < before.st_size or after.st_size - before.st_size < 400
        assert after.st_size < 2 * whole + 20_000  # the whole grows with its numbers
    assert begun >= 1
    assert read_report(path) == made


def test_report_of_which_a_line_is_cut_short_is_the_one_before(tmp_path):
    """A reader that comes while a line is written sees what was whole before."""
    made, file, path = _of_many(3), ReportFile(tmp_path / "serving.json"), tmp_path / "serving.json"
    file.write(made)
    begun = path.stat().st_size
    file.write(_with_crl(made, 1))
    text = path.read_bytes()
    for end in range(begun, len(text)):
        path.write_bytes(text[:end])
        assert read_report(path) == made


def test_report_is_begun_anew_where_it_could_not_be_added_to(tmp_path):
    """A file that is not as it was written is replaced by the next report."""
    made, file, path = _of_many(3), ReportFile(tmp_path / "serving.json"), tmp_path / "serving.json"
    file.write(made)
    path.write_bytes(b"something else")
    with pytest.raises(StoreUnavailable, match="not as it was written"):
        file.write(_with_crl(made, 1))
    file.write(_with_crl(made, 1))
    assert read_report(path) == _with_crl(made, 1)
    path.unlink()
    with pytest.raises(StoreUnavailable):
        file.write(made)
    file.write(made)
    assert read_report(path) == made


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "{}\n{}\n", '{"pid": 1}', '{"surprise": 1}'])
def test_report_that_cannot_be_read_is_none(tmp_path, text):
    """No report, half a report or one of another version is no report, not an error."""
    path = tmp_path / "serving.json"
    assert read_report(path) is None
    path.write_text(text)
    assert read_report(path) is None


def test_report_serves_an_epoch_once_every_worker_does():
    """An epoch counts as served when it, or a later one, is acknowledged."""
    point = IssuingPointId("ab")
    assert REPORT.serves(point, 4)
    assert REPORT.serves(point, 3)
    assert not REPORT.serves(point, 5)
    assert not REPORT.serves(IssuingPointId("cd"), 1)
    assert not dataclasses.replace(REPORT, acknowledged=False).serves(point, 4)


@pytest.mark.parametrize(
    ("listening", "url"),
    [
        (("0.0.0.0", 80), "http://127.0.0.1:80/"),  # noqa: S104  where it listens
        (("::", 80), "http://[::1]:80/"),
        (("192.0.2.1", 8080), "http://192.0.2.1:8080/"),
    ],
)
def test_instance_is_asked_where_it_listens(listening, url):
    """This host asks at the address of the port itself; where that is any address, at loopback."""
    assert InstanceReport(1, 2, listening, ("127.0.0.1", 1)).ee_url == url


def test_report_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    """A file that somebody let grow takes no memory of a command."""
    write_report(tmp_path / "report", REPORT)
    monkeypatch.setattr(report, "_MAX_BYTES", (tmp_path / "report").stat().st_size - 1)
    with pytest.raises(StoreUnavailable, match="larger than"):
        read_report(tmp_path / "report")


def test_reader_that_looks_again_reads_what_is_new(tmp_path, monkeypatch):
    """Of a file that has grown it takes up the new lines, and of one that has not nothing."""
    made, path = _of_many(), tmp_path / "serving.json"
    file, reader, taken = ReportFile(path), ReportReader(path), []
    changed = report._changed
    monkeypatch.setattr(report, "_changed", lambda of, *rest: taken.append(of) or changed(of, *rest))
    assert reader.read() is None
    file.write(made)
    first = reader.read()
    assert first == made
    assert reader.read() is first
    for place in range(3):
        made = _with_crl(made, place)
        file.write(made)
    assert reader.read() == made
    assert taken[0] == first
    assert taken[1] is first
    assert len(taken) == 2


def test_reader_takes_a_file_of_the_number_of_one_before_for_another(tmp_path):
    """Inodes come again: lines of a file that was begun at another time are not of the report that was read."""
    former, made, path = _of_many(3), _of_many(5), tmp_path / "serving.json"
    file, reader = ReportFile(path), ReportReader(path)
    file.write(former)
    assert reader.read() == former
    other = tmp_path / "other"
    ReportFile(other).write(made)
    for others in (other.read_bytes(), path.read_bytes() + other.read_bytes()):
        path.write_bytes(others)  # in its place, as a new file with its number would be
        assert reader.read() == read_report(path)
    assert reader.read() is None
    path.write_bytes(other.read_bytes())
    assert reader.read() == made
    path.unlink()
    assert reader.read() is None


@pytest.mark.parametrize("lines", [0, 1, 40])
def test_reader_takes_no_shorter_file_for_one_that_has_not_grown(tmp_path, lines):
    """A manager that begins anew, or starts again, writes no more than there was, and inodes come again."""
    former, path = _of_many(3), tmp_path / "serving.json"
    file, reader = ReportFile(path), ReportReader(path)
    file.write(former)
    for number in range(lines):
        file.write(dataclasses.replace(former, restarts=number + 10))
    assert reader.read() == read_report(path)
    made, other = dataclasses.replace(former, pid=former.pid + 1), tmp_path / "other"
    again = ReportFile(other)
    for number in range(2):
        again.write(dataclasses.replace(made, refusals=number))
        path.write_bytes(other.read_bytes())  # in its place, as a new file with its number would be
        assert reader.read() == read_report(path) == dataclasses.replace(made, refusals=number)


def test_report_of_an_earlier_version_is_read(tmp_path):
    """It was one object without a line feed: a manager process goes on with that while the new commands look."""
    path = tmp_path / "serving.json"
    path.write_bytes(msgspec.json.encode(REPORT))
    assert read_report(path) == REPORT


def test_report_that_cannot_be_read_says_so(tmp_path):
    """The folder, or who may read it, is to be mended."""
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        read_report(tmp_path)
