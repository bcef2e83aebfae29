"""The operating system's account that this process runs under."""

from __future__ import annotations

import os
import pwd


def user_name() -> str:
    """Its name, or `uid N` for one without an entry."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user
        return f"uid {os.getuid()}"
