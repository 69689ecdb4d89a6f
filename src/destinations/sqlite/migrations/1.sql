CREATE TABLE _tables (
    name     TEXT PRIMARY KEY NOT NULL,
    shape    TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE _state (
    table_name TEXT NOT NULL,
    partition  TEXT NOT NULL,
    format     INTEGER NOT NULL,
    cursor     TEXT NOT NULL,
    PRIMARY KEY (table_name, partition)
) WITHOUT ROWID;
CREATE TABLE _runs (
    run        INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at   TEXT,
    outcome    TEXT NOT NULL,
    reason     TEXT,
    place      TEXT,
    requests   INTEGER NOT NULL DEFAULT 0,
    retries    INTEGER NOT NULL DEFAULT 0,
    waited_ms  INTEGER NOT NULL DEFAULT 0,
    seen       INTEGER NOT NULL DEFAULT 0,
    inserted   INTEGER NOT NULL DEFAULT 0,
    updated    INTEGER NOT NULL DEFAULT 0,
    unchanged  INTEGER NOT NULL DEFAULT 0,
    duplicate  INTEGER NOT NULL DEFAULT 0,
    rejected   INTEGER NOT NULL DEFAULT 0,
    deleted    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, table_name)
) WITHOUT ROWID;
CREATE TABLE _rejected (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    reason     TEXT NOT NULL,
    raw        TEXT NOT NULL
);
