"""THE table of the REST API: all operations, from which the routes and the OpenAPI document are made."""

from __future__ import annotations

from dataclasses import replace

from vouchd.api import (
    alerts,
    approvals,
    audit,
    authorities,
    certificate_status,
    certificates,
    cloning,
    configuration,
    crl_history,
    crls,
    directory_server,
    forced_promotion,
    instance,
    keys,
    member_changes,
    members,
    older_crls,
    retirement,
    selftests,
    signers,
    sources,
    tokens,
    users,
)
from vouchd.api.operation import PREFIX, Operation

_PARTS = {
    "Certification authorities": authorities,
    "CRLs": crls,
    "Former CRLs": crl_history,
    "Older CRLs": older_crls,
    "CRL sources": sources,
    "Issuing points that end": retirement,
    "Certificate status": certificate_status,
    "Users and groups": users,
    "Four eyes": approvals,
    "System certificates": certificates,
    "Signers": signers,
    "Tokens": tokens,
    "Keys": keys,
    "Configuration": configuration,
    "Instance": instance,
    "Security domain": members,
    "Changes of members": member_changes,
    "Cloning": cloning,
    "Forced promotion": forced_promotion,
    "Directory server": directory_server,
    "Self tests": selftests,
    "Alerts": alerts,
    "Audit log": audit,
}
OPERATIONS: tuple[Operation, ...] = tuple(
    replace(operation, tag=tag) for tag, part in _PARTS.items() for operation in part.OPERATIONS
)
DOCUMENT_PATH = f"{PREFIX}/openapi.json"
