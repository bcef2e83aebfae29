-- Version 3: the security domain. Members and join tokens are few; one row holds one fact as JSON (core/setrecords.py).

CREATE TABLE member (
    id   TEXT PRIMARY KEY,
    fact TEXT NOT NULL
) WITHOUT ROWID;

-- Of a token only its SHA-256 (hex) is kept. A token is used up by deleting its row.
CREATE TABLE join_token (
    digest     TEXT    PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    fact       TEXT    NOT NULL
) WITHOUT ROWID;
