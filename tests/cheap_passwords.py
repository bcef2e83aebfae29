"""Passwords of tests' key files, which nobody guesses: they take a hundredth of the work, in commands as well.

Making an instance with an administrator's PKCS #12 file costs more for its password than for all else.
"""

from __future__ import annotations

from vouchd.pkix.pkcs12 import pbe, writing

ITERATIONS = 1000


def cheapen() -> None:
    """Have this process, and all that it forks, write key files with few iterations; any number is read."""
    for module in (pbe, writing):
        module.KDF_ITERATIONS = ITERATIONS
