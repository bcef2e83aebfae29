"""The ingestion lock: one holder at a time, dropped however it ends."""

from __future__ import annotations

import pytest

from vouchd.errors import StoreUnavailable
from vouchd.instance.locking import config_lock, ingest_lock, quiet


def test_lock_held_keeps_others_out(tmp_path):
    """While one holds the lock another gives up after its time, and tidying finds no quiet."""
    path = tmp_path / "lock"
    with ingest_lock(path):
        with pytest.raises(StoreUnavailable, match="another process"), ingest_lock(path, wait_seconds=0):
            pass
        with quiet(path) as alone:
            assert not alone


def test_config_lock_held_keeps_others_out(tmp_path):
    """Two commands never change CS.cfg at a time; the message says what the other one is doing."""
    path = tmp_path / "config.lock"
    match = "changing the settings"
    with config_lock(path), pytest.raises(StoreUnavailable, match=match), config_lock(path, wait_seconds=0):
        pass
    with config_lock(path, wait_seconds=0):
        pass


def test_lock_is_free_after_an_error(tmp_path):
    """An error inside does not keep the lock."""
    path = tmp_path / "lock"
    with pytest.raises(RuntimeError), ingest_lock(path):
        raise RuntimeError
    with quiet(path) as alone:
        assert alone


def test_quiet_keeps_ingestion_out(tmp_path):
    """While files are tidied nobody accepts a CRL."""
    path = tmp_path / "lock"
    with quiet(path) as alone:
        assert alone
        with pytest.raises(StoreUnavailable), ingest_lock(path, wait_seconds=0):
            pass


def test_lock_in_a_missing_folder_is_told(tmp_path):
    """A folder that is gone is an error of the store, not a traceback."""
    with pytest.raises(StoreUnavailable, match="No such file"), ingest_lock(tmp_path / "gone" / "lock"):
        pass
