-- One row that every change of a filter locks first: so versions are dense in the order of commits, and a reader that
-- goes on from the last version it saw misses none.
CREATE TABLE filter_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL,
    last_id bigint  NOT NULL
);
INSERT INTO filter_version (version, last_id) VALUES (0, 0);

-- Ids are compared byte by byte, as everywhere else, whatever the collation of the database.
CREATE TABLE subscribers (
    id         text COLLATE "C" PRIMARY KEY,
    shard      integer NOT NULL,
    slot       bigint  NOT NULL,
    filters    integer NOT NULL DEFAULT 0,
    created_ms bigint  NOT NULL,
    UNIQUE (shard, slot)
);

-- The next slot of each shard: slots are never given twice.
CREATE TABLE slots (
    shard integer PRIMARY KEY,
    next  bigint  NOT NULL
);

CREATE TABLE filters (
    id         bigint PRIMARY KEY,
    subscriber text COLLATE "C" NOT NULL REFERENCES subscribers (id),
    shard      integer NOT NULL,
    slot       bigint  NOT NULL,
    name       text COLLATE "C",
    spec       text    NOT NULL,
    version    bigint  NOT NULL,
    created_ms bigint  NOT NULL,
    updated_ms bigint  NOT NULL
);
CREATE UNIQUE INDEX filters_by_version ON filters (version);
CREATE INDEX filters_by_subscriber ON filters (subscriber, id);
CREATE UNIQUE INDEX filters_by_name ON filters (subscriber, name) WHERE name IS NOT NULL;

CREATE TABLE removed_filters (
    version bigint PRIMARY KEY,
    id      bigint NOT NULL
);

CREATE TABLE instance_reports (
    id     text PRIMARY KEY,
    report text NOT NULL,
    at     timestamptz NOT NULL
);

CREATE TABLE settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);
