-- The record of each tenant's banner; until now there was one tenant.
CREATE TABLE tenant_banner (
    tenant TEXT PRIMARY KEY,
    memory TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tenant_banner SELECT memory ->> '$.tenant', memory FROM banner WHERE memory ->> '$.tenant' IS NOT NULL;
DROP TABLE banner;
ALTER TABLE tenant_banner RENAME TO banner;
