"""Fixtures of the command line's tests: a site, and an instance made of it."""

from __future__ import annotations

import pytest
from tests.sites import Site

from vouchd.cli.main import main


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    """The files of a site; VOUCHD_INSTANCE names the instance that `create` makes."""
    monkeypatch.setenv("VOUCHD_INSTANCE", str(tmp_path / "vouchd"))
    monkeypatch.delenv("VOUCHD_DEBUG", raising=False)
    return Site.make(tmp_path)


@pytest.fixture
def instance(site) -> Site:
    """The site with its instance made."""
    site.equip()
    return site


@pytest.fixture
def run(capsys):
    """Runs a command line: `run("ca", "certs")` -> (exit code, stdout, stderr)."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
