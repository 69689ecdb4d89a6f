-- Response times of a monitor's polls on a day (UTC): a histogram for each hour, see domain::monitoring::responses.
CREATE TABLE response (
    monitor TEXT NOT NULL,
    date    TEXT NOT NULL,
    hours   BLOB NOT NULL,
    PRIMARY KEY (monitor, date)
) STRICT, WITHOUT ROWID;
CREATE INDEX response_date ON response (date);
