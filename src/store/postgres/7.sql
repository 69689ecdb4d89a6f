-- What each tenant has of the data of a connector, and what is pending.
CREATE TABLE @.delivery (
    tenant    text NOT NULL,
    connector text NOT NULL,
    state     json NOT NULL,
    PRIMARY KEY (tenant, connector)
);
