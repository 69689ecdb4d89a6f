//! The statements for response times.

use jiff::civil::Date;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Transaction};

use super::super::schema::Schema;
use super::{first_day, storable};
use crate::database::{Connected, DatabaseError};
use crate::domain::monitoring::responses::{
    KEEP_RESPONSE_DAYS, MonitorResponses, ResponseDay, ResponseTotals,
};

/// Stores totals under a fencing token.
pub(super) async fn put(
    tx: &Transaction<'_>,
    schema: Schema,
    token: i64,
    totals: &ResponseTotals,
) -> Result<(), Error> {
    if totals.is_empty() {
        return Ok(());
    }
    let monitors: Vec<String> = totals.keys().map(|(monitor, _)| storable(monitor)).collect();
    let dates: Vec<Date> = totals.keys().map(|(_, date)| *date).collect();
    let hours: Vec<Vec<u8>> = totals.values().map(ResponseDay::encode).collect();
    let put = schema.sql(
        "INSERT INTO @.response (token, monitor, date, hours) SELECT $1, * FROM unnest($2, $3, $4)
         ON CONFLICT (monitor, date, token) DO UPDATE SET hours = excluded.hours",
    );
    let values: [(&(dyn ToSql + Sync), Type); 4] = [
        (&token, Type::INT8),
        (&monitors, Type::TEXT_ARRAY),
        (&dates, Type::DATE_ARRAY),
        (&hours, Type::BYTEA_ARRAY),
    ];
    tx.execute_typed(&put, &values).await.map(|_| ())
}

/// Deletes old days. The newest days with rows are kept, whatever the clock says.
pub(super) async fn prune(tx: &Transaction<'_>, schema: Schema) -> Result<(), Error> {
    let prune = schema.sql(
        "DELETE FROM @.response WHERE date <
            (SELECT DISTINCT date FROM @.response ORDER BY date DESC LIMIT 1 OFFSET $1)",
    );
    tx.execute_typed(&prune, &[(&(KEEP_RESPONSE_DAYS - 1), Type::INT8)]).await.map(|_| ())
}

/// The days of one monitor, or of all, since a date, ordered by monitor and date.
pub(super) async fn read(
    db: &Connected,
    schema: Schema,
    of: Option<&str>,
    since: Date,
) -> Result<Vec<MonitorResponses>, DatabaseError> {
    let judge = |e: Error| db.judge("reading history", &e);
    let select = schema.sql(
        "SELECT monitor, date, hours FROM @.response WHERE date >= $1 AND ($2 IS NULL OR monitor = $2)
         ORDER BY monitor COLLATE \"C\", date, token",
    );
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&since.max(first_day()), Type::DATE), (&of, Type::TEXT)];
    let mut days: Vec<MonitorResponses> = Vec::new();
    for row in db.client.query_typed(&select, &values).await.map_err(judge)? {
        let (monitor, date): (String, Date) =
            (row.try_get(0).map_err(judge)?, row.try_get(1).map_err(judge)?);
        let day = ResponseDay::decode(row.try_get(2).map_err(judge)?);
        match days.last_mut().filter(|last| last.0 == monitor && last.1 == date) {
            Some((.., same)) => same.add(&day),
            None => days.push((monitor, date, day)),
        }
    }
    Ok(days)
}
