-- What each tenant has of the data of a connector, and what is pending.
CREATE TABLE delivery (
    tenant    TEXT NOT NULL,
    connector TEXT NOT NULL,
    state     TEXT NOT NULL,
    PRIMARY KEY (tenant, connector)
) STRICT, WITHOUT ROWID;
