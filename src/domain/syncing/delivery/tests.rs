use super::model::rule;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn file(table: &str, format: FileFormat, bytes: u64) -> FileForUpload {
    let path = PathBuf::from(format!("{table}.{}", format.as_str()));
    FileForUpload { table: table.into(), path, bytes, modified: at(0), format }
}

fn export(run: i64, files: Vec<FileForUpload>) -> RunExport {
    RunExport { connector: "shop".into(), run, checkpoint_at: at(run), files, changed_by: None }
}

fn limits(extensions: &[&str]) -> SpaceLimits {
    let extensions = extensions.iter().map(|&ending| ending.to_owned()).collect();
    SpaceLimits { connection: "c".into(), extensions, direct: 100, largest: 1_000 }
}

/// A delivery and what the tenant answers in order.
struct Run {
    state: DeliveryState,
    rule: DataRule,
    now: i64,
}

impl Run {
    fn of(rule: DataRule, export: &RunExport) -> Run {
        let mut state = DeliveryState::default();
        state.offer(&rule, export, at(0));
        Run { state, rule, now: 0 }
    }

    fn next(&mut self) -> DeliveryStep {
        self.state.next_step(&self.rule, at(self.now))
    }

    fn answer(&mut self, result: StepResult) {
        let step = self.next();
        self.state.intend(&step);
        self.state.apply(&self.rule, &step, result, at(self.now), &DeliveryPace::default(), 1);
    }

    fn fail(&mut self, kind: FailureKind) {
        self.answer(StepResult::Failed(StepFailure::new(kind, "the reason")));
    }
}

fn reload(created: i64, started: Option<i64>, outcome: Option<ReloadOutcome>) -> ReloadView {
    let (created_at, started_at) = (Some(at(created)), started.map(at));
    ReloadView { id: "r".into(), outcome, created_at, started_at, message: None }
}

#[test]
fn the_format_follows_what_the_tenant_accepts() {
    use FileFormat::{Csv, Parquet};
    let both = [file("a", Parquet, 10), file("a", Csv, 20)];
    for (files, accepted, want) in [
        (&both[..], &["csv", "parquet"][..], Ok("shop-a.parquet")),
        (&both[..], &["csv", "qvd"][..], Ok("shop-a.csv")),
        (&both[..1], &[][..], Ok("shop-a.parquet")),
        (&both[1..], &["csv", "parquet"][..], Ok("shop-a.csv")),
        (&both[..1], &["csv"][..], Err("upload CSV instead")),
        (&[file("a", Csv, 1_001)][..], &["csv"][..], Err("the tenant accepts 1000")),
    ] {
        let chosen = files::choose(&rule(true), &export(1, files.to_vec()), &limits(accepted));
        match (chosen, want) {
            (Ok(chosen), Ok(name)) => assert_eq!(chosen[0].0, name),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (chosen, want) => panic!("{chosen:?} instead of {want:?}"),
        }
    }
    let some = DataRule { tables: vec!["b".into()], ..rule(true) };
    let why = files::choose(&some, &export(1, both.to_vec()), &limits(&[])).unwrap_err();
    assert_eq!(why, "table b has no exported file");
}

/// `changed` is the tenant's time of the last change, at second 10.
#[test]
fn a_reload_that_started_before_the_commit_is_joined_and_asked_for_again() {
    for (found, then, asks_again) in [
        (reload(5, Some(6), None), reload(5, Some(6), Some(ReloadOutcome::Succeeded)), true),
        (reload(5, None, None), reload(5, Some(12), Some(ReloadOutcome::Succeeded)), false),
        (reload(11, Some(12), None), reload(11, Some(12), Some(ReloadOutcome::Failed)), false),
    ] {
        let only = DataRule { reload: vec!["app".into()], ..rule(false) };
        let mut run = Run::of(only, &export(1, Vec::new()));
        run.answer(StepResult::ReloadsFound { reloads: vec![found], time: Some(at(10)) });
        assert!(matches!(run.next(), DeliveryStep::FollowReload { .. }));
        run.answer(StepResult::ReloadIs(then));
        assert_eq!(matches!(run.next(), DeliveryStep::AskReload { .. }), asks_again);
    }
}

#[test]
fn a_lost_answer_is_looked_up_before_the_reload_is_asked_for_again() {
    let only = DataRule { reload: vec!["app".into()], ..rule(false) };
    let mut run = Run::of(only, &export(1, Vec::new()));
    run.answer(StepResult::ReloadsFound { reloads: Vec::new(), time: Some(at(10)) });
    run.fail(FailureKind::Unclear);
    assert!(matches!(run.next(), DeliveryStep::Wait(Some(_))));
    run.now = 100;
    assert!(matches!(run.next(), DeliveryStep::FindReloads { .. }));
    run.answer(StepResult::ReloadsFound { reloads: vec![reload(11, Some(12), None)], time: None });
    assert!(matches!(run.next(), DeliveryStep::FollowReload { .. }));
}

#[test]
fn the_frequency_quota_and_a_missing_app_do_not_stop_other_apps() {
    let mut run = Run::of(rule(false), &export(1, Vec::new()));
    let none = || StepResult::ReloadsFound { reloads: Vec::new(), time: Some(at(10)) };
    run.answer(none());
    run.fail(FailureKind::ReloadTooFrequent);
    assert_eq!(run.next(), DeliveryStep::FindReloads { app: "app-b".into() });
    run.answer(none());
    run.fail(FailureKind::NotFound);
    assert_eq!(run.next(), DeliveryStep::Wait(Some(at(300))));
    // A clock that is set back prolongs no wait.
    run.now = -3600;
    assert_eq!(run.next(), DeliveryStep::AskReload { app: "app-a".into() });
    run.answer(StepResult::ReloadAccepted { id: "r".into() });
    run.now = 20;
    run.answer(StepResult::ReloadIs(reload(11, Some(12), Some(ReloadOutcome::Succeeded))));
    assert_eq!(run.next(), DeliveryStep::Wait(Some(at(900))), "as after every rejection");
    let report = run.state.report(&run.rule);
    assert_eq!(report.trouble.as_deref(), Some("app app-b: the reason"));
    assert_eq!((report.as_of, report.apps["app-a"].as_of), (None, Some(at(1))));
}

#[test]
fn contents_that_expire_before_the_first_commit_are_uploaded_again() {
    let files = vec![file("a", FileFormat::Parquet, 10), file("b", FileFormat::Parquet, 10)];
    let mut run = Run::of(rule(true), &export(1, files));
    run.answer(StepResult::Prepared(limits(&[])));
    run.answer(StepResult::Stored { upload: "1".into() });
    run.now = 23 * 3600;
    run.answer(StepResult::Stored { upload: "2".into() });
    assert!(matches!(run.next(), DeliveryStep::StoreFile { name, .. } if name == "shop-b.parquet"));
}

#[test]
fn a_newer_run_replaces_pending_files_and_keeps_what_is_uploaded() {
    let (old, kept) = (file("a", FileFormat::Parquet, 10), file("b", FileFormat::Parquet, 10));
    let mut run = Run::of(rule(true), &export(1, vec![old.clone(), kept.clone()]));
    run.answer(StepResult::Prepared(limits(&[])));
    run.answer(StepResult::Stored { upload: "1".into() });
    run.answer(StepResult::Stored { upload: "2".into() });
    let new = FileForUpload { modified: at(5), ..old };
    run.state.offer(&run.rule, &export(2, vec![new.clone(), kept]), at(5));
    assert_eq!(run.next(), DeliveryStep::StoreFile { name: "shop-a.parquet".into(), file: new });
    run.answer(StepResult::Stored { upload: "3".into() });
    assert!(matches!(run.next(), DeliveryStep::FindFile { .. }), "b was uploaded before");
    run.fail(FailureKind::FileReplaced);
    assert_eq!(run.next(), DeliveryStep::Wait(None), "nothing is committed before the next export");
}

/// A rejection waits for a person; the limits are read again, since the space may be another one then.
#[test]
fn a_rejected_upload_stays_pending() {
    let mut run = Run::of(rule(true), &export(1, vec![file("a", FileFormat::Parquet, 10)]));
    run.answer(StepResult::Prepared(limits(&[])));
    run.fail(FailureKind::Rejected);
    assert_eq!(run.next(), DeliveryStep::Wait(Some(at(900))));
    assert_eq!(run.state.report(&run.rule).trouble.as_deref(), Some("the reason"));
    assert_eq!(run.state.report(&run.rule).pending_since, Some(at(0)));
    run.now = 900;
    assert_eq!(run.next(), DeliveryStep::Prepare);
}

#[test]
fn apps_are_reloaded_alone_only_after_a_run_that_changed_rows() {
    let rule = DataRule { space: None, tables: Vec::new(), ..rule(false) };
    let run = |number: i64, changed_by| RunExport { changed_by, ..export(number, Vec::new()) };
    let (mut state, mut asked, pace) = (DeliveryState::default(), Vec::new(), DeliveryPace::default());
    for (at_run, changed_by) in [(1, Some(1)), (2, Some(1)), (3, Some(3)), (4, None), (5, None)] {
        state.offer(&rule, &run(at_run, changed_by), at(at_run));
        loop {
            let step = state.next_step(&rule, at(at_run + 1_000));
            let result = match &step {
                DeliveryStep::Wait(_) => break,
                DeliveryStep::FindReloads { .. } => {
                    StepResult::ReloadsFound { reloads: Vec::new(), time: Some(at(at_run)) }
                }
                DeliveryStep::AskReload { app } => {
                    asked.push((at_run, app.clone()));
                    StepResult::ReloadAccepted { id: format!("{app}-{at_run}") }
                }
                DeliveryStep::FollowReload { id, .. } => StepResult::ReloadIs(ReloadView {
                    id: id.clone(),
                    outcome: Some(ReloadOutcome::Succeeded),
                    created_at: Some(at(at_run)),
                    started_at: Some(at(at_run + 1)),
                    message: None,
                }),
                step => panic!("{step:?}"),
            };
            state.intend(&step);
            state.apply(&rule, &step, result, at(at_run), &pace, 7);
        }
        assert_eq!(state.report(&rule).as_of, Some(at(at_run)), "the data is as of the last run");
    }
    let runs: Vec<i64> =
        asked.iter().filter(|(_, app)| *app == rule.reload[0]).map(|(run, _)| *run).collect();
    assert_eq!(runs, [1, 3]);
}

#[test]
fn what_one_space_has_says_nothing_of_another() {
    let rule = rule(true);
    let state = DeliveryState::default().continued_as(&rule, at(0));
    let state = DeliveryState { committed_as_of: Some(at(1)), ..state };
    assert_eq!(state.clone().continued_as(&rule, at(5)), state);
    let more_apps = DataRule { reload: vec!["another".into()], ..rule.clone() };
    assert_eq!(state.clone().continued_as(&more_apps, at(5)), state);
    for other in [
        DataRule { space: Some("Other".into()), ..rule.clone() },
        DataRule { tables: vec!["orders".into()], ..rule.clone() },
        DataRule { format: FileFormat::Csv, ..rule },
    ] {
        let report = state.clone().continued_as(&other, at(5)).report(&other);
        assert_eq!((report.as_of, report.age_from), (None, Some(at(5))), "{other:?}");
    }
}

/// The app did not accept the first request; a list that cannot be read says nothing of the second one.
#[test]
fn a_reload_that_may_have_been_accepted_is_looked_up_until_it_is_known() {
    let rule = DataRule { space: None, tables: Vec::new(), reload: vec!["a".into()], ..rule(false) };
    let mut run = Run::of(rule, &export(1, Vec::new()));
    run.answer(StepResult::ReloadsFound { reloads: Vec::new(), time: Some(at(0)) });
    assert!(matches!(run.next(), DeliveryStep::AskReload { .. }));
    run.fail(FailureKind::Unclear);
    for kind in [FailureKind::Transient, FailureKind::Rejected, FailureKind::Unclear] {
        run.now += 1_700;
        assert!(matches!(run.next(), DeliveryStep::FindReloads { .. }), "before {kind:?}");
        run.fail(kind);
    }
    run.now += 1_700;
    let ended = reload(10, Some(11), Some(ReloadOutcome::Succeeded));
    run.answer(StepResult::ReloadsFound { reloads: vec![ended], time: Some(at(run.now)) });
    let report = run.state.report(&run.rule);
    assert_eq!((report.trouble, report.as_of), (None, Some(at(1))), "what was looked up has no trouble");
}

/// The app was moved to a space that we cannot see, or is gone: later runs and other apps do not wait for it.
#[test]
fn an_app_that_cannot_be_read_delays_nothing_for_ever() {
    let rule =
        DataRule { space: None, tables: Vec::new(), reload: vec!["a".into(), "b".into()], ..rule(false) };
    let mut run = Run::of(rule, &export(1, Vec::new()));
    let none = || StepResult::ReloadsFound { reloads: Vec::new(), time: Some(at(0)) };
    run.answer(none());
    run.answer(StepResult::ReloadAccepted { id: "r".into() });
    run.answer(none());
    assert_eq!(run.next().app(), Some("b"));
    run.fail(FailureKind::NotFound);
    assert!(matches!(run.next(), DeliveryStep::Wait(Some(_))), "b is asked for again later");
    run.now = 10;
    run.answer(StepResult::ReloadIs(reload(1, Some(2), Some(ReloadOutcome::Succeeded))));
    let report = run.state.report(&run.rule);
    assert_eq!((report.apps["a"].as_of, report.apps["b"].as_of), (Some(at(1)), None));
    assert_eq!((report.as_of, report.age_from), (None, Some(at(1))), "the age of what is shown counts");
    assert!(report.trouble.unwrap().contains("app b"));
    let newer = RunExport { changed_by: Some(2), ..export(2, Vec::new()) };
    run.state.offer(&run.rule, &newer, at(20));
    run.answer(none());
    assert_eq!(run.next().app(), Some("a"), "the next run does not wait for b");
    run.answer(StepResult::ReloadAccepted { id: "r2".into() });
    for _ in 0..20 {
        run.now += 1_000;
        if let DeliveryStep::FollowReload { .. } = run.next() {
            run.fail(FailureKind::Rejected);
        } else if !matches!(run.next(), DeliveryStep::Wait(_)) {
            run.fail(FailureKind::NotFound);
        }
    }
    assert_eq!(run.state.report(&run.rule).apps["a"].outcome, Some(ReloadOutcome::ExceededLimit));
}

#[test]
fn trouble_of_an_app_lets_files_go_on() {
    let mut run = Run::of(rule(true), &export(1, vec![file("orders", FileFormat::Parquet, 50)]));
    assert!(run.state.is_sending());
    run.fail(FailureKind::Transient);
    assert!(!run.state.is_sending(), "a later run may replace what cannot be sent");
    run.now = 2_000;
    run.answer(StepResult::Prepared(limits(&["parquet"])));
    run.answer(StepResult::Stored { upload: "u".into() });
    run.state.apps.entry(run.rule.reload[0].clone()).or_default().report.outcome =
        Some(ReloadOutcome::Failed);
    assert!(run.state.report(&run.rule).trouble.is_some() && run.state.is_sending());
}

#[test]
fn the_format_that_was_sent_stays() {
    let rule = rule(true);
    let csv = DataRule { format: FileFormat::Csv, ..rule.clone() };
    let state = DeliveryState::default().continued_as(&csv, at(0));
    assert_eq!(state.format_before(&rule), Some(FileFormat::Csv));
    assert_eq!(state.format_before(&DataRule { space: Some("Other".into()), ..rule.clone() }), None);
    assert_eq!(DeliveryState::default().format_before(&rule), None);
}
