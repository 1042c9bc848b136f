-- What every instance must hear of soon, such as revoked tokens.
CREATE TABLE notices (
    key      TEXT    NOT NULL PRIMARY KEY,
    until_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Idempotency keys, written in the transaction that stores the events.
CREATE TABLE batch_keys (
    scope        TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    body         BLOB    NOT NULL,
    first_offset INTEGER NOT NULL,
    events       INTEGER NOT NULL,
    until_ms     INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX batch_keys_until ON batch_keys (until_ms);
