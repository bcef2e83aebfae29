"""The shapes in which the Certificate System's servlets answer: XML, or a page with the same facts as JavaScript."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FAILED = "7"  # requestStatus of an error page

Facts = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Result:
    """What a servlet has to say; names are the Certificate System's."""

    header: Facts = field(default_factory=dict)
    fixed: Facts = field(default_factory=dict)
    records: Sequence[Facts] = ()


def wants_xml(fields: Mapping[str, bytes]) -> bool:
    """Whether the form asks for XML."""
    return fields.get("xml") == b"true"


def wants_html(request: web.Request) -> bool:
    """Whether the client is one that shows pages to people."""
    return "text/html" in request.headers.get("Accept", "")


def failed(message: str) -> Result:
    """The result that says that something went wrong."""
    return Result(fixed={"authorityName": "ocsp", "unexpectedError": message, "requestStatus": _FAILED})


def xml_response(result: Result, status: int = 200) -> web.Response:
    """`<xml><header/><fixed/><records/></xml>`, in one line."""
    records = "".join(_element("record", _elements(record)) for record in result.records)
    parts = (("header", _elements(result.header)), ("fixed", _elements(result.fixed)), ("records", records))
    return xml_text(_element("xml", "".join(_element(name, inner) for name, inner in parts)), status)


def xml_text(root: str, status: int = 200) -> web.Response:
    """A document of this root element."""
    return web.Response(body=(_DECLARATION + root).encode(), content_type="application/xml", status=status)


def page_response(result: Result, status: int = 200) -> web.Response:
    """The page whose script holds the facts as scripts look for them; it also tells an error in plain text."""
    lines = ["header = new Object();", "fixed = new Object();", "recordSet = new Array;", "recordCount = 0;"]
    lines += [f"header.{name} = {_literal(value)};" for name, value in result.header.items()]
    lines += [f"fixed.{name} = {_literal(value)};" for name, value in result.fixed.items()]
    for record in result.records:
        facts = "".join(f"record.{name}={_literal(value)};\n" for name, value in record.items())
        lines.append(f"record = new Object;\n{facts}recordSet[recordCount++] = record;")
    message = escape(str(result.fixed.get("unexpectedError", "Done")))
    script = "\n".join(lines)
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><title>vouchd</title></head><body>\n'
        f'<script type="text/javascript">\n{script}\n</script>\n<p>{message}</p>\n'
        '<p><a href="/ocsp/agent/ocsp/">Agent services</a></p>\n</body></html>\n'
    )
    return web.Response(text=text, content_type="text/html", status=status)


def java_date(second: int) -> str:
    """POSIX second as Java's Date prints it: `Mon Nov 23 14:55:49 UTC 2026`."""
    at = time.gmtime(second)
    return f"{_DAYS[at.tm_wday]} {_MONTHS[at.tm_mon - 1]} {time.strftime('%d %H:%M:%S UTC', at)} {at.tm_year:04d}"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _elements(facts: Facts) -> str:
    return "".join(_element(name, escape(_NOT_XML.sub("\ufffd", str(value)))) for name, value in facts.items())


def _element(name: str, inner: str) -> str:
    return f"<{name}>{inner}</{name}>" if inner else f"<{name}/>"


def _literal(value: str | int) -> str:
    """A JavaScript string that cannot end its script element; numbers are strings too, as scripts look for them."""
    return json.dumps(str(value)).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
