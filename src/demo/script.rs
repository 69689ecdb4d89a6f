//! The day that is played, in two minutes, over and over: read it from top to bottom.
//!
//! The daemon looks at a page every second and runs a connector every ten, so each scene shows within about that time
//! after it began.

use std::time::Duration;

/// One thing that happens at the stand-in servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A page reports an incident; an open one of its own gets these words instead.
    Incident {
        /// Which page.
        page: &'static str,
        /// Its indicator: `minor`, `major` or `critical`.
        indicator: &'static str,
        /// The page in one line.
        description: &'static str,
        /// The incident's title.
        title: &'static str,
    },
    /// A page is under maintenance.
    Maintenance {
        /// Which page.
        page: &'static str,
        /// What is done.
        title: &'static str,
    },
    /// Whatever was open on a page is over.
    Recovered {
        /// Which page.
        page: &'static str,
    },
    /// A page answers with a web site instead of its status, as pages do that have moved.
    Unreadable {
        /// Which page.
        page: &'static str,
    },
    /// A page can be read again.
    Readable {
        /// Which page.
        page: &'static str,
    },
    /// An administrator sets a banner by hand.
    PersonSays(&'static str),
    /// She ends it again.
    PersonIsDone,
    /// Another program uses up StatusCake's quota: everybody is refused for so many seconds.
    QuotaUsedUp {
        /// How long.
        seconds: u32,
    },
    /// SenSource answers, but only with an error.
    SenSourceFails,
    /// SenSource delivers again.
    SenSourceWorks,
}

/// A moment of the day and what happens in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// Seconds since the day began.
    pub second: u32,
    /// What happens, for whoever watches.
    pub title: &'static str,
    /// What to look for on the dashboard.
    pub look: &'static str,
    /// What the stand-in servers do.
    pub events: &'static [Event],
}

/// Seconds of a day. Everything is as it was at its beginning by then.
pub const DAY: u32 = 120;

/// The day.
pub const SCENES: &[Scene] = &[
    Scene {
        second: 0,
        title: "A quiet morning",
        look: "every service is green, the tenant shows no banner, the connectors fill their tables",
        events: &[],
    },
    Scene {
        second: 6,
        title: "An administrator puts up a banner of her own",
        look: "the banner is a person's, and the program leaves it alone",
        events: &[Event::PersonSays("Year-end close: please finish your reports by Friday.")],
    },
    Scene {
        second: 14,
        title: "Snowflake slows down",
        look: "within a second the banner is yellow and ours; hers is put aside",
        events: &[Event::Incident {
            page: "snowflake",
            indicator: "minor",
            description: "Partially Degraded Service",
            title: "Slow queries in US West",
        }],
    },
    Scene {
        second: 24,
        title: "StatusCake refuses everybody for nine seconds",
        look: "its connector waits as long as it is told and then goes on: no rows are missing",
        events: &[Event::QuotaUsedUp { seconds: 9 }],
    },
    Scene {
        second: 30,
        title: "Snowflake gets worse",
        look: "the banner turns red and says what the page says now",
        events: &[Event::Incident {
            page: "snowflake",
            indicator: "major",
            description: "Partial System Outage",
            title: "Queries fail in US West",
        }],
    },
    Scene {
        second: 38,
        title: "GitHub has a problem as well",
        look: "one banner for both, the worse one first",
        events: &[Event::Incident {
            page: "github",
            indicator: "minor",
            description: "Minor Service Outage",
            title: "Actions start late",
        }],
    },
    Scene {
        second: 46,
        title: "MongoDB's page moves away",
        look: "MongoDB is unknown, never green; the banner does not change for it",
        events: &[Event::Unreadable { page: "mongodb" }],
    },
    Scene {
        second: 54,
        title: "Snowflake is mended",
        look: "the banner is yellow again and speaks of GitHub alone",
        events: &[Event::Recovered { page: "snowflake" }],
    },
    Scene {
        second: 62,
        title: "GitHub is mended",
        look: "the administrator's banner is back, word for word",
        events: &[Event::Recovered { page: "github" }],
    },
    Scene {
        second: 68,
        title: "MongoDB's page is found again",
        look: "MongoDB is green once more, and the gap stays visible in its history",
        events: &[Event::Readable { page: "mongodb" }],
    },
    Scene {
        second: 72,
        title: "The administrator takes her banner down",
        look: "the tenant shows nothing, and the program wrote nothing",
        events: &[Event::PersonIsDone],
    },
    Scene {
        second: 76,
        title: "Epic Games begins its maintenance",
        look: "a blue banner: planned work is no alarm",
        events: &[Event::Maintenance { page: "epic-games", title: "Weekly update of the store" }],
    },
    Scene {
        second: 84,
        title: "SenSource answers with errors",
        look: "the connector's next run fails and says why; what was stored stays",
        events: &[Event::SenSourceFails],
    },
    Scene {
        second: 92,
        title: "Epic Games is done",
        look: "a green banner says so for six seconds, then it is gone",
        events: &[Event::Recovered { page: "epic-games" }],
    },
    Scene {
        second: 99,
        title: "The visitor counts get old",
        look: "late data raises the banner like any outage",
        events: &[],
    },
    Scene {
        second: 104,
        title: "SenSource delivers again",
        look: "its next run fills what is missing, and the banner is gone",
        events: &[Event::SenSourceWorks],
    },
];

/// Every scene and its time since the show began, day after day.
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

    /// Scenes come in the order of their seconds, and a new day follows the last one without an end.
    #[test]
    fn the_day_goes_round() {
        let begins: Vec<u64> = show().take(2 * SCENES.len() + 1).map(|(at, _)| at.as_secs()).collect();
        assert!(begins.is_sorted() && begins[0] == 0, "{begins:?}");
        assert_eq!((begins[SCENES.len()], begins[2 * SCENES.len()]), (120, 240));
        assert!(SCENES.iter().all(|scene| scene.second < DAY));
    }

    /// What a day breaks it mends: the next one begins as this one did.
    #[test]
    fn every_day_ends_well() {
        let mut open = std::collections::BTreeSet::new();
        for event in SCENES.iter().flat_map(|scene| scene.events) {
            let (what, begins) = match *event {
                Event::Incident { page, .. } | Event::Maintenance { page, .. } => (page, true),
                Event::Unreadable { page } => (page, true),
                Event::Recovered { page } | Event::Readable { page } => (page, false),
                Event::PersonSays(_) => ("person", true),
                Event::PersonIsDone => ("person", false),
                Event::QuotaUsedUp { .. } => continue,
                Event::SenSourceFails => ("sensource", true),
                Event::SenSourceWorks => ("sensource", false),
            };
            let fits = if begins { open.insert(what) || what == "snowflake" } else { open.remove(what) };
            assert!(fits, "{what}");
        }
        assert!(open.is_empty(), "{open:?}");
    }
}
