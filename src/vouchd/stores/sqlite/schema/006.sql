-- Version 6: former CRLs that the fact of an epoch names, so that their documents stay for as long as it does.

CREATE TABLE former (
    authority_id TEXT NOT NULL,
    scope_id     TEXT NOT NULL,
    document     TEXT NOT NULL REFERENCES document,
    PRIMARY KEY (authority_id, scope_id, document),
    FOREIGN KEY (authority_id, scope_id) REFERENCES epoch ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX former_document ON former (document);
