"""Passwords of tests' key files, which nobody guesses: they take a hundredth of the work, in commands as well.

Making an instance with an administrator's PKCS #12 file costs more for its password than for all else; a quarter of what
a directory server's start costs is the password of its NSS database.
"""

from __future__ import annotations

import os

from vouchd.pkix.pkcs12 import pbe, writing

ITERATIONS = 1000
_NSS_ITERATIONS = "NSS_MAX_MP_PBE_ITERATION_COUNT"  # what NSS itself reads; nss/lib/softoken/lowpbe.c


def cheapen() -> None:
    """Have this process, and all that it forks, write key files with few iterations; any number is read."""
    for module in (pbe, writing):
        module.KDF_ITERATIONS = ITERATIONS
    os.environ[_NSS_ITERATIONS] = "1"
