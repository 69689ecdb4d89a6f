//! Transitions that a former leader saves late, merged with those that the next leader has saved in the meantime.
//!
//! The next leader started from the saved state, so it recorded the start of the same incident again. Without the merge
//! the history would list it twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Transaction};

use super::super::schema::Schema;
use super::storable;
use crate::domain::monitoring::assess;

/// How to treat the saved transition that follows the late ones.
#[derive(Debug, PartialEq, Eq)]
enum Joint<'a> {
    /// It continues the late ones, or is unrelated.
    Keep,
    /// The late ones already contain it.
    Drop,
    /// It must start from the severity at which the late ones end.
    From(&'a str),
}

/// The late transitions of one monitor lead from `first` to `last`; the saved one after them is `from` → `to`.
fn joint<'a>(first: &str, last: &'a str, from: &str, to: &str) -> Joint<'a> {
    if from == last || from != first {
        Joint::Keep
    } else if to == last {
        Joint::Drop
    } else {
        Joint::From(last)
    }
}

/// Makes the saved transitions continue the late ones, which the caller adds afterwards in the same transaction.
pub(super) async fn join_saved(
    tx: &Transaction<'_>,
    schema: Schema,
    late: &[assess::Transition],
) -> Result<(), Error> {
    let mut chains: BTreeMap<&str, (&str, &str, Timestamp)> = BTreeMap::new();
    for transition in late {
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        let chain = chains.entry(&transition.monitor).or_insert((from, to, transition.at));
        (chain.1, chain.2) = (to, transition.at);
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

    #[test]
    fn late_transitions_are_merged_with_saved_ones() {
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
