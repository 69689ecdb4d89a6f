-- What each channel was sent, and what is pending.
CREATE TABLE @.channel (
    name  text PRIMARY KEY,
    state json NOT NULL
);
