CREATE TABLE monitor (
    name  TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE transition (
    id          INTEGER PRIMARY KEY,
    at          TEXT NOT NULL,
    monitor     TEXT NOT NULL,
    from_       TEXT NOT NULL,
    to_         TEXT NOT NULL,
    description TEXT NOT NULL
) STRICT;
CREATE INDEX transition_at ON transition (at);
CREATE INDEX transition_monitor_at ON transition (monitor, at);

CREATE TABLE banner (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    memory TEXT NOT NULL
) STRICT;
