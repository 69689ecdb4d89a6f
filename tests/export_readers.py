"""Reads an exported Parquet file with pyarrow and with DuckDB, and compares each value with the SQLite file.

Usage: export_readers.py DATABASE.db TABLE FILE.parquet. Prints one JSON document; exits with 1 on a difference.
"""

import datetime
import decimal
import json
import sqlite3
import sys

import duckdb
import pyarrow.parquet as pq

UTC = datetime.timezone.utc


def instant(text):
    """A stored instant, cut to microseconds."""
    head, _, fraction = text.partition(".")
    at = datetime.datetime.strptime(head, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return at + datetime.timedelta(microseconds=int((fraction + "000000")[:6]))


def meaning(value, kind):
    """A value of SQLite in the type that both readers give."""
    if value is None:
        return None
    if kind == "boolean":
        return value == 1
    if kind == "decimal":
        return decimal.Decimal(value)
    if kind == "date":
        return datetime.date.fromisoformat(value)
    if kind == "timestamp":
        return instant(value)
    if kind == "json":
        return json.loads(value)
    return value


def main(database, table, file):
    db = sqlite3.connect(database)
    (shape,) = db.execute("SELECT shape FROM _tables WHERE name = ?", (table,)).fetchone()
    shape = json.loads(shape)
    kinds = {column["name"]: column["kind"] for column in shape["columns"] if column["kind"] != "unknown"}
    kinds["_synced_at"] = "timestamp"
    names = list(kinds)
    quoted = ", ".join(f'"{name}"' for name in names)
    order = ", ".join(f'"{name}"' for name in shape["key"])
    stored = [
        [meaning(value, kinds[name]) for name, value in zip(names, row)]
        for row in db.execute(f'SELECT {quoted} FROM "{table}" WHERE _deleted_at IS NULL ORDER BY {order}')
    ]
    arrow = pq.read_table(file)
    by_arrow = [[row[name] for name in names] for row in arrow.to_pylist()]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    found = connection.execute(f"SELECT {quoted} FROM read_parquet(?)", [file])
    by_duck = [list(row) for row in found.fetchall()]
    for reader, rows in (("pyarrow", by_arrow), ("duckdb", by_duck)):
        for row in rows:
            for place, name in enumerate(names):
                if kinds[name] == "json" and row[place] is not None:
                    row[place] = json.loads(row[place])
                if kinds[name] == "timestamp" and row[place] is not None:
                    row[place] = row[place].astimezone(UTC)
        if rows != stored:
            different = [(a, b) for a, b in zip(rows, stored) if a != b]
            print(f"{reader}: {len(rows)} rows for {len(stored)}, {len(different)} differ: {different[:2]}", file=sys.stderr)
            return 1
    total = connection.execute("SELECT count(*) FROM read_parquet(?)", [file]).fetchone()[0]
    types = {field.name: str(field.type) for field in arrow.schema}
    metadata = {key.decode(): value.decode() for key, value in (arrow.schema.metadata or {}).items()}
    print(json.dumps({"rows": total, "types": types, "metadata": metadata}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
