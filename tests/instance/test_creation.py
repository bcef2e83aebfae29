"""A new instance's folder: there as a whole, or not at all."""

from __future__ import annotations

import pytest
from tests.pki import shared_key

from vouchd.errors import AlreadyExists, ConfigError, LifecycleError, VouchdError
from vouchd.instance.creation import NewSigner, create_instance
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings

SIGNER = NewSigner(shared_key(), "SHA256withEC")


def test_create_makes_the_layout_with_readable_settings(tmp_path):
    """Every folder of the layout is there, and CS.cfg reads back with the values given."""
    layout = create_instance(tmp_path / "i", SIGNER, {"vouchd.ee.port": "2560"})
    assert layout == Layout(tmp_path / "i")
    assert all(folder.is_dir() for folder in layout.folders)
    settings = read_settings(layout)
    assert (settings.ee.port, settings.default_signer) == (2560, "ocspSigningCert")
    assert settings.signers[0].key_file.is_file()


def test_create_finish_sees_the_draft_and_its_files_move_along(tmp_path):
    """What `finish` puts into the draft is in the instance."""

    def finish(draft):
        assert not (tmp_path / "i").exists()
        (draft.database_folder / "x").write_bytes(b"1")

    layout = create_instance(tmp_path / "i", SIGNER, {}, finish)
    assert (layout.database_folder / "x").read_bytes() == b"1"


@pytest.mark.parametrize("error", [VouchdError("refused"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_create_failing_finish_leaves_nothing(tmp_path, error):
    """A failure at any step leaves neither the folder nor a draft."""

    def finish(_):
        raise error

    with pytest.raises((VouchdError, KeyboardInterrupt)):
        create_instance(tmp_path / "i", SIGNER, {}, finish)
    assert list(tmp_path.iterdir()) == []


def test_create_unknown_setting_leaves_nothing(tmp_path):
    """A value that CS.cfg would refuse is refused before the folder appears."""
    with pytest.raises(ConfigError):
        create_instance(tmp_path / "i", SIGNER, {"vouchd.ee.port": "many"})
    assert list(tmp_path.iterdir()) == []


def test_create_beside_a_file_of_that_name_is_refused(tmp_path):
    """A file in the way is not replaced."""
    (tmp_path / "i").write_bytes(b"x")
    with pytest.raises(AlreadyExists):
        create_instance(tmp_path / "i", SIGNER, {})
    assert (tmp_path / "i").read_bytes() == b"x"


def test_create_below_a_file_tells_why(tmp_path):
    """A place that cannot be is told in words."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LifecycleError, match="cannot be made"):
        create_instance(tmp_path / "file" / "i", SIGNER, {})


def test_create_folder_that_fills_up_meanwhile_is_not_replaced(tmp_path):
    """Two commands at one moment: the second one fails, the first one's instance stays."""

    def finish(_):
        (tmp_path / "i" / "other").mkdir(parents=True)

    with pytest.raises(LifecycleError):
        create_instance(tmp_path / "i", SIGNER, {}, finish)
    assert [path.name for path in tmp_path.iterdir()] == ["i"]
    assert [path.name for path in (tmp_path / "i").iterdir()] == ["other"]
