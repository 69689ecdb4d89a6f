//! Random status pages, compared with the model they were generated from.
//!
//! The oracle: a page is healthy only if everything that counts is reported healthy; its severity is at least that of the
//! worst open incident that counts; a title is shown only if it explains the severity; a broken entry changes nothing else.

use proptest::prelude::*;
use serde_json::{Value, json};

use jiff::Timestamp;

use super::poll_page::judge_body;
use super::tests::whole_page;
use crate::domain::monitoring::monitor::{Pattern, Remap, StatusPage};
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::monitoring::severity::Severity;

const WORDS: [&str; 5] = ["none", "maintenance", "minor", "major", "critical"];
const STATES: [&str; 5] =
    ["operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage"];

#[derive(Debug, Clone)]
struct Incident {
    /// Index in [`WORDS`]; an index out of range stands for an unknown or missing word.
    impact: usize,
    open: bool,
    planned: bool,
    /// Indexes of components; may be out of range.
    touches: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Model {
    /// Index in [`WORDS`]; an index out of range stands for an unknown word.
    indicator: usize,
    /// Indexes in [`STATES`]; an index out of range stands for an unknown word.
    components: Vec<usize>,
    incidents: Vec<Incident>,
    remap: Vec<(usize, usize)>,
    /// Spelling variant of words.
    spelling: u8,
    /// Index of the invalid entry at the start of each list.
    rubbish: usize,
    /// Number of components that count; 0 stands for the whole status page.
    chosen: usize,
}

const RUBBISH: [&str; 6] =
    ["", "null,", "\"x\",", "{\"name\":\"\\ud83d\",\"name\":1},", "[[1e99999]],", "{\"id\":1e99999},"];

fn spelled(word: &str, spelling: u8) -> String {
    match spelling {
        0 => word.to_owned(),
        1 => word.to_uppercase(),
        2 => format!(" {} ", word.replace('_', "-")),
        _ => word.replace('_', " "),
    }
}

impl Model {
    fn remap(&self) -> Remap {
        let severity = |at: usize| Severity::ALL[at];
        Remap(self.remap.iter().map(|(from, to)| (severity(*from), severity(*to))).collect())
    }

    fn page(&self) -> StatusPage {
        StatusPage {
            components: (0..self.chosen).map(|nth| Pattern::new(&format!("C{nth}"))).collect(),
            ..whole_page(true)
        }
    }

    fn list(&self, items: Vec<Value>) -> String {
        let items: Vec<String> = items.iter().map(Value::to_string).collect();
        let rubbish = RUBBISH[self.rubbish];
        format!("[{}]", format!("{rubbish}{}", items.join(",")).trim_end_matches(','))
    }

    fn document(&self) -> String {
        let word =
            |at: usize, of: &[&str]| spelled(of.get(at).copied().unwrap_or("something_new"), self.spelling);
        let event = |(nth, incident): (usize, &Incident)| {
            let (open, over) =
                if incident.planned { ("in_progress", "completed") } else { ("monitoring", "resolved") };
            let touches: Vec<Value> =
                incident.touches.iter().map(|at| json!({"id": format!("c{at}")})).collect();
            json!({"id": format!("i{nth}"), "name": format!("T{nth} &amp; more"), "impact": word(incident.impact, &WORDS),
                "status": spelled(if incident.open { open } else { over }, self.spelling), "components": touches,
                "started_at": "2026-05-02T08:58:10.290Z", "shortlink": "http://10.0.0.1/secret"})
        };
        let events = |planned: bool| {
            let those = self.incidents.iter().enumerate().filter(|(_, one)| one.planned == planned);
            self.list(those.map(event).collect())
        };
        let components = self.components.iter().enumerate().map(|(nth, state)| {
            json!({"id": format!("c{nth}"), "name": format!("C{nth}"), "status": word(*state, &STATES)})
        });
        format!(
            "{{\"status\":{},\"components\":{},\"incidents\":{},\"scheduled_maintenances\":{}}}",
            json!({"indicator": word(self.indicator, &WORDS), "description": "Words of the page"}),
            self.list(components.collect()),
            events(false),
            events(true)
        )
    }

    fn reading(&self) -> Result<Reading, Unknown> {
        judge_body(&self.page(), &self.remap(), self.document().as_bytes(), Timestamp::UNIX_EPOCH)
    }

    fn counts(&self, incident: &Incident) -> bool {
        let touches = |at: &usize| *at < self.chosen.min(self.components.len());
        incident.open && (self.chosen == 0 || incident.touches.iter().any(touches))
    }

    /// The reported severities, before remapping, without incidents; `None` for an unknown word.
    fn own(&self) -> Vec<Option<Severity>> {
        let severity = |at: &usize| Severity::ALL.get(*at).copied();
        match self.chosen {
            0 => vec![severity(&self.indicator)],
            chosen => {
                let missing = chosen.saturating_sub(self.components.len());
                let those = self.components.iter().take(chosen).map(severity);
                those.chain(std::iter::repeat_n(None, missing)).collect()
            }
        }
    }
}

fn models() -> impl Strategy<Value = Model> {
    let incident = (0usize..7, any::<bool>(), any::<bool>(), prop::collection::vec(0usize..4, 0..3))
        .prop_map(|(impact, open, planned, touches)| Incident { impact, open, planned, touches });
    let remap = prop::collection::vec((0usize..5, 0usize..5), 0..3);
    let lists = (prop::collection::vec(0usize..6, 0..4), prop::collection::vec(incident, 0..4), remap);
    (0usize..6, lists, 0u8..4, 0usize..RUBBISH.len(), 0usize..4).prop_map(
        |(indicator, (components, incidents, remap), spelling, rubbish, chosen)| Model {
            indicator,
            components,
            incidents,
            remap,
            spelling,
            rubbish,
            chosen,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_reading_agrees_with_its_model(model in models()) {
        let remap = model.remap();
        let own = model.own();
        let open = model.incidents.iter().filter(|one| !one.planned && model.counts(one));
        let impacts = open.filter_map(|one| Severity::ALL.get(one.impact)).filter(|s| **s >= Severity::Minor);
        let worst_open = impacts.map(|s| remap.apply(*s)).max().unwrap_or_default();
        let worst_own = own.iter().flatten().map(|s| remap.apply(*s)).max();
        let Ok(reading) = model.reading() else {
            // Nothing is known.
            prop_assert!(worst_own.is_none() && worst_open == Severity::None, "{}", model.document());
            return Ok(());
        };
        prop_assert_eq!(reading.severity, worst_open.max(worst_own.unwrap_or_default()), "{}", model.document());
        prop_assert_eq!(reading.partial.is_some(), own.contains(&None));
        if reading.verdict().is_ok() && reading.severity == Severity::None {
            prop_assert!(own.iter().all(Option::is_some) && !own.is_empty());
        }
        prop_assert!(!reading.description.contains("&amp;"));
        prop_assert!(reading.link.as_ref().is_some_and(|link| !link.url.contains("10.0.0.1")));
        if let Some(nth) = reading.description.strip_prefix('T').and_then(|rest| rest.split(' ').next()) {
            let titled = &model.incidents[nth.parse::<usize>().unwrap()];
            let impact = if titled.planned { Some(Severity::Maintenance) } else { Severity::ALL.get(titled.impact).copied() };
            prop_assert!(model.counts(titled));
            prop_assert!(remap.apply(impact.unwrap_or_default()) >= reading.severity, "{:?} {}", reading, model.document());
            prop_assert!(reading.severity > Severity::None);
        } else if worst_open > worst_own.unwrap_or_default() {
            prop_assert!(false, "the incident that explains it is not shown: {:?}", reading);
        }
    }

    #[test]
    fn a_broken_entry_changes_neither_severity_nor_description(model in models(), rubbish in 0usize..RUBBISH.len()) {
        let content = |outcome: Result<Reading, Unknown>| outcome.map(|reading| (reading.severity, reading.description));
        let other = Model { rubbish, ..model.clone() };
        prop_assert_eq!(content(model.reading()), content(other.reading()));
    }
}
