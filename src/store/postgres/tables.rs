//! The statements that write and read the tables. They are not prepared by name, because poolers do not support that.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::{Json, ToSql, Type};
use tokio_postgres::{Error, Row, Transaction};

use super::super::lease::Lease;
use super::super::schema::Schema;
use super::super::{
    Batch, KEEP_DAYS, KEEP_HISTORY, MonitorDay, Remembered, SavedBanner, SavedDeliveries, Span, StateChange,
    StoredState, WriterRight,
};
use super::totals::BatchTotals;
use super::{Trouble, first_day, late, responses, storable};
use crate::database::{Connected, DatabaseError};
use crate::domain::monitoring::assess::{MonitorState, Transition};
use crate::domain::monitoring::banner::report::BannerReport;
use crate::domain::monitoring::history;
use crate::domain::monitoring::history::{Day, DayTotals};
use crate::domain::monitoring::news::ChannelState;
use crate::domain::monitoring::plan::BannerState;
use crate::domain::syncing::delivery::DeliveryState;

/// Limits how long a daemon that is paused inside a transaction can keep the row of the lease locked.
const LIMITS: &str = "SET LOCAL idle_in_transaction_session_timeout = '4s'; SET LOCAL lock_timeout = '3s'";

/// Saves a change in one transaction.
pub(super) async fn save(
    db: &mut Connected,
    lease: &Lease,
    change: &StateChange,
    writer: WriterRight,
    totals: Option<&BatchTotals>,
) -> Result<(), Trouble> {
    let server = db.database().clone();
    let judge = |e: Error| server.judge("saving the daemon's state", &e);
    let tx = db.transaction().await?;
    tx.batch_execute(LIMITS).await.map_err(judge)?;
    let allowed = match writer {
        WriterRight::Alone => true,
        WriterRight::Holder(token) => lease.confirm(&tx, token).await.map_err(judge)?,
        WriterRight::Former(_) => matches!(change, StateChange::Batch(_)),
    };
    if !allowed {
        return Err(Trouble::Fenced);
    }
    let token = match writer {
        WriterRight::Alone => 0,
        WriterRight::Holder(token) | WriterRight::Former(token) => token,
    };
    if let (WriterRight::Former(_), StateChange::Batch(batch)) = (writer, change) {
        late::join_saved(&tx, lease.schema, &batch.transitions).await.map_err(judge)?;
    }
    write(&tx, lease.schema, change, token, totals).await.map_err(judge)?;
    tx.commit().await.map_err(judge)?;
    Ok(())
}

async fn write(
    tx: &Transaction<'_>,
    schema: Schema,
    change: &StateChange,
    token: i64,
    totals: Option<&BatchTotals>,
) -> Result<(), Error> {
    let run = async |text: &str, values: &[(&(dyn ToSql + Sync), Type)]| {
        tx.execute_typed(&schema.sql(text), values).await.map(|_| ())
    };
    match change {
        StateChange::Batch(batch) => {
            put_states(tx, schema, batch).await?;
            add_transitions(tx, schema, batch).await?;
            match totals {
                Some(totals) => {
                    put_days(tx, schema, token, &totals.days).await?;
                    responses::put(tx, schema, token, &totals.responses).await
                }
                None => Ok(()),
            }
        }
        StateChange::BannerState(remembered) => {
            let Remembered { tenant, memory, report } = remembered.as_ref();
            let put = "INSERT INTO @.banner (tenant, memory, report) VALUES ($1, $2, $3)
                ON CONFLICT (tenant) DO UPDATE SET memory = $2, report = $3";
            let report = report.as_ref().map(Json);
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&storable(tenant), Type::TEXT), (&Json(memory), Type::JSON), (&report, Type::JSON)];
            run(put, &values).await
        }
        StateChange::ForgetBanner(tenant) => {
            run("DELETE FROM @.banner WHERE tenant = $1", &[(&storable(tenant), Type::TEXT)]).await
        }
        StateChange::Channel(name, None) => {
            run("DELETE FROM @.channel WHERE name = $1", &[(&storable(name), Type::TEXT)]).await
        }
        StateChange::Channel(name, Some(state)) => {
            let put = "INSERT INTO @.channel (name, state) VALUES ($1, $2)
                ON CONFLICT (name) DO UPDATE SET state = excluded.state";
            run(put, &[(&storable(name), Type::TEXT), (&Json(state.as_ref()), Type::JSON)]).await
        }
        StateChange::Delivery((tenant, connector), None) => {
            let delete = "DELETE FROM @.delivery WHERE tenant = $1 AND connector = $2";
            run(delete, &[(&storable(tenant), Type::TEXT), (&storable(connector), Type::TEXT)]).await
        }
        StateChange::Delivery((tenant, connector), Some(state)) => {
            let put = "INSERT INTO @.delivery (tenant, connector, state) VALUES ($1, $2, $3)
                ON CONFLICT (tenant, connector) DO UPDATE SET state = excluded.state";
            let (tenant, connector) = (storable(tenant), storable(connector));
            let state = Json(state.as_ref());
            run(put, &[(&tenant, Type::TEXT), (&connector, Type::TEXT), (&state, Type::JSON)]).await
        }
        StateChange::Forget(monitors) => {
            let monitors: Vec<String> = monitors.iter().map(|name| storable(name)).collect();
            run("DELETE FROM @.monitor WHERE name = ANY($1)", &[(&monitors, Type::TEXT_ARRAY)]).await
        }
        StateChange::Prune(now) => {
            responses::prune(tx, schema).await?;
            let newest = "SELECT DISTINCT date FROM @.day ORDER BY date DESC LIMIT 1 OFFSET $1";
            let rows = tx.query_typed(&schema.sql(newest), &[(&(KEEP_DAYS - 1), Type::INT8)]).await?;
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
    let transitions = &batch.transitions;
    let times: Vec<Timestamp> = transitions.iter().map(|t| bounded(t.at)).collect();
    let texts = |of: fn(&Transition) -> &str| transitions.iter().map(|t| storable(of(t))).collect::<Vec<_>>();
    let add = schema.sql(
        "INSERT INTO @.transition (at, monitor, from_, to_, description)
         SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT (monitor, at, from_, to_) DO NOTHING",
    );
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&times, Type::TIMESTAMPTZ_ARRAY),
        (&texts(|t| &t.monitor), Type::TEXT_ARRAY),
        (&texts(|t| t.from.as_str()), Type::TEXT_ARRAY),
        (&texts(|t| t.to.as_str()), Type::TEXT_ARRAY),
        (&texts(|t| &t.description), Type::TEXT_ARRAY),
    ];
    tx.execute_typed(&add, &values).await.map(|_| ())
}

async fn put_days(tx: &Transaction<'_>, schema: Schema, token: i64, totals: &DayTotals) -> Result<(), Error> {
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

/// The states of the monitors, and the banner record.
pub(super) async fn recall(db: &Connected, schema: Schema) -> Result<StoredState, DatabaseError> {
    let judge = |e: Error| db.judge("reading the daemon's state", &e);
    let rows = query(db, schema, "SELECT name, state FROM @.monitor ORDER BY name", &[]).await?;
    let state = |row: &Row| Ok((row.try_get(0)?, row.try_get::<_, Json<MonitorState>>(1)?.0));
    let states = rows.iter().map(state).collect::<Result<_, Error>>().map_err(judge)?;
    let rows = query(db, schema, "SELECT * FROM @.banner", &[]).await?;
    let saved = |row: &Row| {
        let state = row.try_get::<_, Json<BannerState>>("memory")?.0;
        // For display only: a schema of an earlier version has no such column, one of a later version may differ.
        let report = row.try_get::<_, Option<Json<BannerReport>>>("report").ok().flatten();
        Ok((row.try_get("tenant")?, SavedBanner { state, report: report.map(|Json(report)| report) }))
    };
    let banners = rows.iter().map(saved).collect::<Result<_, Error>>().map_err(judge)?;
    let (channels, deliveries) = (channels(db, schema).await?, deliveries(db, schema).await?);
    Ok(StoredState { states, banners, channels, deliveries })
}

async fn channels(db: &Connected, schema: Schema) -> Result<BTreeMap<String, ChannelState>, DatabaseError> {
    let judge = |e: Error| db.judge("reading the daemon's state", &e);
    if !has_table(db, schema, "channel").await? {
        return Ok(BTreeMap::new());
    }
    let rows = query(db, schema, "SELECT name, state FROM @.channel", &[]).await?;
    let state = |row: &Row| Ok((row.try_get(0)?, row.try_get::<_, Json<ChannelState>>(1)?.0));
    rows.iter().map(state).collect::<Result<_, Error>>().map_err(judge)
}

async fn deliveries(db: &Connected, schema: Schema) -> Result<SavedDeliveries, DatabaseError> {
    if !has_table(db, schema, "delivery").await? {
        return Ok(BTreeMap::new());
    }
    let rows = query(db, schema, "SELECT tenant, connector, state FROM @.delivery", &[]).await?;
    let state = |row: &Row| {
        let key = (row.try_get(0)?, row.try_get(1)?);
        Ok((key, row.try_get::<_, Json<DeliveryState>>(2)?.0))
    };
    let states = rows.iter().map(state).collect::<Result<_, Error>>();
    states.map_err(|e| db.judge("reading the daemon's state", &e))
}

/// The schema of an earlier version is also read before it is migrated.
async fn has_table(db: &Connected, schema: Schema, name: &str) -> Result<bool, DatabaseError> {
    let name = format!("{}.{name}", schema.name());
    let table = query(db, schema, "SELECT to_regclass($1) IS NOT NULL", &[(&name, Type::TEXT)]).await?;
    let exists = table.first().map(|row| row.try_get(0)).transpose();
    Ok(exists.map_err(|e| db.judge("reading the daemon's state", &e))?.unwrap_or(false))
}

/// The days of one monitor, or of all, since a date, ordered by monitor and date.
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

/// Transitions, newest first.
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
            text.parse().map_err(|_| {
                let reason = format!("`{text}` is not a severity");
                DatabaseError::failed(db.database().name(), "reading history", reason)
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
    rows.map_err(|e| db.judge("reading the daemon's state", &e))
}

/// Limits a time to the years 1970 to 9000, which PostgreSQL can store.
fn bounded(at: Timestamp) -> Timestamp {
    let years = SignedDuration::from_hours(24 * 365 * 7000);
    let last = Timestamp::UNIX_EPOCH.checked_add(years).unwrap_or(Timestamp::MAX);
    at.clamp(Timestamp::UNIX_EPOCH, last)
}
