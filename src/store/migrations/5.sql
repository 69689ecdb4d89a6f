-- What each channel was sent, and what is pending.
CREATE TABLE channel (
    name  TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
