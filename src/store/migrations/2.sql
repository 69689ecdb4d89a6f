-- Milliseconds of a day (UTC) that a monitor was believed to be at each severity; the rest was not watched.
CREATE TABLE day (
    monitor     TEXT NOT NULL,
    date        TEXT NOT NULL,
    none        INTEGER NOT NULL,
    maintenance INTEGER NOT NULL,
    minor       INTEGER NOT NULL,
    major       INTEGER NOT NULL,
    critical    INTEGER NOT NULL,
    PRIMARY KEY (monitor, date)
) STRICT, WITHOUT ROWID;
CREATE INDEX day_date ON day (date);
