"""The state that answers are made from, opened straight from the store's facts and their index files."""

from __future__ import annotations

from pathlib import Path

from vouchd.core import issued
from vouchd.core.status import ServingAuthority, ServingPoint, ServingState
from vouchd.index.format import RevocationIndexFile, SerialSetFile
from vouchd.pkix.scope import Scope
from vouchd.service.indexing import ServingFacts


def open_state(facts: ServingFacts, folder: Path) -> ServingState:
    """What the workers answer from once they have loaded `facts`; its version is the store's revision.

    Raises: IndexFileError.
    """
    return ServingState(
        version=facts.revision,
        authorities=tuple(
            ServingAuthority(
                authority,
                tuple(
                    ServingPoint(epoch, RevocationIndexFile(folder / epoch.index_name), Scope.from_idp(epoch.idp_der))
                    for epoch in facts.epochs
                    if epoch.issuing_point.authority_id == authority.id
                ),
                SerialSetFile(folder / issued.index_name(serials))
                if (serials := authority.policy.issued_serials)
                else None,
            )
            for authority in facts.authorities
        ),
    )
