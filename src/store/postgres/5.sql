-- A row for each tenant; until now there was one tenant.
ALTER TABLE @.banner DROP COLUMN id;
ALTER TABLE @.banner ADD PRIMARY KEY (tenant);
