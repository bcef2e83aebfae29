"""What many tests begin with is what each would have made."""

from __future__ import annotations

import pytest
from tests.images import Image


def test_image_is_put_with_contents_and_modes(tmp_path):
    """Keys stay private and empty folders stay there, wherever the folder is had again."""
    made = tmp_path / "made"
    (made / "alias").mkdir(parents=True, mode=0o700)
    (made / "logs").mkdir(mode=0o750)
    (made / "alias" / "key").write_bytes(b"secret")
    (made / "alias" / "key").chmod(0o600)
    image = Image.of(made)
    image.put(tmp_path / "again" / "vouchd")
    assert Image.of(tmp_path / "again" / "vouchd") == image


def test_folder_that_names_itself_is_no_image(tmp_path):
    """What holds its own path could not be put elsewhere: it would lead to the folder that was copied."""
    (tmp_path / "settings").write_text(f"log={tmp_path}/log")
    with pytest.raises(AssertionError):
        Image.of(tmp_path)
