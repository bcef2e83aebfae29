-- Version 2: users of the agent port. One row holds one fact as JSON (core/records.py). Users are few, and each change
-- reads all of them in its transaction: to whom a certificate belongs and who is left to administer is decided there.

CREATE TABLE user (
    id   TEXT PRIMARY KEY,
    fact TEXT NOT NULL
) WITHOUT ROWID;
