-- The daemons' own memory. `@` stands for the schema. Moments are the server's, but for those of what was seen.

-- Who may do what now. A lease that was never given has no row.
CREATE TABLE @.lease (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    -- Grows whenever the holder changes: what comes with an older one is refused.
    token      bigint NOT NULL,
    since      timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Given back by its holder: the next need not wait.
    released   boolean NOT NULL
);

-- What is believed of each monitor.
CREATE TABLE @.monitor (
    name  text PRIMARY KEY,
    state json NOT NULL
);

-- Every change of what was believed. The same change told twice is one row.
CREATE TABLE @.transition (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    monitor     text NOT NULL,
    from_       text NOT NULL,
    to_         text NOT NULL,
    description text NOT NULL,
    UNIQUE (monitor, at, from_, to_)
);
CREATE INDEX transition_at ON @.transition (at);

-- Milliseconds of a day (UTC) that a monitor was believed to be at each severity, by the lease (token) under which it
-- was watched: each writer has rows of its own, so that a repeated write adds nothing.
CREATE TABLE @.day (
    monitor     text NOT NULL,
    date        date NOT NULL,
    token       bigint NOT NULL,
    none        bigint NOT NULL,
    maintenance bigint NOT NULL,
    minor       bigint NOT NULL,
    major       bigint NOT NULL,
    critical    bigint NOT NULL,
    PRIMARY KEY (monitor, date, token)
);
CREATE INDEX day_date ON @.day (date);

-- The memory of the banner.
CREATE TABLE @.banner (
    id     integer PRIMARY KEY CHECK (id = 1),
    tenant text NOT NULL,
    memory json NOT NULL
);

-- What former holders remember of the banner and could not keep in time. The holder takes it into the memory and
-- deletes it.
CREATE TABLE @.report (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key    text NOT NULL UNIQUE,
    tenant text NOT NULL,
    memory json NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
