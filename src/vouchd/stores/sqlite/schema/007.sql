-- Version 7: what waits for a second agent, one fact as JSON (core/approval_facts.py). No row: nothing yet.

CREATE TABLE approvals (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    fact     TEXT    NOT NULL
);
