-- The status store in SQLite, version 1. One row of `authority`, `epoch` and `quarantine` holds one fact as JSON
-- (core/records.py) beside the columns that rules of the store need. Foreign keys keep a document for as long as
-- something names it; what nothing names is deleted in the transaction that ended its last use.

CREATE TABLE revision (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    number   INTEGER NOT NULL
);
INSERT INTO revision VALUES (1, 0);

-- A CRL or a list of issued serials, by its SHA-256 (hex).
CREATE TABLE document (
    sha256     TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL
) WITHOUT ROWID;

-- Its bytes in pieces of at most 1 MiB, numbered from 0. With a rowid: a table of large blobs wants one.
CREATE TABLE chunk (
    sha256 TEXT    NOT NULL REFERENCES document ON DELETE CASCADE,
    number INTEGER NOT NULL,
    bytes  BLOB    NOT NULL CHECK (length(bytes) <= 1048576),
    UNIQUE (sha256, number)
);

CREATE TABLE authority (
    id             TEXT PRIMARY KEY,
    label          TEXT NOT NULL,
    issued_serials TEXT REFERENCES document,
    fact           TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX authority_issued_serials ON authority (issued_serials);

-- The current epoch of each issuing point.
CREATE TABLE epoch (
    authority_id TEXT    NOT NULL REFERENCES authority ON DELETE CASCADE,
    scope_id     TEXT    NOT NULL,
    sequence     INTEGER NOT NULL CHECK (sequence >= 1),
    base         TEXT    NOT NULL REFERENCES document,
    delta        TEXT    REFERENCES document,
    fact         TEXT    NOT NULL,
    PRIMARY KEY (authority_id, scope_id)
) WITHOUT ROWID;
CREATE INDEX epoch_base ON epoch (base);
CREATE INDEX epoch_delta ON epoch (delta);

-- Rollback protection: no foreign key, so that it outlives the authority. A CRL number has up to 20 octets
-- (RFC 5280 5.2.3), more than an INTEGER of SQLite: it is kept as decimal text.
CREATE TABLE high_water (
    authority_id TEXT    NOT NULL,
    scope_id     TEXT    NOT NULL,
    crl_number   TEXT,
    this_update  INTEGER NOT NULL,
    PRIMARY KEY (authority_id, scope_id)
) WITHOUT ROWID;

CREATE TABLE quarantine (
    authority_id TEXT    NOT NULL REFERENCES authority ON DELETE CASCADE,
    scope_id     TEXT    NOT NULL,
    received_at  INTEGER NOT NULL,
    document     TEXT    NOT NULL REFERENCES document,
    fact         TEXT    NOT NULL,
    PRIMARY KEY (authority_id, scope_id)
) WITHOUT ROWID;
CREATE INDEX quarantine_document ON quarantine (document);
