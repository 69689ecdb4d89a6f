//! The script of the demo: a day of incidents in two minutes, repeated.
//!
//! The daemon polls status pages every second and runs connectors every ten, so each scene is visible within about that time.

use std::time::Duration;

/// One change of a stand-in server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneEvent {
    /// A status page reports an incident, or updates its open one.
    Incident {
        page: &'static str,
        /// `minor`, `major` or `critical`.
        indicator: &'static str,
        /// Overall status of the status page.
        description: &'static str,
        title: &'static str,
    },
    /// A status page reports maintenance in progress.
    Maintenance { page: &'static str, title: &'static str },
    /// A status page closes its open incident or maintenance.
    Recovered { page: &'static str },
    /// A status page returns a web site instead of its status, as after a move.
    Unreadable { page: &'static str },
    /// A status page can be read again.
    Readable { page: &'static str },
    /// A person sets a manual banner.
    PersonSays(&'static str),
    /// The person removes it.
    PersonIsDone,
    /// Another program uses up StatusCake's quota, so that all requests are rejected for some seconds.
    QuotaUsedUp { seconds: u32 },
    /// SenSource answers with errors only.
    SenSourceFails,
    /// SenSource works again.
    SenSourceWorks,
}

/// A scene of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// Seconds since the start of the day.
    pub second: u32,
    /// What happens, printed to the console.
    pub title: &'static str,
    /// What the dashboard shows.
    pub look: &'static str,
    pub events: &'static [SceneEvent],
}

/// Seconds of a day. At its end, everything is as at its start.
pub const DAY: u32 = 120;

pub const SCENES: &[Scene] = &[
    Scene {
        second: 0,
        title: "A quiet morning",
        look: "all services are green, the tenant shows no banner, the connectors fill their tables, and an app is reloaded with the data of StatusCake",
        events: &[],
    },
    Scene {
        second: 6,
        title: "An administrator sets a manual banner",
        look: "the manual banner is up, and the program does not change it",
        events: &[SceneEvent::PersonSays("Year-end close: please finish your reports by Friday.")],
    },
    Scene {
        second: 14,
        title: "Snowflake slows down",
        look: "within a second a yellow incident banner displaces the manual one",
        events: &[SceneEvent::Incident {
            page: "snowflake",
            indicator: "minor",
            description: "Partially Degraded Service",
            title: "Slow queries in US West",
        }],
    },
    Scene {
        second: 24,
        title: "StatusCake rejects all requests for nine seconds",
        look: "its connector waits as long as the response says and then continues: no rows are missing",
        events: &[SceneEvent::QuotaUsedUp { seconds: 9 }],
    },
    Scene {
        second: 30,
        title: "Snowflake gets worse",
        look: "the banner turns red and shows the new title",
        events: &[SceneEvent::Incident {
            page: "snowflake",
            indicator: "major",
            description: "Partial System Outage",
            title: "Queries fail in US West",
        }],
    },
    Scene {
        second: 38,
        title: "GitHub has a problem as well",
        look: "one banner for both, the more severe one first",
        events: &[SceneEvent::Incident {
            page: "github",
            indicator: "minor",
            description: "Minor Service Outage",
            title: "Actions start late",
        }],
    },
    Scene {
        second: 46,
        title: "MongoDB's status page moves away",
        look: "MongoDB is unknown, never green; the banner does not change for it",
        events: &[SceneEvent::Unreadable { page: "mongodb" }],
    },
    Scene {
        second: 54,
        title: "Snowflake is fixed",
        look: "the banner is yellow again and shows only GitHub",
        events: &[SceneEvent::Recovered { page: "snowflake" }],
    },
    Scene {
        second: 62,
        title: "GitHub is fixed",
        look: "the manual banner is restored, word for word",
        events: &[SceneEvent::Recovered { page: "github" }],
    },
    Scene {
        second: 68,
        title: "MongoDB's status page can be read again",
        look: "MongoDB is green again, and the gap stays visible in its history",
        events: &[SceneEvent::Readable { page: "mongodb" }],
    },
    Scene {
        second: 72,
        title: "The administrator removes the manual banner",
        look: "the tenant shows no banner, and the program writes nothing",
        events: &[SceneEvent::PersonIsDone],
    },
    Scene {
        second: 76,
        title: "Epic Games starts its maintenance",
        look: "a blue banner: planned work is not an outage",
        events: &[SceneEvent::Maintenance { page: "epic-games", title: "Weekly update of the store" }],
    },
    Scene {
        second: 84,
        title: "SenSource answers with errors",
        look: "the connector's next run fails with a reason; stored rows stay",
        events: &[SceneEvent::SenSourceFails],
    },
    Scene {
        second: 92,
        title: "Epic Games has finished",
        look: "a green banner says so for six seconds, then it is cleared",
        events: &[SceneEvent::Recovered { page: "epic-games" }],
    },
    Scene {
        second: 99,
        title: "The visitor counts get old",
        look: "late data raises the banner like any outage",
        events: &[],
    },
    Scene {
        second: 104,
        title: "SenSource works again",
        look: "its next run loads the missing rows, and the banner is cleared",
        events: &[SceneEvent::SenSourceWorks],
    },
    Scene {
        second: 110,
        title: "BigQuery has an outage",
        look: "Google's status page is not a Statuspage, and is read as well",
        events: &[SceneEvent::Incident {
            page: "bigquery",
            indicator: "major",
            description: "Service disruption",
            title: "Queries fail in Europe",
        }],
    },
    Scene {
        second: 115,
        title: "BigQuery is fixed",
        look: "the banner is cleared, and the day starts again",
        events: &[SceneEvent::Recovered { page: "bigquery" }],
    },
];

/// All scenes with their time since the start of the demo, day after day without end.
pub fn show() -> impl Iterator<Item = (Duration, &'static Scene)> {
    (0u32..).flat_map(|day| {
        SCENES.iter().map(move |scene| {
            let second = u64::from(day) * u64::from(DAY) + u64::from(scene.second);
            (Duration::from_secs(second), scene)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_in_order_and_days_repeat() {
        let begins: Vec<u64> = show().take(2 * SCENES.len() + 1).map(|(at, _)| at.as_secs()).collect();
        assert!(begins.is_sorted() && begins[0] == 0, "{begins:?}");
        assert_eq!((begins[SCENES.len()], begins[2 * SCENES.len()]), (120, 240));
        assert!(SCENES.iter().all(|scene| scene.second < DAY));
    }

    #[test]
    fn every_event_is_undone_before_the_day_ends() {
        let mut open = std::collections::BTreeSet::new();
        for event in SCENES.iter().flat_map(|scene| scene.events) {
            let (what, begins) = match *event {
                SceneEvent::Incident { page, .. } | SceneEvent::Maintenance { page, .. } => (page, true),
                SceneEvent::Unreadable { page } => (page, true),
                SceneEvent::Recovered { page } | SceneEvent::Readable { page } => (page, false),
                SceneEvent::PersonSays(_) => ("person", true),
                SceneEvent::PersonIsDone => ("person", false),
                SceneEvent::QuotaUsedUp { .. } => continue,
                SceneEvent::SenSourceFails => ("sensource", true),
                SceneEvent::SenSourceWorks => ("sensource", false),
            };
            let fits = if begins { open.insert(what) || what == "snowflake" } else { open.remove(what) };
            assert!(fits, "{what}");
        }
        assert!(open.is_empty(), "{open:?}");
    }
}
