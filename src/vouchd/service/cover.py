"""What a CA's CRLs leave uncovered, and the line that mends it: said when a CRL is taken, and by `explain`.

A CRL of EJBCA or Microsoft lists every certificate of its CA, and names the point where it is published all the same.
By its own words it may be one partition of several, so each serial that it does not list is `unknown`. Whether it is
complete is known to the operator alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from vouchd.core.facts import Authority, Epoch
from vouchd.core.status import cover_every_serial, is_named_point
from vouchd.pkix.scope import Scope


def cover_notice(authority: Authority, epochs: Iterable[Epoch]) -> tuple[str, str]:
    """What the CRLs of these epochs, as far as they are the CA's, do not cover, and what mends it; both empty: nothing.

    Empty, too, while the CA has no CRL: that is told elsewhere.
    """
    scopes = [
        (epoch.issuing_point.scope_id, Scope.from_idp(epoch.idp_der))
        for epoch in epochs
        if epoch.issuing_point.authority_id == authority.id
    ]
    if not scopes or cover_every_serial(scopes, authority.policy):
        return "", ""
    if len(scopes) == 1 and is_named_point(scopes[0][1]):
        return (
            "the CA's only CRL names its distribution point, as one of several would: what it does not list is unknown",
            f"if it lists all the CA has revoked: vouchd authority set {authority.id[:16]} --named-point-covers-all",
        )
    return (
        "the CA's CRLs together do not cover every certificate: what they do not list is unknown",
        f"add what is missing, or say which are all: vouchd authority set {authority.id[:16]} --expected-scope ID",
    )
