"""The readers under attack. Each takes any bytes; only errors of ours may come out, anything else is a finding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.pki import NOW

from fuzz import responder, seeds
from vouchd.client.parsing import parse_response
from vouchd.ee import getpath
from vouchd.errors import VouchdError
from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.ocsp import parse_request
from vouchd.settings import cs_cfg
from vouchd.settings.reading import settings_from


@dataclass(frozen=True, slots=True)
class Target:
    """One reader: `run` takes it through one input, `seeds` are inputs to start from."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], tuple[bytes, ...]]


def request(data: bytes) -> None:
    """The OCSP request parser."""
    with suppress(VouchdError):
        parse_request(data)


def get_path(data: bytes) -> None:
    """The decoder of a GET's path, and what it hands to the request parser."""
    with suppress(VouchdError):
        parse_request(getpath.decode(data))


def answer(data: bytes) -> None:
    """The responder as a whole: whatever is asked, there is a response, and the client's reader can read it."""
    parse_response(responder.responder().answer(data, NOW).response_der)


def response(data: bytes) -> None:
    """The client's reader of OCSP responses."""
    with suppress(VouchdError):
        parse_response(data)


def crl(data: bytes) -> None:
    """The CRL reader, header and entries."""
    with suppress(VouchdError):
        for _ in entries(data, read_header(data)):
            pass


def config(data: bytes) -> None:
    """CS.cfg, its rendering and the settings made of it."""
    with suppress(VouchdError):
        text = data.decode("utf-8", "replace")
        parsed = cs_cfg.parse(text, "CS.cfg")
        assert parsed.render() == text, "a file that is read and written again is the same"
        settings_from(parsed, Path("/nonexistent"))


TARGETS = {
    target.name: target
    for target in (
        Target("request", request, seeds.ocsp_requests),
        Target("answer", answer, responder.requests),
        Target("response", response, seeds.ocsp_responses),
        Target("get-path", get_path, seeds.get_paths),
        Target("crl", crl, seeds.crls),
        Target("config", config, seeds.cs_cfgs),
    )
}
