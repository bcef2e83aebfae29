-- Version 4: the signers of the set, one fact as JSON (core/signer_facts.py). No row: there is none yet.

CREATE TABLE keyring (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    fact     TEXT    NOT NULL
);
