//! Column types of a SQLite file.

use super::*;
use ColumnType::{Bigint, Text};

/// Values lose nothing, and SQL can use them.
#[tokio::test]
async fn types_and_primary_keys_are_declared() {
    let dest = TestDestination::new();
    let (columns, row) = every_type();
    dest.run(0, send(&shape(&columns, &["id"], Write::Upsert), vec![row])).await.unwrap();
    insta::assert_snapshot!(dest.rows("SELECT sql FROM sqlite_schema WHERE name = 'thing'").await[0], @r#"
    CREATE TABLE "thing" (
        "id" TEXT NOT NULL,
        "flag" BOOLEAN,
        "count" BIGINT,
        "ratio" DOUBLE,
        "amount" DECIMAL TEXT,
        "day" DATE TEXT,
        "moment" TIMESTAMP TEXT,
        "doc" JSON TEXT,
        "order" TEXT,
        _synced_at TIMESTAMP TEXT NOT NULL,
        _deleted_at TIMESTAMP TEXT,
        PRIMARY KEY ("id")
    )
    "#);
    insta::assert_snapshot!(dest.rows("SELECT * FROM thing").await[0], @"a|1|9007199254740993|0.1|123456789012345678901234567890.10|2024-02-29|2026-05-02 09:15:00.5|[1e3]|1e3|2026-05-02 09:15:00|NULL");
    assert_eq!(
        dest.rows("SELECT typeof(count), typeof(amount), typeof(\"order\") FROM thing").await,
        ["integer|text|text"]
    );
    assert_eq!(
        dest.rows("SELECT datetime(moment, '+1 hour') FROM thing WHERE moment > '2026'").await,
        ["2026-05-02 10:15:00"]
    );
}

#[tokio::test]
async fn views_survive_a_wider_column() {
    let dest = TestDestination::new();
    let before = shape(&[("id", Text), ("v", Bigint)], &["id"], Write::Upsert);
    dest.run(0, send(&before, vec![vec![text("a"), Cell::Int(5)]])).await.unwrap();
    dest.execute("CREATE VIEW seen_by_people AS SELECT id, v FROM thing").await;
    let after = shape(&[("id", Text), ("v", Text)], &["id"], Write::Upsert);
    dest.run(1, send(&after, vec![vec![text("b"), text("x")]])).await.unwrap();
    assert_eq!(dest.rows("SELECT v FROM seen_by_people ORDER BY id").await, ["5", "x"]);
}
