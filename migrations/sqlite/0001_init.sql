-- The event log: one row is the events of one append, so an append costs one insert whatever its size.
CREATE TABLE segments (
    first_offset INTEGER PRIMARY KEY,
    next_offset  INTEGER NOT NULL,
    time_ms      INTEGER NOT NULL,
    body         BLOB    NOT NULL
);
CREATE INDEX segments_time ON segments (time_ms);

CREATE TABLE dead_letters (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    reason   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    position TEXT    NOT NULL,
    time_ms  INTEGER NOT NULL,
    payload  BLOB    NOT NULL
);

-- The delivery log: one row per shard, and its entries by (shard << 48) + id.
CREATE TABLE shards (
    shard       INTEGER PRIMARY KEY,
    epoch       INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    m           INTEGER NOT NULL,
    a           INTEGER NOT NULL,
    top         INTEGER NOT NULL,
    log_bytes   INTEGER NOT NULL,
    min_version INTEGER NOT NULL
);
CREATE TABLE checkpoints (
    shard       INTEGER NOT NULL,
    partition   INTEGER NOT NULL,
    owner       INTEGER NOT NULL,
    next_offset INTEGER,
    PRIMARY KEY (shard, partition)
) WITHOUT ROWID;
CREATE TABLE entries (
    key   INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL,
    body  BLOB    NOT NULL
);
-- The fold: pages of 1024 counters of 8 bytes, big endian.
CREATE TABLE bases (
    shard INTEGER NOT NULL,
    page  INTEGER NOT NULL,
    body  BLOB    NOT NULL,
    PRIMARY KEY (shard, page)
);
CREATE TABLE queues (
    shard       INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    acked       INTEGER NOT NULL DEFAULT 0,
    lost        INTEGER NOT NULL DEFAULT 0,
    removed     INTEGER NOT NULL DEFAULT 0,
    last_ack_ms INTEGER,
    PRIMARY KEY (shard, slot)
) WITHOUT ROWID;
CREATE TABLE consumers (
    shard       INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    acked       INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    seen_ms     INTEGER NOT NULL,
    last_ack_ms INTEGER,
    PRIMARY KEY (shard, slot, name)
) WITHOUT ROWID;
-- Deliveries that left the log unacked; they point at their event.
CREATE TABLE spills (
    shard        INTEGER NOT NULL,
    slot         INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    partition    INTEGER NOT NULL,
    event_offset INTEGER NOT NULL,
    time_ms      INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    filters      BLOB    NOT NULL,
    PRIMARY KEY (shard, slot, seq)
) WITHOUT ROWID;
CREATE INDEX spills_time ON spills (shard, time_ms);

-- Filters, and the one counter that every change bumps.
CREATE TABLE filter_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
);
INSERT INTO filter_version VALUES (1, 0);
CREATE TABLE subscribers (
    id         TEXT    NOT NULL PRIMARY KEY,
    shard      INTEGER NOT NULL,
    slot       INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
-- The next slot of each shard: slots are never given twice.
CREATE TABLE slots (
    shard INTEGER PRIMARY KEY,
    next  INTEGER NOT NULL
);
CREATE TABLE filters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    subscriber TEXT    NOT NULL,
    name       TEXT,
    spec       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);
CREATE INDEX filters_subscriber ON filters (subscriber, id);
CREATE UNIQUE INDEX filters_name ON filters (subscriber, name) WHERE name IS NOT NULL;
CREATE INDEX filters_by_version ON filters (version);
CREATE TABLE removed_filters (
    version INTEGER PRIMARY KEY,
    id      INTEGER NOT NULL
);
CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
