//! Changes that a former leader saw and delivers late, joined with what the next leader saw meanwhile.
//!
//! The next leader began from the saved state, so it saw the same incident begin once more. Without this the history
//! would tell it twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Transaction};

use super::super::schema::Schema;
use super::tables::storable;
use crate::domain::assess;

/// What becomes of the saved change that follows late ones.
#[derive(Debug, PartialEq, Eq)]
enum Joint<'a> {
    /// It follows already, or tells something else.
    Keep,
    /// The late ones have told it.
    Drop,
    /// It began where the late ones end.
    From(&'a str),
}

/// Late changes of one monitor lead from `first` to `last`; the saved change after them tells `from` → `to`.
fn joint<'a>(first: &str, last: &'a str, from: &str, to: &str) -> Joint<'a> {
    if from == last || from != first {
        Joint::Keep
    } else if to == last {
        Joint::Drop
    } else {
        Joint::From(last)
    }
}

/// Makes the saved changes follow the late ones, which are added after this in the same transaction.
pub(super) async fn make_room(
    tx: &Transaction<'_>,
    schema: Schema,
    late: &[assess::Transition],
) -> Result<(), Error> {
    let mut chains: BTreeMap<&str, (&str, &str, Timestamp)> = BTreeMap::new();
    for change in late {
        let (from, to) = (change.from.as_str(), change.to.as_str());
        let chain = chains.entry(&change.monitor).or_insert((from, to, change.at));
        (chain.1, chain.2) = (to, change.at);
    }
    for (monitor, (first, last, at)) in chains {
        let monitor = storable(monitor);
        let next = schema.sql(
            "SELECT id, from_, to_ FROM @.transition WHERE monitor = $1 AND at > $2 ORDER BY at, id LIMIT 1",
        );
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&monitor, Type::TEXT), (&at, Type::TIMESTAMPTZ)];
        let rows = tx.query_typed(&next, &values).await?;
        let Some(row) = rows.first() else { continue };
        let id: i64 = row.try_get(0)?;
        let (from, to): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        match joint(first, last, &from, &to) {
            Joint::Keep => {}
            Joint::Drop => {
                let drop = schema.sql("DELETE FROM @.transition WHERE id = $1");
                tx.execute_typed(&drop, &[(&id, Type::INT8)]).await?;
            }
            Joint::From(last) => {
                let join = schema.sql("UPDATE @.transition SET from_ = $2 WHERE id = $1");
                tx.execute_typed(&join, &[(&id, Type::INT8), (&last, Type::TEXT)]).await?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same incident told twice becomes one; another course of it is joined; what follows already stays.
    #[test]
    fn joins_late_changes() {
        for (first, last, from, to, joined) in [
            ("none", "critical", "none", "critical", Joint::Drop),
            ("none", "critical", "none", "minor", Joint::From("critical")),
            ("none", "critical", "critical", "none", Joint::Keep),
            ("none", "critical", "major", "none", Joint::Keep),
            ("none", "none", "none", "major", Joint::Keep),
        ] {
            assert_eq!(joint(first, last, from, to), joined, "{first}..{last}, {from} -> {to}");
        }
    }
}
