"""The file of self test results: whole or not at all, and nothing that two writers put there is lost."""

from __future__ import annotations

import json
import threading

import pytest

from vouchd.errors import StoreUnavailable
from vouchd.instance.selftests.results import SelfTestFile, remove_results
from vouchd.service.selftests import SelfTestResult


def result(name: str, *, ok: bool = True) -> SelfTestResult:
    return SelfTestResult(name, ok, True, "found", "", 1000, 3, "onDemand")


def test_results_come_back_as_they_were(tmp_path):
    """What one process keeps another reads; the newest result of a test takes the place of the older one."""
    path = tmp_path / "selftests.json"
    SelfTestFile(path).replace([result("A"), result("B")])
    SelfTestFile(path).merge([result("B", ok=False), result("C")])
    assert SelfTestFile(path).latest() == (result("A"), result("B", ok=False), result("C"))
    assert path.stat().st_mode & 0o777 == 0o600
    SelfTestFile(path).replace([result("D")])
    assert SelfTestFile(path).latest() == (result("D"),)


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"name": "A"}]', '{"name": "A"}', "null", "\x00"])
def test_file_that_is_not_ours_counts_as_none(tmp_path, text):
    """A file of another version, or a damaged one, says nothing, and the next run replaces it."""
    path = tmp_path / "selftests.json"
    path.write_text(text)
    assert SelfTestFile(path).latest() == ()
    SelfTestFile(path).merge([result("A")])
    assert SelfTestFile(path).latest() == (result("A"),)


def test_results_are_understood_once_for_the_same_octets(tmp_path, monkeypatch):
    """A manager that asks at each report decodes no JSON while nothing changed, and sees each change at once."""
    path, decoded, loads = tmp_path / "selftests.json", [], json.loads
    monkeypatch.setattr(json, "loads", lambda text: (decoded.append(text), loads(text))[1])
    file = SelfTestFile(path)
    assert file.latest() == ()
    SelfTestFile(path).replace([result("A")])
    assert [file.latest() for _ in range(3)] == [(result("A"),)] * 3
    assert len(decoded) == 1
    SelfTestFile(path).replace([result("B")])  # as many octets
    assert file.latest() == (result("B"),)
    remove_results(path)
    assert file.latest() == ()
    SelfTestFile(path).replace([result("B")])
    assert file.latest() == (result("B"),)
    path.write_text("{")
    assert file.latest() == ()


def test_no_file_is_no_result(tmp_path):
    """An instance that does not run has no results; forgetting them twice does no harm."""
    path = tmp_path / "selftests.json"
    SelfTestFile(path).replace([result("A")])
    remove_results(path)
    remove_results(path)
    assert SelfTestFile(path).latest() == ()


def test_two_writers_lose_nothing(tmp_path):
    """Runs at the same moment, of other tests, are both kept."""
    path = tmp_path / "selftests.json"
    writers = [
        threading.Thread(target=lambda n=n: [SelfTestFile(path).merge([result(f"{n}-{i}")]) for i in range(20)])
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(SelfTestFile(path).latest()) == 80


def test_folder_that_is_gone_is_told(tmp_path):
    """What cannot be kept is an error, not silence."""
    with pytest.raises(StoreUnavailable, match="No such file"):
        SelfTestFile(tmp_path / "gone" / "selftests.json").merge([result("A")])
