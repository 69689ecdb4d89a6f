//! What is written into the tables and read from them. Statements have no names, for poolers.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::{Json, ToSql, Type};
use tokio_postgres::{Error, Row, Transaction};

use super::super::lease::Lease;
use super::super::schema::Schema;
use super::super::{Batch, KEEP_DAYS, KEEP_HISTORY, Kept, MonitorDay, Order, Remembered, Span, Writer};
use super::{Trouble, late};
use crate::database::{Connected, DatabaseError};
use crate::domain::assess::{MonitorState, Transition};
use crate::domain::history::{self, Day, Days};
use crate::domain::plan::Memory;

/// A daemon that is paused in the middle of a transaction has the lease's row locked: not for longer than this.
const LIMITS: &str = "SET LOCAL idle_in_transaction_session_timeout = '4s'; SET LOCAL lock_timeout = '3s'";

/// Totals of days that are older than the newest by this are not added to any more.
const TOTALS_OF_DAYS: i64 = 3;

/// Carries out an order in one transaction: all of it, or nothing.
pub(super) async fn keep(
    db: &mut Connected,
    lease: &Lease,
    order: &Order,
    writer: Writer,
    totals: Option<&Days>,
) -> Result<(), Trouble> {
    let server = db.database().clone();
    let judge = |e: Error| server.judge("keeping our own memory", &e);
    let tx = db.transaction().await?;
    tx.batch_execute(LIMITS).await.map_err(judge)?;
    let allowed = match writer {
        Writer::Alone => true,
        Writer::Holder(token) => lease.confirm(&tx, token).await.map_err(judge)?,
        Writer::Former(_) => matches!(order, Order::Batch(_)),
    };
    if !allowed {
        return Err(Trouble::Fenced);
    }
    let token = match writer {
        Writer::Alone => 0,
        Writer::Holder(token) | Writer::Former(token) => token,
    };
    if let (Writer::Former(_), Order::Batch(batch)) = (writer, order) {
        late::make_room(&tx, lease.schema, &batch.transitions).await.map_err(judge)?;
    }
    write(&tx, lease.schema, order, token, totals).await.map_err(judge)?;
    tx.commit().await.map_err(judge)?;
    Ok(())
}

async fn write(
    tx: &Transaction<'_>,
    schema: Schema,
    order: &Order,
    token: i64,
    totals: Option<&Days>,
) -> Result<(), Error> {
    let run = async |text: &str, values: &[(&(dyn ToSql + Sync), Type)]| {
        tx.execute_typed(&schema.sql(text), values).await.map(|_| ())
    };
    match order {
        Order::Batch(batch) => {
            put_states(tx, schema, batch).await?;
            add_transitions(tx, schema, batch).await?;
            match totals {
                Some(totals) => put_days(tx, schema, token, totals).await,
                None => Ok(()),
            }
        }
        Order::Memory(remembered) => {
            let Remembered { tenant, memory } = remembered.as_ref();
            let put = "INSERT INTO @.banner (id, tenant, memory) VALUES (1, $1, $2)
                ON CONFLICT (id) DO UPDATE SET tenant = $1, memory = $2";
            run(put, &[(&storable(tenant), Type::TEXT), (&Json(memory), Type::JSON)]).await
        }
        Order::Forget(monitors) => {
            let monitors: Vec<String> = monitors.iter().map(|name| storable(name)).collect();
            run("DELETE FROM @.monitor WHERE name = ANY($1)", &[(&monitors, Type::TEXT_ARRAY)]).await
        }
        Order::Prune(now) => {
            let of_days = "SELECT DISTINCT date FROM @.day ORDER BY date DESC LIMIT 1 OFFSET $1";
            let rows = tx.query_typed(&schema.sql(of_days), &[(&(KEEP_DAYS - 1), Type::INT8)]).await?;
            let Some(row) = rows.first() else { return Ok(()) };
            let oldest = now.checked_sub(KEEP_HISTORY).unwrap_or(Timestamp::UNIX_EPOCH);
            let oldest = oldest.min(history::begin_of(row.try_get(0)?));
            run("DELETE FROM @.transition WHERE at < $1", &[(&oldest, Type::TIMESTAMPTZ)]).await?;
            run("DELETE FROM @.day WHERE date < $1", &[(&history::date_of(oldest), Type::DATE)]).await
        }
    }
}

async fn put_states(tx: &Transaction<'_>, schema: Schema, batch: &Batch) -> Result<(), Error> {
    if batch.states.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = batch.states.keys().map(|name| storable(name)).collect();
    let states: Vec<Json<&MonitorState>> = batch.states.values().map(Json).collect();
    let put = schema.sql(
        "INSERT INTO @.monitor (name, state) SELECT * FROM unnest($1, $2)
         ON CONFLICT (name) DO UPDATE SET state = excluded.state",
    );
    tx.execute_typed(&put, &[(&names, Type::TEXT_ARRAY), (&states, Type::JSON_ARRAY)]).await.map(|_| ())
}

async fn add_transitions(tx: &Transaction<'_>, schema: Schema, batch: &Batch) -> Result<(), Error> {
    if batch.transitions.is_empty() {
        return Ok(());
    }
    let changes = &batch.transitions;
    let moments: Vec<Timestamp> = changes.iter().map(|t| bounded(t.at)).collect();
    let texts = |of: fn(&Transition) -> &str| changes.iter().map(|t| storable(of(t))).collect::<Vec<_>>();
    let add = schema.sql(
        "INSERT INTO @.transition (at, monitor, from_, to_, description)
         SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT (monitor, at, from_, to_) DO NOTHING",
    );
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&moments, Type::TIMESTAMPTZ_ARRAY),
        (&texts(|t| &t.monitor), Type::TEXT_ARRAY),
        (&texts(|t| t.from.as_str()), Type::TEXT_ARRAY),
        (&texts(|t| t.to.as_str()), Type::TEXT_ARRAY),
        (&texts(|t| &t.description), Type::TEXT_ARRAY),
    ];
    tx.execute_typed(&add, &values).await.map(|_| ())
}

async fn put_days(tx: &Transaction<'_>, schema: Schema, token: i64, totals: &Days) -> Result<(), Error> {
    if totals.is_empty() {
        return Ok(());
    }
    let monitors: Vec<String> = totals.keys().map(|(monitor, _)| storable(monitor)).collect();
    let dates: Vec<Date> = totals.keys().map(|(_, date)| *date).collect();
    let at = |severity: usize| totals.values().map(|day| i64::from(day.at[severity])).collect::<Vec<_>>();
    let put = schema.sql(
        "INSERT INTO @.day (token, monitor, date, none, maintenance, minor, major, critical)
         SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (monitor, date, token) DO UPDATE SET none = excluded.none, maintenance = excluded.maintenance,
            minor = excluded.minor, major = excluded.major, critical = excluded.critical",
    );
    let values: [(&(dyn ToSql + Sync), Type); 8] = [
        (&token, Type::INT8),
        (&monitors, Type::TEXT_ARRAY),
        (&dates, Type::DATE_ARRAY),
        (&at(0), Type::INT8_ARRAY),
        (&at(1), Type::INT8_ARRAY),
        (&at(2), Type::INT8_ARRAY),
        (&at(3), Type::INT8_ARRAY),
        (&at(4), Type::INT8_ARRAY),
    ];
    tx.execute_typed(&put, &values).await.map(|_| ())
}

/// The totals of the days of a batch, with what was kept of them before.
pub(super) fn totals(kept: Option<&Days>, days: &Days) -> Days {
    let with_kept = |(key, day): (&(String, Date), &Day)| {
        let mut total = kept.and_then(|kept| kept.get(key)).copied().unwrap_or_default();
        total.add(day);
        (key.clone(), total)
    };
    days.iter().map(with_kept).collect()
}

/// Takes totals over once they are kept, and lets go of days that are long over.
pub(super) fn note(kept: &mut Days, totals: Days) {
    kept.extend(totals);
    if let Some(newest) = kept.keys().map(|(_, date)| *date).max() {
        let oldest = history::days_before(newest, TOTALS_OF_DAYS);
        kept.retain(|(_, date), _| *date >= oldest);
    }
}

/// What is believed, and the memory of the banner.
pub(super) async fn recall(db: &Connected, schema: Schema) -> Result<Kept, DatabaseError> {
    let judge = |e: Error| db.judge("reading our own memory", &e);
    let rows = query(db, schema, "SELECT name, state FROM @.monitor ORDER BY name", &[]).await?;
    let state = |row: &Row| Ok((row.try_get(0)?, row.try_get::<_, Json<MonitorState>>(1)?.0));
    let states = rows.iter().map(state).collect::<Result<_, Error>>().map_err(judge)?;
    let rows = query(db, schema, "SELECT tenant, memory FROM @.banner", &[]).await?;
    let memory = |row: &Row| Ok((row.try_get(0)?, row.try_get::<_, Json<Memory>>(1)?.0));
    let banner = rows.first().map(memory).transpose().map_err(judge)?;
    Ok(Kept { states, banner })
}

/// The days of all monitors since a date, by monitor and date.
pub(super) async fn days(
    db: &Connected,
    schema: Schema,
    of: Option<&str>,
    since: Date,
) -> Result<Vec<MonitorDay>, DatabaseError> {
    let select = "SELECT monitor, date, sum(none)::bigint, sum(maintenance)::bigint, sum(minor)::bigint,
            sum(major)::bigint, sum(critical)::bigint
        FROM @.day WHERE date >= $1 AND ($2 IS NULL OR monitor = $2) GROUP BY monitor, date ORDER BY monitor COLLATE \"C\", date";
    let since = since.max(first_day());
    let rows = query(db, schema, select, &[(&since, Type::DATE), (&of, Type::TEXT)]).await?;
    let day = |row: &Row| {
        let mut day = Day::default();
        for (place, ms) in day.at.iter_mut().enumerate() {
            *ms = u32::try_from(row.try_get::<_, i64>(2 + place)?).unwrap_or(u32::MAX);
        }
        Ok((row.try_get(0)?, row.try_get(1)?, day))
    };
    rows.iter().map(day).collect::<Result<_, Error>>().map_err(|e| db.judge("reading history", &e))
}

/// Changes of what was believed, newest first.
pub(super) async fn transitions(
    db: &Connected,
    schema: Schema,
    span: &Span,
) -> Result<Vec<Transition>, DatabaseError> {
    let select = "SELECT at, monitor, from_, to_, description FROM @.transition
        WHERE at >= $1 AND at < $2 AND ($4 IS NULL OR monitor = $4) ORDER BY at DESC, id DESC LIMIT $3";
    let limit = i64::try_from(span.limit).unwrap_or(i64::MAX);
    let monitor = span.monitor.as_deref().map(storable);
    let values: [(&(dyn ToSql + Sync), Type); 4] = [
        (&bounded(span.from), Type::TIMESTAMPTZ),
        (&bounded(span.to), Type::TIMESTAMPTZ),
        (&limit, Type::INT8),
        (&monitor, Type::TEXT),
    ];
    let rows = query(db, schema, select, &values).await?;
    let transition = |row: &Row| {
        let severity = |at: usize| {
            let text: String = row.try_get(at).map_err(|e| db.judge("reading history", &e))?;
            text.parse().map_err(|_| DatabaseError::Failed {
                place: db.database().name().to_owned(),
                doing: "reading history".into(),
                code: None,
                reason: format!("`{text}` is no severity"),
            })
        };
        let judge = |e: Error| db.judge("reading history", &e);
        Ok(Transition {
            at: row.try_get(0).map_err(judge)?,
            monitor: row.try_get(1).map_err(judge)?,
            from: severity(2)?,
            to: severity(3)?,
            description: row.try_get(4).map_err(judge)?,
        })
    };
    rows.iter().map(transition).collect()
}

async fn query(
    db: &Connected,
    schema: Schema,
    text: &str,
    values: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, DatabaseError> {
    let rows = db.client.query_typed(&schema.sql(text), values).await;
    rows.map_err(|e| db.judge("reading our own memory", &e))
}

/// The server's text has no NUL, while a status page's may.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Within what the server can tell: the years 1970 to 9000.
fn bounded(at: Timestamp) -> Timestamp {
    let years = SignedDuration::from_hours(24 * 365 * 7000);
    let last = Timestamp::UNIX_EPOCH.checked_add(years).unwrap_or(Timestamp::MAX);
    at.clamp(Timestamp::UNIX_EPOCH, last)
}

fn first_day() -> Date {
    history::date_of(Timestamp::UNIX_EPOCH)
}
