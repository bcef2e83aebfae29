-- Version 5: questions that cost what they ask for. `change` has, for each CA (with an empty scope) and each issuing
-- point, the revision of its last change; rows outlive what they tell of. `issuer_name` has the names under which CRLs
-- for a CA may be issued, as pkix.names.canonical has them: another canonical form needs another schema version.

CREATE TABLE change (
    authority_id TEXT    NOT NULL,
    scope_id     TEXT    NOT NULL,
    revision     INTEGER NOT NULL,
    PRIMARY KEY (authority_id, scope_id)
) WITHOUT ROWID;
CREATE INDEX change_revision ON change (revision);
INSERT INTO change SELECT id, '', (SELECT number FROM revision) FROM authority;
INSERT OR IGNORE INTO change SELECT authority_id, scope_id, (SELECT number FROM revision) FROM high_water;
INSERT OR IGNORE INTO change SELECT authority_id, scope_id, (SELECT number FROM revision) FROM epoch;
INSERT OR IGNORE INTO change SELECT authority_id, scope_id, (SELECT number FROM revision) FROM quarantine;

CREATE TABLE issuer_name (
    name         BLOB NOT NULL,
    authority_id TEXT NOT NULL REFERENCES authority ON DELETE CASCADE,
    PRIMARY KEY (name, authority_id)
) WITHOUT ROWID;
CREATE INDEX issuer_name_authority ON issuer_name (authority_id);
