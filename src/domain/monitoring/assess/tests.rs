//! The confirmed state after series of observations.

use super::*;
use proptest::prelude::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
}

fn seen(minute: i64, what: Option<Severity>) -> Observation {
    let outcome = what
        .map(|severity| Reading::whole(severity, format!("it is {severity}"), None))
        .ok_or(Unknown::Timeout);
    Observation { monitor: "Examplify".into(), at: at(minute), outcome }
}

/// `n`one, m`a`intenance, m`i`nor, ma`j`or, `c`ritical, `?` unreadable. Returns the confirmed severity after
/// each.
fn play(script: &str, raise_after: u32, clear_after: u32) -> String {
    let mut state = MonitorState::default();
    let mut out = String::new();
    for (minute, c) in script.chars().enumerate() {
        let what = match c {
            'n' => Some(Severity::None),
            'a' => Some(Severity::Maintenance),
            'i' => Some(Severity::Minor),
            'j' => Some(Severity::Major),
            'c' => Some(Severity::Critical),
            _ => None,
        };
        state.fold(
            &seen(minute as i64, what),
            Thresholds { raise_after, clear_after, ..Thresholds::default() },
        );
        out.push(match state.severity {
            Severity::None => 'n',
            Severity::Maintenance => 'a',
            Severity::Minor => 'i',
            Severity::Major => 'j',
            Severity::Critical => 'c',
        });
    }
    out
}

/// Unreadable polls hold the confirmed severity; thresholds count only consecutive readings on one side of
/// it.
#[test]
fn thresholds_confirm_changes() {
    for (script, raise, clear, want) in [
        ("nij?n", 1, 1, "nijjn"),
        ("j???n", 1, 1, "jjjjn"),
        ("???", 1, 1, "nnn"),
        ("jjj", 3, 1, "nnj"),
        ("jnjjnjjj", 3, 1, "nnnnnnnj"),
        ("j?j?j", 3, 1, "nnnnj"),
        ("jnn", 1, 2, "jjn"),
        ("jnjnn", 1, 2, "jjjjn"),
        ("jn?n", 1, 2, "jjjn"),
        ("ijj", 2, 1, "njj"),
        ("cjc", 1, 2, "ccc"),
        ("cji", 1, 2, "cci"),
        ("iijnjn", 2, 2, "niiiii"),
        ("iijnjj", 2, 2, "niiiij"),
    ] {
        assert_eq!(play(script, raise, clear), want, "{script} {raise}/{clear}");
    }
}

/// A partial reading is a lower bound: it can raise and hold the severity, but not lower it.
#[test]
fn partial_readings_never_lower() {
    let partial = |minute, severity| {
        let mut seen = seen(minute, Some(severity));
        if let Ok(reading) = &mut seen.outcome {
            reading.partial = Some(Unknown::NoComponent("Storage".into()));
        }
        seen
    };
    let mut state = MonitorState::default();
    state.fold(&partial(0, Severity::Major), Thresholds::default());
    assert_eq!((state.severity, state.unknown.is_some()), (Severity::Major, false));
    state.fold(&partial(1, Severity::Minor), Thresholds::default());
    assert_eq!((state.severity, state.unknown.is_some()), (Severity::Major, true));
    state.fold(&seen(2, Some(Severity::Minor)), Thresholds::default());
    assert_eq!((state.severity, state.unknown.is_some()), (Severity::Minor, false));
    state.fold(&partial(3, Severity::Minor), Thresholds::default());
    assert_eq!((state.severity, state.unknown.is_some()), (Severity::Minor, false));
}

#[test]
fn transitions_name_the_first_reading() {
    let thresholds = Thresholds { raise_after: 2, ..Thresholds::default() };
    let mut state = MonitorState::default();
    assert_eq!(state.fold(&seen(0, Some(Severity::None)), thresholds).transition, None);
    assert_eq!(state.fold(&seen(1, Some(Severity::Minor)), thresholds).transition, None);
    let change = state.fold(&seen(2, Some(Severity::Major)), thresholds).transition.unwrap();
    assert_eq!((change.from, change.to, change.at), (Severity::None, Severity::Major, at(1)));
    assert_eq!(state.since, Some(at(1)));
    assert_eq!(state.description, "it is major");
}

/// Worst first, then longest, then by name. Healthy monitors and monitors never read are not issues.
#[test]
fn sorts_issues() {
    let state = |severity, minute| MonitorState {
        severity,
        since: Some(at(minute)),
        description: "x".into(),
        ..MonitorState::default()
    };
    let states = [
        ("b", state(Severity::Minor, 5)),
        ("a", state(Severity::Minor, 5)),
        ("late", state(Severity::Major, 9)),
        ("early", state(Severity::Major, 1)),
        ("fine", state(Severity::None, 1)),
        ("new", MonitorState::default()),
    ];
    let assessment = Assessment::of(states.iter().map(|(n, s)| (*n, &[][..], s)));
    let names: Vec<&str> = assessment.issues.iter().map(|i| i.monitor.as_str()).collect();
    assert_eq!(names, ["early", "late", "a", "b"]);
    assert_eq!(assessment.worst(), Severity::Major);
}

proptest! {
    /// With thresholds of 1, the confirmed severity is that of the last reading.
    #[test]
    fn follows_the_last_reading(script in "[naijc?]{0,40}") {
        let confirmed = play(&script, 1, 1);
        let mut last = 'n';
        for (c, b) in script.chars().zip(confirmed.chars()) {
            if c != '?' { last = c; }
            prop_assert_eq!(b, last);
        }
    }
}

/// A reading of components: `API!` is critical, `API~` minor, `API` fine, `API?` has an unknown indicator.
fn parts(minute: i64, components: &str) -> Observation {
    let part = |text: &str| {
        let name = text.trim_end_matches(['!', '~', '?']);
        let outcome = match &text[name.len()..] {
            "?" => Err(Unknown::UnknownIndicator(format!("{name}: new_word"))),
            mark => {
                let severity = match mark {
                    "!" => Severity::Critical,
                    "~" => Severity::Minor,
                    _ => Severity::None,
                };
                Ok(PartReading { severity, description: format!("{name}: {severity}"), link: None })
            }
        };
        ReadingPart { id: format!("id of {name}"), name: name.into(), outcome }
    };
    let parts: Vec<ReadingPart> = components.split_whitespace().map(part).collect();
    let read = || parts.iter().filter_map(|part| part.outcome.as_ref().ok());
    let severity = read().map(|part| part.severity).max().unwrap_or_default();
    let words: Vec<&str> =
        read().filter(|p| p.severity == severity).map(|part| part.description.as_str()).collect();
    let partial = parts.iter().find_map(|part| part.outcome.as_ref().err().cloned());
    let reading =
        Reading { partial, parts: parts.clone(), ..Reading::whole(severity, words.join(", "), None) };
    Observation { monitor: "Examplify".into(), at: at(minute), outcome: Ok(reading) }
}

fn describe(state: &MonitorState) -> String {
    let unknown = if state.unknown.is_some() { " (unknown)" } else { "" };
    format!("{}: {}{unknown}", state.severity, state.description)
}

#[test]
fn an_unreadable_part_does_not_block_the_others() {
    for (story, want) in [
        (&["API! Hooks", "API Outbound"][..], "none: API: none, Outbound: none"),
        (&["API! Hooks", "API Hooks?"], "none: API: none (unknown)"),
        (&["API! Hooks", "API~ Hooks?"], "minor: API: minor"),
        (&["API! Hooks!", "API~ Hooks?"], "critical: Hooks: critical (unknown)"),
        (&["API! Hooks!", "API Outbound"], "critical: Hooks: critical (unknown)"),
        (&["API! Hooks!", "API?  Hooks?", "API Hooks?"], "critical: Hooks: critical (unknown)"),
        (&["API! Hooks!", "API Hooks?", "API Hooks"], "none: API: none, Hooks: none"),
        (&["API~ Hooks", "API? Hooks!"], "critical: Hooks: critical"),
        (&["API?"], "none:  (unknown)"),
    ] {
        let mut state = MonitorState::default();
        for (minute, components) in story.iter().enumerate() {
            state.fold(&parts(minute as i64, components), Thresholds::default());
        }
        assert_eq!(describe(&state), want, "{story:?}");
    }
}

#[test]
fn parts_unconfirmed_for_hold_for_expire() {
    let thresholds = Thresholds { hold_for: Duration::from_secs(3600), ..Thresholds::default() };
    let mut state = MonitorState::default();
    state.fold(&parts(0, "API! Hooks~"), thresholds);
    for minute in 1..=30 {
        assert_eq!(state.fold(&parts(minute, "API? Hooks~"), thresholds), Folded::default());
    }
    assert_eq!(describe(&state), "critical: API: critical (unknown)");
    let change = state.fold(&parts(61, "API? Hooks~"), thresholds);
    assert_eq!(change.expired, ["API: critical"]);
    assert_eq!(change.transition.map(|t| (t.from, t.to)), Some((Severity::Critical, Severity::Minor)));
    assert_eq!(describe(&state), "minor: Hooks: minor");

    // The whole status page becomes unreadable during an incident: the next reading counts as the first.
    let mut changes: Vec<Folded> = (62..=122).map(|m| state.fold(&seen(m, None), thresholds)).collect();
    let last = changes.pop().unwrap();
    assert!(changes.iter().all(|change| *change == Folded::default()), "{changes:?}");
    let change = last.transition.unwrap();
    assert_eq!(
        (change.to, change.description.as_str()),
        (Severity::None, "unknown: not confirmed for 3600s")
    );
    assert_eq!((state.read_at, state.since, state.unknown.is_some()), (None, None, true));
    assert!(Assessment::of([("X", &[][..], &state)].into_iter()).issues.is_empty());
    assert!(state.fold(&seen(130, Some(Severity::Major)), thresholds).first);
}

#[test]
fn one_failed_poll_after_a_long_sleep_expires_nothing() {
    let mut state = MonitorState::default();
    state.fold(&seen(0, Some(Severity::Major)), Thresholds::default());
    for minute in [600, 601] {
        assert_eq!(state.fold(&seen(minute, None), Thresholds::default()), Folded::default());
    }
    assert_eq!(state.severity, Severity::Major);
    assert_eq!(state.fold(&seen(602, None), Thresholds::default()).expired, ["it is major"]);
}

#[test]
fn the_first_reading_is_marked_even_if_it_needed_confirmation() {
    for (raise_after, script, want) in [
        (1, "j", vec![true]),
        (2, "?jj", vec![true]),
        (2, "njj", vec![false]),
        (1, "nj", vec![false]),
        (1, "jnj", vec![true, false, false]),
    ] {
        let (mut state, mut firsts) = (MonitorState::default(), Vec::new());
        for (minute, c) in script.chars().enumerate() {
            let severity = match c {
                'n' => Some(Severity::None),
                'j' => Some(Severity::Major),
                _ => None,
            };
            let thresholds = Thresholds { raise_after, ..Thresholds::default() };
            let change = state.fold(&seen(minute as i64, severity), thresholds);
            firsts.extend(change.transition.map(|_| change.first));
        }
        assert_eq!(firsts, want, "{raise_after} {script}");
    }
}

#[test]
fn a_state_saved_by_an_earlier_version_is_held_as_a_whole() {
    let saved = r#"{"definition":7,"severity":"major","description":"down","link":null,
        "since":"2023-11-14T22:13:20Z","read_at":"2023-11-14T22:13:20Z","unknown":null,"candidate":null}"#;
    let mut state: MonitorState = serde_json::from_str(saved).unwrap();
    assert!(!serde_json::to_string(&state).unwrap().contains("parts"));
    state.fold(&parts(1, "API Hooks?"), Thresholds::default());
    assert_eq!(describe(&state), "major: down (unknown)");
    state.fold(&parts(2, "API Hooks"), Thresholds::default());
    assert_eq!(describe(&state), "none: API: none, Hooks: none");
}

proptest! {
    /// A state is never better than what is known, never worse than what was read within `hold_for`, and
    /// never healthy without the unknown mark while a part that counts cannot be read.
    #[test]
    fn a_state_is_as_bad_as_what_was_read(
        polls in prop::collection::vec(prop::collection::vec(0u8..6, 3), 1..25),
    ) {
        let hold_for = Duration::from_secs(300);
        let thresholds = Thresholds { hold_for, ..Thresholds::default() };
        let mut state = MonitorState::default();
        let mut known: [Option<(i64, Severity)>; 3] = [None; 3];
        for (minute, marks) in polls.iter().enumerate() {
            let minute = minute as i64;
            let text: Vec<String> = marks.iter().enumerate().filter_map(|(nth, mark)| match mark {
                0 | 1 => Some(format!("P{nth}")),
                2 => Some(format!("P{nth}~")),
                3 => Some(format!("P{nth}!")),
                4 => Some(format!("P{nth}?")),
                _ => None,
            }).collect();
            let seen = parts(minute, &text.join(" "));
            prop_assume!(!text.is_empty());
            let severities = marks.iter().map(|mark| match mark {
                0 | 1 => Some(Severity::None),
                2 => Some(Severity::Minor),
                3 => Some(Severity::Critical),
                _ => None,
            });
            for (slot, severity) in known.iter_mut().zip(severities) {
                if let Some(severity) = severity { *slot = Some((minute, severity)); }
            }
            state.fold(&seen, thresholds);
            let within = known.iter().flatten().filter(|(at, _)| minute - at <= 5).map(|(_, s)| *s);
            let worst = within.max().unwrap_or_default();
            prop_assert_eq!(state.severity, worst, "{:?}", state);
            if state.severity == Severity::None && marks.contains(&4) {
                prop_assert!(state.unknown.is_some());
            }
        }
    }
}
