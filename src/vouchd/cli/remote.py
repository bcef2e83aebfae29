"""Verbs that work on a running instance over its agent port instead of on its folder: `--url`, `--cert`, `--key`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.client.admin import AdminClient
from vouchd.errors import ConfigError

Row = dict[str, object]
PKIX_CRL = "application/pkix-crl"

UrlOption = Annotated[
    str,
    typer.Option(
        "--url", envvar="VOUCHD_URL", metavar="URL", help="Ask a running instance at its agent port, https://HOST:8443."
    ),
]
CertOption = Annotated[
    Path | None,
    typer.Option("--cert", envvar="VOUCHD_CERT", metavar="FILE", help="With --url: your client certificate, PEM."),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", envvar="VOUCHD_KEY", metavar="FILE", help="With --url: its key, PEM, if not in that file."),
]
TrustOption = Annotated[
    Path | None,
    typer.Option("--trust", envvar="VOUCHD_TRUST", metavar="FILE", help="With --url: the CA of the server, PEM."),
]


def client(url: str, cert: Path | None, key: Path | None, trust: Path | None) -> AdminClient | None:
    """The client that the options ask for, None without a URL. Raises: ConfigError."""
    if not url:
        return None
    if cert is None:
        raise ConfigError("a client certificate is needed with --url", hint="give it: --cert FILE --key FILE")
    return AdminClient(url, cert, key, trust)


def authority_row(found: Mapping[str, Any], short_id: int) -> Row:
    """One line of `vouchd ca list`."""
    updates = [point["next_update"] for point in found["issuing_points"] if point["next_update"]]
    return {
        "label": found["label"],
        "id": found["id"][:short_id],
        "CRLs": len(found["issuing_points"]),
        "revoked": found["entries"],
        "next_update": min(updates, default=None),
        "quarantined": len(found["quarantined"]),
        "CA_not_after": found["not_after"],
    }


def labels(asked: AdminClient) -> dict[str, str]:
    """Label by id of all CAs."""
    return {found["id"]: found["label"] for found in asked.get("authorities")}


def point_row(point: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """One line of `vouchd crl list`."""
    return {
        "CA": names.get(point["authority"], point["authority"]),
        "scope": point["scope"],
        "CRL_number": point["crl_number"],
        "kind": "delta" if point["delta"] else "full",
        "this_update": point["this_update"],
        "next_update": point["next_update"],
        "entries": point["base"]["entries"] + (point["delta"]["entries"] if point["delta"] else 0),
        "state": "expired" if point["expired"] else "fresh",
    }


def point_fields(point: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """What `vouchd crl show` tells."""
    fields = {
        **point_row(point, names),
        "CA_id": point["authority"],
        "sequence": point["sequence"],
        "accepted_at": point["accepted_at"],
        "origin": point["origin"] or None,
    }
    for which in ("base", "delta"):
        for name, value in (point[which] or {}).items():
            fields[f"{which}_{name.removeprefix('crl_')}"] = value
    return fields


def taken_rows(done: Mapping[str, Any], names: Mapping[str, str]) -> list[Row]:
    """The lines of `vouchd crl add` for one file."""
    return [{**point_row(point, names), "served": done["served"]} for point in done["issuing_points"]]


def user_rows(found: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The lines of `vouchd user list`."""
    return [
        {
            "id": user["id"],
            "full_name": user["full_name"],
            "groups": ", ".join(user["groups"]) or None,
            "certificates": len(user["certificates"]),
            "enabled": "yes" if user["enabled"] else "no",
        }
        for user in found
    ]


def instance_fields(found: Mapping[str, Any]) -> Row:
    """What `vouchd status` tells of the instance itself."""
    return {
        "state": "running" if found["up_to_date"] else "loading",
        "since": found["started_at"],
        "OCSP_port": found["ocsp_port"],
        "workers": found["workers"],
        "worker_restarts": found["restarts"],
        "store": found["store_error"] or "in reach",
    }


def served_rows(found: Mapping[str, Any]) -> list[Row]:
    """Its issuing points."""
    return [
        {
            "CA": point["label"],
            "scope": point["scope"],
            "CRL_number": point["crl_number"],
            "revoked": point["entries"],
            "this_update": point["this_update"],
            "next_update": point["next_update"],
        }
        for point in found["issuing_points"]
    ]
