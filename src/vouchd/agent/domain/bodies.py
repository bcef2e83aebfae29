"""What comes to the domain's routes, read with suspicion; what they answer, written."""

from __future__ import annotations

import base64
import json
from typing import Any

from aiohttp import web

from vouchd.core import records
from vouchd.core.facts import Epoch, Member
from vouchd.errors import BadInput

MAX_BODY_BYTES = 16384
_JSON = "application/json"
_LONGEST_TEXT = 300


def json_answer(value: Any) -> web.Response:
    """A JSON value as an answer."""
    return web.Response(body=json.dumps(value).encode(), content_type=_JSON)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises: BadInput."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput("the body is not JSON") from error
    if not isinstance(value, dict):
        raise BadInput("the body is not a JSON object")
    return value


def read_text(body: dict[str, Any], name: str) -> str:
    """The text of that name, not empty, printable. Raises: BadInput."""
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise BadInput(f"the body has no text {name}")
    return value


def read_octets(body: dict[str, Any], name: str) -> bytes:
    """The octets of that name, in base64. Raises: BadInput."""
    value = body.get(name)
    try:
        octets = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError as error:
        raise BadInput(f"{name} in the body is not base64") from error
    if not octets:
        raise BadInput(f"the body has no octets {name}")
    return octets


def read_member(body: dict[str, Any]) -> Member:
    """The member in a body. Raises: BadInput."""
    try:
        return records.checked_member(body["member"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput("the body has no member that can be read") from error


def read_epochs(body: dict[str, Any]) -> tuple[Epoch, ...]:
    """The epochs in a body, of numbers and texts that can be compared. Raises: BadInput."""
    try:
        epochs = tuple(records.read_epoch(record) for record in body["epochs"])
        comparable = all(map(_is_comparable, epochs))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput("the body has no epochs that can be read") from error
    if not comparable:
        raise BadInput("the body has epochs of which something is of another type")
    return epochs


def _is_comparable(epoch: Epoch) -> bool:
    numbers = (epoch.accepted_at, epoch.base.this_update, epoch.this_update, epoch.newest.crl_number or 0)
    texts = (epoch.issuing_point.authority_id, epoch.issuing_point.scope_id, epoch.base.sha256)
    return all(type(one) is int for one in numbers) and all(type(one) is str for one in texts)


def read_seconds(text: str, most: float) -> float:
    """A number of seconds, not more than `most`. Raises: BadInput."""
    try:
        return min(max(0.0, float(text)), most)
    except ValueError as error:
        raise BadInput("wait is not a number of seconds") from error
