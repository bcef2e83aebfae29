"""Ours: an instance with one worker, fed by `vouchd crl add`."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.instance import Instance
from bench.peers.peer import Serving, Site
from bench.processes import family


class Vouchd:
    """The instance whose CA and signer the others are given as well."""

    name = "vouchd"
    keys = ("EC", "RSA")

    def __init__(self, made: Instance) -> None:
        self._made = made

    @contextmanager
    def serving(self, site: Site) -> Iterator[Serving]:
        """It, once it has the CRL."""
        port, version = self._made.report().ee[1], importlib.metadata.version("vouchd")
        serving = Serving(version, port, self._processes, "/ocsp", serials=10**15)
        begin = time.monotonic()
        self._made.vouchd("crl", "add", str(site.crl_file))
        yield serving.listed(serving.seconds_until_revoked(site, begin), "`vouchd crl add`")

    def _processes(self) -> list[int]:
        return family(self._made.report().pid)
