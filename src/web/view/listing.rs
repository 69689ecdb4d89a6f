//! The order of monitors in a list, its filter by state, and groups by tag. Pure.
//!
//! The order is worst first, then by name, so that rows do not move while nothing changes. Start at [`arrange`].

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::status::MonitorStatus;
use crate::domain::monitoring::severity::Severity;

/// Which monitors a list shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::web) enum StateFilter {
    #[default]
    All,
    /// An incident, also one that is only the last known state.
    Problem,
    Maintenance,
    /// Without a current status.
    Unreadable,
    Operational,
}

impl StateFilter {
    pub(in crate::web) const ALL: [StateFilter; 5] = [
        StateFilter::All,
        StateFilter::Problem,
        StateFilter::Unreadable,
        StateFilter::Maintenance,
        StateFilter::Operational,
    ];

    /// The value of the query parameter `state`; anything else selects all.
    pub(in crate::web) fn parse(word: &str) -> StateFilter {
        StateFilter::ALL.into_iter().find(|filter| filter.word() == word).unwrap_or_default()
    }

    /// Empty for all.
    pub(in crate::web) fn word(self) -> &'static str {
        match self {
            StateFilter::All => "",
            StateFilter::Problem => "problem",
            StateFilter::Maintenance => "maintenance",
            StateFilter::Unreadable => "unreadable",
            StateFilter::Operational => "operational",
        }
    }

    pub(in crate::web) fn label(self) -> &'static str {
        match self {
            StateFilter::All => "All",
            StateFilter::Problem => "Problems",
            StateFilter::Maintenance => "Maintenance",
            StateFilter::Unreadable => "Not readable",
            StateFilter::Operational => "Operational",
        }
    }

    pub(in crate::web) fn matches(self, status: MonitorStatus) -> bool {
        match self {
            StateFilter::All => true,
            StateFilter::Problem => status.severity() > Some(Severity::Maintenance),
            StateFilter::Maintenance => status.severity() == Some(Severity::Maintenance),
            StateFilter::Unreadable => status.known().is_none(),
            StateFilter::Operational => status.known() == Some(Severity::None),
        }
    }
}

/// A monitor in a list, with what the list adds to it.
pub(in crate::web) struct ListItem<'a, T> {
    pub(in crate::web) name: &'a str,
    pub(in crate::web) tags: &'a [String],
    pub(in crate::web) status: MonitorStatus,
    pub(in crate::web) what: T,
}

impl<T> ListItem<'_, T> {
    /// The group: the first tag; `None` for a monitor without tags.
    pub(in crate::web) fn group(&self) -> Option<&str> {
        self.tags.first().map(String::as_str)
    }

    /// An incident outranks what is unknown; that outranks maintenance.
    fn rank(&self) -> u8 {
        match (self.status.severity(), self.status.known()) {
            (Some(severity), _) if severity > Severity::Maintenance => 3 + severity as u8,
            (_, None) => 2,
            (_, Some(Severity::Maintenance)) => 1,
            (_, Some(_)) => 0,
        }
    }
}

/// Sorts by group, then worst first, then by name. The group with the worst monitor comes first, monitors without a tag
/// last.
pub(in crate::web) fn arrange<T>(items: &mut [ListItem<'_, T>]) {
    let mut worst: BTreeMap<Option<String>, u8> = BTreeMap::new();
    for item in items.iter() {
        let rank = worst.entry(item.group().map(str::to_owned)).or_default();
        *rank = (*rank).max(item.rank());
    }
    let tagged = worst.keys().any(Option::is_some);
    items.sort_by_cached_key(|item| {
        let group = item.group().map(str::to_owned);
        let order = tagged.then(|| (group.is_none(), Reverse(worst.get(&group).copied()), group));
        (order, Reverse(item.rank()), item.name.to_lowercase(), item.name.to_owned())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn status(letter: char) -> MonitorStatus {
        let at = Timestamp::UNIX_EPOCH;
        match letter {
            'n' => MonitorStatus::Known(Severity::None),
            'a' => MonitorStatus::Known(Severity::Maintenance),
            'i' => MonitorStatus::Known(Severity::Minor),
            'j' => MonitorStatus::Known(Severity::Major),
            'J' => MonitorStatus::Unreadable(Severity::Major, at),
            'A' => MonitorStatus::Unreadable(Severity::Maintenance, at),
            's' => MonitorStatus::Stale(Severity::None, at),
            _ => MonitorStatus::Pending,
        }
    }

    #[test]
    fn worst_first_then_by_name_in_groups_by_tag() {
        for (monitors, want) in [
            ("b:n a:n C:n", "a b C"),
            ("a:n b:a c:? d:s e:i f:J g:j h:A", "f g e c d h b a"),
            ("a:n:prod b:i:test c:j:prod d:j", "c a b d"),
            ("a:n:prod b:n:dev c:n", "b a c"),
        ] {
            let parsed: Vec<(&str, MonitorStatus, Vec<String>)> = monitors
                .split(' ')
                .map(|text| {
                    let mut parts = text.split(':');
                    let name = parts.next().unwrap();
                    let letter = parts.next().unwrap().chars().next().unwrap();
                    (name, status(letter), parts.map(str::to_owned).collect())
                })
                .collect();
            let mut items: Vec<ListItem<'_, ()>> = parsed
                .iter()
                .map(|(name, status, tags)| ListItem { name, tags, status: *status, what: () })
                .collect();
            arrange(&mut items);
            let names: Vec<&str> = items.iter().map(|item| item.name).collect();
            assert_eq!(names.join(" "), want, "{monitors}");
        }
    }

    #[test]
    fn filters_by_state() {
        for (word, want) in [
            ("", "naijJAs?"),
            ("nonsense", "naijJAs?"),
            ("problem", "ijJ"),
            ("maintenance", "aA"),
            ("unreadable", "JAs?"),
            ("operational", "n"),
        ] {
            let filter = StateFilter::parse(word);
            let shown: String = "naijJAs?".chars().filter(|letter| filter.matches(status(*letter))).collect();
            assert_eq!(shown, want, "{word}");
        }
    }
}
