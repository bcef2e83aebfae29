-- The certificate manager's own database. Times are POSIX seconds; serials are DER INTEGER content octets.

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL  -- JSON
) STRICT;

-- Every change of a certificate's status, in order. A delta CRL is "what changed after the base's last change".
CREATE TABLE change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    serial   BLOB NOT NULL,
    at       INTEGER NOT NULL,
    status   TEXT NOT NULL,
    reason   INTEGER
) STRICT;

CREATE TABLE certificate (
    serial          BLOB PRIMARY KEY,
    der             BLOB NOT NULL,
    subject         TEXT NOT NULL,
    profile         TEXT NOT NULL,
    is_ca           INTEGER NOT NULL,
    not_before      INTEGER NOT NULL,
    not_after       INTEGER NOT NULL,
    issued_at       INTEGER NOT NULL,
    status          TEXT NOT NULL DEFAULT 'valid' CHECK (status IN ('valid', 'held', 'revoked')),
    revoked_at      INTEGER,
    reason          INTEGER,
    invalidity_date INTEGER,
    last_change     INTEGER NOT NULL DEFAULT 0,  -- change.sequence; 0: never changed
    CHECK ((status = 'valid') = (revoked_at IS NULL)),
    CHECK ((status = 'valid') = (reason IS NULL))
) STRICT;
CREATE INDEX certificate_change ON certificate (last_change) WHERE last_change > 0;
CREATE INDEX certificate_issued ON certificate (issued_at);

-- AUTOINCREMENT: a number is never given twice, not even when rows are removed.
CREATE TABLE crl (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    scope          TEXT NOT NULL,
    base_number    INTEGER,  -- of a delta CRL: BaseCRLNumber; NULL: a full CRL
    this_update    INTEGER NOT NULL,
    next_update    INTEGER NOT NULL,
    through_change INTEGER NOT NULL,
    entry_count    INTEGER NOT NULL,
    der            BLOB  -- NULL when the bytes of an old CRL are no longer kept
) STRICT;

CREATE TABLE target (
    specification TEXT PRIMARY KEY,
    number        INTEGER,  -- CRL number of the last delivery that succeeded
    delivered_at  INTEGER,
    failure       TEXT  -- why the last delivery failed; NULL when it succeeded
) STRICT;
