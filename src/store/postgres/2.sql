-- The connectors that daemons share: who runs which, and when it is due. All moments are the server's.
CREATE TABLE @.job (
    connector   text PRIMARY KEY,
    -- Seconds between the starts of two runs, as offered last.
    every_s     double precision NOT NULL,
    next_at     timestamptz NOT NULL,
    -- Runs that failed in a row.
    failures    integer NOT NULL DEFAULT 0,
    -- Who runs it; empty while nobody does.
    holder      text,
    -- Grows with each claim: what comes with an older one changes nothing.
    token       bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    -- When a daemon last said that it can run it.
    offered_at  timestamptz NOT NULL,
    -- The start and the end of the last run.
    started_at  timestamptz,
    ended_at    timestamptz
);
