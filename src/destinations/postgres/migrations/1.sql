CREATE TABLE _format (version integer NOT NULL);
INSERT INTO _format VALUES (0);
CREATE TABLE _lock (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    token      bigint NOT NULL,
    holder     text,
    in_session boolean NOT NULL,
    taken_at   timestamp with time zone,
    expires_at timestamp with time zone NOT NULL
);
INSERT INTO _lock (token, in_session, expires_at) VALUES (0, false, '-infinity');
CREATE TABLE _tables (
    name  text PRIMARY KEY,
    shape text NOT NULL
);
CREATE TABLE _state (
    table_name text NOT NULL,
    partition  text NOT NULL,
    format     integer NOT NULL,
    cursor     text NOT NULL,
    PRIMARY KEY (table_name, partition)
);
CREATE TABLE _runs (
    run        bigint NOT NULL,
    table_name text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at   timestamp with time zone,
    outcome    text NOT NULL,
    reason     text,
    place      text,
    requests   bigint NOT NULL DEFAULT 0,
    retries    bigint NOT NULL DEFAULT 0,
    waited_ms  bigint NOT NULL DEFAULT 0,
    seen       bigint NOT NULL DEFAULT 0,
    inserted   bigint NOT NULL DEFAULT 0,
    updated    bigint NOT NULL DEFAULT 0,
    unchanged  bigint NOT NULL DEFAULT 0,
    duplicate  bigint NOT NULL DEFAULT 0,
    rejected   bigint NOT NULL DEFAULT 0,
    deleted    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run, table_name)
);
CREATE TABLE _rejected (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run        bigint NOT NULL,
    table_name text NOT NULL,
    reason     text NOT NULL,
    raw        text NOT NULL
);
