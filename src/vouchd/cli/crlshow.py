"""How a CRL is shown: as a line of a list, or in full."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from vouchd.cli import output
from vouchd.core.facts import CRLRecord, Epoch
from vouchd.pkix import names
from vouchd.pkix.crl import MAX_CRL_BYTES, read_header
from vouchd.pkix.scope import Scope

MAX_BYTES = MAX_CRL_BYTES


def epoch_row(epoch: Epoch, labels: Mapping[str, str], at: int | None = None) -> dict[str, object]:
    """One line about the CRL in use of an issuing point; with `at` also whether it has expired then."""
    authority_id = epoch.issuing_point.authority_id
    row: dict[str, object] = {
        "CA": labels.get(authority_id, authority_id),
        "scope": epoch.issuing_point.scope_id,
        "CRL_number": epoch.newest.crl_number,
        "kind": "delta" if epoch.delta else "full",
        "this_update": output.when(epoch.this_update),
        "next_update": output.when(epoch.next_update),
        "entries": epoch.entry_count,
    }
    if at is not None:
        row["state"] = "expired" if epoch.next_update is not None and epoch.next_update <= at else "fresh"
    return row


def epoch_fields(epoch: Epoch, labels: Mapping[str, str], at: int) -> dict[str, object]:
    """All that is known of the CRL in use of an issuing point."""
    return {
        **epoch_row(epoch, labels, at),
        "CA_id": epoch.issuing_point.authority_id,
        "sequence": epoch.sequence,
        "accepted_at": output.when(epoch.accepted_at),
        "origin": epoch.origin or None,
        **_crl_fields("base", epoch.base),
        **(_crl_fields("delta", epoch.delta) if epoch.delta else {}),
        **_scope_fields(Scope.from_idp(epoch.idp_der)),
    }


def _crl_fields(which: str, crl: CRLRecord) -> dict[str, object]:
    return {
        f"{which}_number": crl.crl_number,
        f"{which}_sha256": crl.sha256,
        f"{which}_bytes": crl.size_bytes,
        f"{which}_this_update": output.when(crl.this_update),
        f"{which}_next_update": output.when(crl.next_update),
    }


def _scope_fields(scope: Scope) -> dict[str, object]:
    kinds = {"users": scope.only_user, "CAs": scope.only_ca, "attribute certificates": scope.only_attribute}
    reasons = scope.only_some_reasons
    return {
        "only": ", ".join(kind for kind, only in kinds.items() if only) or None,
        "reasons": ", ".join(sorted(reason.name.lower() for reason in reasons)) if reasons else None,
        "indirect": scope.indirect,
    }


def file_fields(crl: bytes) -> dict[str, object]:
    """What the CRL in a file says of itself; nothing is verified. Raises: CRLRejected."""
    header = read_header(crl)
    return {
        "issuer": names.readable(header.issuer_name_der),
        "CRL_number": header.crl_number,
        "delta_of": header.base_crl_number,
        "this_update": output.when(header.this_update),
        "next_update": output.when(header.next_update),
        "scope": header.point_scope_id,
        **_scope_fields(header.scope),
        "bytes": len(crl),
        "sha256": hashlib.sha256(crl).hexdigest(),
    }
