-- What the leader last knew of the tenant's banner, for standbys to show.
ALTER TABLE @.banner ADD COLUMN report json;

-- Response times of a monitor's polls on a day (UTC), by the lease (token) under which it was polled: a histogram for each
-- hour, see domain::monitoring::responses. Each writer has rows of its own, so that a repeated write adds nothing.
CREATE TABLE @.response (
    monitor text NOT NULL,
    date    date NOT NULL,
    token   bigint NOT NULL,
    hours   bytea NOT NULL,
    PRIMARY KEY (monitor, date, token)
);
CREATE INDEX response_date ON @.response (date);
