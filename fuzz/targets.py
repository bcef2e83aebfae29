"""The readers under attack. Each takes any bytes; only errors of ours may come out, anything else is a finding.

So is an input that costs more steps or memory than its length allows: see `bounds`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.pki import NOW

from fuzz import alike, responder, seeds
from fuzz.bounds import bounded, sampled
from vouchd.agent.certsystem.forms import parse_form
from vouchd.client.parsing import parse_response
from vouchd.core.records import facts_record, from_json, read_facts, to_json
from vouchd.ee import getpath
from vouchd.ee.http_request import HTTPRequest, RequestReader
from vouchd.errors import VouchdError
from vouchd.pkix import crl_entries
from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.ocsp import parse_request
from vouchd.pkix.pem import read_bundle
from vouchd.pkix.pkcs12.reading import read_bags
from vouchd.settings import cs_cfg
from vouchd.settings.reading import settings_from


@dataclass(frozen=True, slots=True)
class Target:
    """One reader; `seeds` are inputs to start from, and `is_bounded` says that its cost goes by the input's length."""

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], tuple[bytes, ...]]
    is_bounded: bool = True

    @property
    def run(self) -> Callable[[bytes], object]:
        """Takes the reader through one input and counts what that costs."""
        return bounded(self.read) if self.is_bounded else self.read

    @property
    def trial(self) -> Callable[[bytes], object]:
        """The same for many inputs, of which some are counted."""
        return sampled(self.read) if self.is_bounded else self.read


def request(data: bytes) -> None:
    """The OCSP request parser."""
    with suppress(VouchdError):
        parse_request(data)


def get_path(data: bytes) -> None:
    """The decoder of a GET's path, and what it hands to the request parser."""
    with suppress(VouchdError):
        parse_request(getpath.decode(data))


HEADER_BYTES, BODY_BYTES = 1024, 4096


def http(data: bytes) -> None:
    """The HTTP reader: requests with their bodies, offers to upgrade, pipelines; the first octet says how they are cut.

    Where the stream is cut makes no difference, and no request is larger than the limits. Of a head that is wrong and
    too long, which of the two is said (400, 431) depends on what is seen first.
    """
    step, stream = 1 + (data[0] if data else 0), data[1:]
    whole = _http_requests([stream])
    assert _http_requests([stream[at : at + step] for at in range(0, len(stream), step)]) == whole
    assert all(len(one.body) <= BODY_BYTES and len(one.target) <= HEADER_BYTES for one in whole)
    assert sum(len(one.body) + len(one.target) for one in whole) <= len(stream)


def _http_requests(chunks: list[bytes]) -> list[HTTPRequest]:
    reader = RequestReader(HEADER_BYTES, BODY_BYTES)
    for chunk in chunks:
        reader.feed(chunk)
    return [replace(one, refused=400 if one.refused else 0) for one in reader.requests]


def answer(data: bytes) -> None:
    """The responder as a whole: whatever is asked, there is a response, and the client's reader can read it."""
    parse_response(responder.responder().answer(data, NOW).response_der)


def response(data: bytes) -> None:
    """The client's reader of OCSP responses."""
    with suppress(VouchdError):
        parse_response(data)


crl_entries.SHORT_BYTES = 0  # what is tried is short, and what long lists are read by is tried as well


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


def certificates(data: bytes) -> None:
    """The reader of certificates in all the forms that people hand out."""
    with suppress(ValueError):
        assert read_bundle(data).certificates, "a bundle has one or more"


def form(data: bytes) -> None:
    """The reader of a urlencoded form."""
    with suppress(VouchdError):
        parse_form(data)


def facts(data: bytes) -> None:
    """The reader of a set's facts, as a clone gets them: what was read is written and read again to the same."""
    with suppress(VouchdError):
        read = from_json(data, read_facts)
        assert from_json(to_json(facts_record(read)), read_facts) == read


def pkcs12(data: bytes) -> None:
    """The reader of PKCS #12, up to the MAC and, where that comes out, the bags."""
    with suppress(VouchdError):
        read_bags(data, seeds.PKCS12_PASSWORD)


TARGETS = {
    target.name: target
    for target in (
        Target("request", request, seeds.ocsp_requests),
        Target("http", http, seeds.http_streams),
        Target("answer", answer, responder.requests),
        Target("alike", alike.compare, responder.requests),
        Target("response", response, seeds.ocsp_responses),
        Target("get-path", get_path, seeds.get_paths),
        Target("crl", crl, seeds.crls),
        Target("config", config, seeds.cs_cfgs),
        Target("certificates", certificates, seeds.certificates_as_handed_out),
        Target("form", form, seeds.forms),
        Target("facts", facts, seeds.facts),
        # An iteration count is a bound of its own: its cost has nothing to do with the length of the file.
        Target("pkcs12", pkcs12, seeds.pkcs12_files, is_bounded=False),
    )
}
