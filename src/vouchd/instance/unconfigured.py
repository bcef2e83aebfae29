"""An instance that is not set up yet: a folder with a CS.cfg that says so, and what its set-up needs, in `setup/`.

`cs.state=0` in CS.cfg is what the Certificate System has there; `preop.pin` is what opens the wizard. When the keys and
settings of the instance are made they take the place of all but `setup/`, which goes when the set-up is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vouchd.errors import AlreadyExists, LifecycleError
from vouchd.files import PRIVATE, replace_file, sync_folder, write_new
from vouchd.instance.locking import quiet
from vouchd.settings import cs_cfg
from vouchd.settings.layout import Layout
from vouchd.settings.reading import STATE, UNCONFIGURED

PIN = "preop.pin"
_TEXT = f"""\
# This instance is not set up yet: its wizard does it, in a browser, or `vouchd setup --answers FILE`.
{STATE}={UNCONFIGURED}
"""
_LOCK = "lock"


def is_unconfigured(layout: Layout) -> bool:
    """Whether the folder is of an instance whose keys and settings are still to be made. Raises: ConfigError."""
    if not layout.setup.is_dir() or not layout.cs_cfg.exists():
        return False
    state = cs_cfg.read(layout.cs_cfg).assignments.get(STATE)
    return state is not None and state.text == UNCONFIGURED


def is_configured(layout: Layout) -> bool:
    """Whether the keys and settings of an instance are there, though its set-up may not be done."""
    return layout.cs_cfg.exists() and not is_unconfigured(layout)


def is_being_set_up(layout: Layout) -> bool:
    """Whether the set-up was begun and is not done."""
    return layout.setup.is_dir() and layout.cs_cfg.exists()


def make_unconfigured(layout: Layout) -> bool:
    """Make the folder of an instance that is to be set up; False where it is there and is being set up.

    Raises: AlreadyExists when something else is there; LifecycleError.
    """
    root = layout.root
    if is_being_set_up(layout):
        return False
    if root.exists() and (not root.is_dir() or any(path != layout.setup for path in root.iterdir())):
        raise AlreadyExists(f"{root}: exists already", hint="choose another --instance DIR")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        layout.setup.mkdir(mode=0o700, exist_ok=True)
        write_new(layout.cs_cfg, _TEXT.encode(), PRIVATE)
        sync_folder(root.parent)
    except OSError as error:
        raise LifecycleError(f"{root}: cannot be made: {error.strerror}") from error
    return True


def keep_pin(layout: Layout, pin: str) -> None:
    """Let CS.cfg of an instance without keys and settings name the PIN of its wizard; empty: it has none now."""
    if is_unconfigured(layout):
        text = f"{_TEXT}{PIN}={pin}\n" if pin else _TEXT
        replace_file(layout.cs_cfg, text.encode(), PRIVATE)


@contextmanager
def setting_up(layout: Layout) -> Iterator[None]:
    """Within it nobody else sets the instance up. Raises: LifecycleError when somebody does."""
    with quiet(layout.setup / _LOCK) as free:
        if not free:
            raise LifecycleError(
                f"{layout.root}: its set-up is under way in another process", hint="finish it there, or: vouchd stop"
            )
        yield


def is_under_way(layout: Layout) -> bool:
    """Whether a process is setting the instance up."""
    with quiet(layout.setup / _LOCK) as free:
        return not free
