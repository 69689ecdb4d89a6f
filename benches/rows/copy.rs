//! The floor for PostgreSQL: binary COPY by the client library's own writer into a temporary table and one merge of
//! many rows, over rows that are already decoded, without any check, count or state.

use std::time::{Duration, Instant};

use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{Rows, TableShape};
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// It merges as many rows at once as the destination does.
const MERGED: usize = 50_000;

pub(crate) struct Floor {
    client: Client,
    merge: String,
    types: Vec<Type>,
    /// Rows copied and not yet merged.
    waiting: usize,
    pub(crate) rows: u64,
    pub(crate) took: Duration,
}

impl Floor {
    pub(crate) async fn connect(url: &str) -> Floor {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        Floor { client, merge: String::new(), types: Vec::new(), waiting: 0, rows: 0, took: Duration::ZERO }
    }

    pub(crate) async fn copy(&mut self, decoded: &[Rows]) {
        let begun = Instant::now();
        let Some(first) = decoded.first() else { return };
        if self.merge.is_empty() {
            self.make(&first.shape).await;
        }
        let sink = self.client.copy_in("COPY incoming FROM STDIN (FORMAT binary)").await.unwrap();
        let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, &self.types));
        for row in decoded.iter().flat_map(|rows| &rows.rows) {
            let values: Vec<Bare<'_>> = row.iter().map(Bare).collect();
            let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
            writer.as_mut().write(&values).await.unwrap();
            self.waiting += 1;
        }
        writer.finish().await.unwrap();
        if self.waiting >= MERGED {
            self.merge().await;
        }
        self.took += begun.elapsed();
    }

    pub(crate) async fn finish(&mut self) {
        let begun = Instant::now();
        if self.waiting > 0 {
            self.merge().await;
        }
        self.took += begun.elapsed();
    }

    async fn merge(&mut self) {
        let transaction = self.client.transaction().await.unwrap();
        transaction.batch_execute(&self.merge).await.unwrap();
        transaction.commit().await.unwrap();
        self.rows += self.waiting as u64;
        self.waiting = 0;
    }

    async fn make(&mut self, shape: &TableShape) {
        let mut columns = Vec::new();
        for column in &shape.columns {
            let (kind, word) = match column.kind {
                ColumnType::Boolean => (Type::BOOL, "boolean"),
                ColumnType::Bigint => (Type::INT8, "bigint"),
                // The library has no decimals; a double is less work for the server.
                ColumnType::Double | ColumnType::Decimal => (Type::FLOAT8, "double precision"),
                ColumnType::Timestamp => (Type::TIMESTAMPTZ, "timestamptz"),
                ColumnType::Json => (Type::JSONB, "jsonb"),
                _ => (Type::TEXT, "text"),
            };
            self.types.push(kind);
            columns.push(format!("\"{}\" {word}", column.name));
        }
        let (table, key, columns) = (&shape.table, shape.key.join(", "), columns.join(", "));
        let tables = format!(
            "CREATE TABLE {table} ({columns}, _synced_at timestamptz, _deleted_at timestamptz, PRIMARY KEY ({key}));
             CREATE TEMPORARY TABLE incoming ({columns})"
        );
        self.client.batch_execute(&tables).await.unwrap();
        let names: Vec<String> = shape.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let sets: Vec<String> = names.iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
        let all = names.join(", ");
        self.merge = format!(
            "INSERT INTO {table} ({all}, _synced_at) SELECT DISTINCT ON ({key}) {all}, now() FROM incoming
             ORDER BY {key} ON CONFLICT ({key}) DO UPDATE SET {}, _synced_at = EXCLUDED._synced_at; TRUNCATE incoming",
            sets.join(", ")
        );
    }
}

/// A cell for the library's writer.
#[derive(Debug)]
struct Bare<'a>(&'a Cell);

impl ToSql for Bare<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Cell::Null => Ok(IsNull::Yes),
            Cell::Bool(value) => value.to_sql(kind, out),
            Cell::Int(value) if *kind == Type::FLOAT8 => (*value as f64).to_sql(kind, out),
            Cell::Int(value) => value.to_sql(kind, out),
            Cell::Double(value) => value.to_sql(kind, out),
            Cell::Decimal(value) => value.parse::<f64>()?.to_sql(kind, out),
            Cell::Timestamp(value) => value.to_sql(kind, out),
            Cell::Json(value) => {
                bytes::BufMut::put_u8(out, 1);
                value.to_sql(&Type::TEXT, out)
            }
            Cell::Text(value) => value.to_sql(kind, out),
            Cell::Date(_) => unreachable!("an activity has no dates"),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
