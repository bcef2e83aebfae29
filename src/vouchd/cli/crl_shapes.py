"""How a CRL is shown: as a line of a list, or in full."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from vouchd.cli import output, whole
from vouchd.cli.instance import Instance
from vouchd.errors import PermissionDenied
from vouchd.pkix import names as dn
from vouchd.pkix.crl import read_header
from vouchd.pkix.scope import Scope

Row = dict[str, object]
Shape = Mapping[str, Any]  # as the operations give it


def labels(instance: Instance) -> dict[str, str]:
    """Label by id of all CAs; none for a publisher, who may not list them."""
    try:
        return {one["id"]: one["label"] for one in whole.authorities(instance)}
    except PermissionDenied:
        return {}


def point_row(point: Shape, names: Mapping[str, str]) -> Row:
    """One line about the CRL in use of an issuing point."""
    return {
        "CA": names.get(point["authority"], point["authority"]),
        "scope": point["scope"],
        "CRL_number": point["crl_number"],
        "kind": "delta" if point["delta"] else "full",
        "this_update": point["this_update"],
        "next_update": point["next_update"],
        "entries": point["entries"],
        "state": "expired" if point["expired"] else "fresh",
    }


def taken_rows(done: Shape, names: Mapping[str, str]) -> list[Row]:
    """The same for a CRL that was taken in just now, with whether it is served."""
    rows = [point_row(point, names) for point in done["issuing_points"]]
    return [
        {**{name: value for name, value in row.items() if name != "state"}, "served": done["served"]} for row in rows
    ]


def point_fields(point: Shape, names: Mapping[str, str]) -> Row:
    """All that is known of the CRL in use of an issuing point."""
    return {
        **point_row(point, names),
        "CA_id": point["authority"],
        "sequence": point["sequence"],
        "accepted_at": point["accepted_at"],
        "origin": point["origin"] or None,
        "lower_number_reason": point["lower_number_reason"] or None,
        **_crl_fields("base", point["base"]),
        **(_crl_fields("delta", point["delta"]) if point["delta"] else {}),
        "only": ", ".join(point["only"]) or None,
        "reasons": ", ".join(point["reasons"]) or None,
        "indirect": point["indirect"],
    }


def _crl_fields(which: str, crl: Shape) -> Row:
    return {
        f"{which}_number": crl["crl_number"],
        f"{which}_sha256": crl["sha256"],
        f"{which}_bytes": crl["bytes"],
        f"{which}_this_update": crl["this_update"],
        f"{which}_next_update": crl["next_update"],
    }


def _scope_fields(scope: Scope) -> Row:
    kinds = {"users": scope.only_user, "CAs": scope.only_ca, "attribute certificates": scope.only_attribute}
    reasons = scope.only_some_reasons
    return {
        "only": ", ".join(kind for kind, only in kinds.items() if only) or None,
        "reasons": ", ".join(sorted(reason.name.lower() for reason in reasons)) if reasons else None,
        "indirect": scope.indirect,
    }


def file_fields(crl: bytes) -> Row:
    """What the CRL in a file says of itself; nothing is verified. Raises: CRLRejected."""
    header = read_header(crl)
    return {
        "issuer": dn.readable(header.issuer_name_der),
        "CRL_number": header.crl_number,
        "delta_of": header.base_crl_number,
        "this_update": output.when(header.this_update),
        "next_update": output.when(header.next_update),
        "scope": header.point_scope_id,
        **_scope_fields(header.scope),
        "bytes": len(crl),
        "sha256": hashlib.sha256(crl).hexdigest(),
    }
