"""An index file damaged under a running instance: no wrong answer, nobody ends who should not, mended by itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.processes.running import eventually
from tests.whole.test_selftests import Running, instance_made

from vouchd.index.octets import SMALL_OCTETS
from vouchd.instance.lifecycle import status
from vouchd.instance.pidfile import running_pid

pytestmark = pytest.mark.process
REVOKED, TRY_LATER = 1, 69  # exit codes of `vouchd query`


@pytest.fixture
def served(tmp_path):
    """A running instance that has not been asked yet: what was asked is answered from the cache, without the index."""
    with instance_made(
        tmp_path, range(1 << 20, (1 << 20) + SMALL_OCTETS // 26)
    ) as running:  # large enough to be mapped
        assert running.vouchd("start").returncode == 0
        yield running


def index_of(running: Running):
    (path,) = running.layout.index.glob("*.idx")
    return path


def state(running: Running) -> dict:
    return json.loads(running.vouchd("status", "--json").stdout)


def test_flipped_bit_is_try_later_until_the_index_is_made_again(served):
    """A bit that changes in the file that every worker maps makes nobody good, and is mended without anybody's doing."""
    path = index_of(served)
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(64 + 8)  # the last octet of the first serial
        file.write(bytes((whole[72] ^ 1,)))
    answers = {served.query().returncode}
    eventually(lambda: state(served)["damaged_indexes_made_again"], "the index is made again")
    eventually(lambda: answers.add(code := served.query().returncode) or code == REVOKED, "it is answered again")
    assert answers <= {REVOKED, TRY_LATER}
    assert index_of(served).read_bytes() == whole
    assert "damaged index files" in served.layout.log.read_text()


def test_truncated_index_ends_no_manager(served):
    """A file that is cut short under a mapping costs a worker, which comes back; the manager maps nothing."""
    manager = running_pid(served.layout.pid_file)
    os.truncate(index_of(served), 0)
    eventually(lambda: served.query().returncode == REVOKED, "it is answered again")
    assert running_pid(served.layout.pid_file) == manager
    assert ".idx" not in Path(f"/proc/{manager}/maps").read_text(encoding="utf-8")
    assert status(served.layout).report is not None
