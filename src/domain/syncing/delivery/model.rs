//! A made-up tenant that loses requests and answers, and a daemon that is killed between any two steps.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const APPS: [&str; 2] = ["app-a", "app-b"];
const TABLES: [&str; 3] = ["alert", "contact", "test"];

/// The run that last changed each file.
type Snapshot = BTreeMap<String, i64>;

struct ModelUpload {
    run: i64,
    arrived: u64,
}

struct ModelReload {
    id: String,
    app: String,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    outcome: Option<ReloadOutcome>,
    ours: bool,
    /// What it read when it started and when it ended.
    read: Vec<Snapshot>,
}

struct World {
    draw: u64,
    calm: bool,
    now: Timestamp,
    disk: BTreeMap<String, FileForUpload>,
    runs: BTreeMap<(String, Timestamp), i64>,
    /// What the files were after each run.
    combinations: Vec<Snapshot>,
    uploads: BTreeMap<String, ModelUpload>,
    space: BTreeMap<String, (i64, StoredFile)>,
    commits: Vec<(String, i64)>,
    reloads: Vec<ModelReload>,
}

impl World {
    fn below(&mut self, limit: u64) -> u64 {
        self.draw = self.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.draw >> 33) % limit
    }

    fn snapshot(&self) -> Snapshot {
        self.space.iter().map(|(name, (run, _))| (name.clone(), *run)).collect()
    }

    fn tick(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        let snapshot = self.snapshot();
        for index in 0..self.reloads.len() {
            let (moves, fails) = (self.calm || self.below(3) == 0, self.below(4) == 0);
            let now = self.now;
            let reload = &mut self.reloads[index];
            if reload.outcome.is_some() || !moves {
                continue;
            }
            reload.read.push(snapshot.clone());
            if reload.started_at.is_none() {
                reload.started_at = Some(now);
            } else {
                let failed = fails && !self.calm;
                reload.outcome = Some(if failed { ReloadOutcome::Failed } else { ReloadOutcome::Succeeded });
            }
        }
    }

    /// The connector runs again and replaces the files of some tables.
    fn run(&mut self) -> RunExport {
        let run = i64::try_from(self.combinations.len()).unwrap() + 1;
        for table in TABLES {
            if run > 1 && self.below(3) == 0 {
                continue;
            }
            let bytes = 1 + self.below(20);
            let file = FileForUpload {
                table: table.into(),
                path: PathBuf::from(table),
                bytes,
                modified: self.now,
                format: FileFormat::Parquet,
            };
            self.runs.insert((table.into(), self.now), run);
            self.disk.insert(table.into(), file);
        }
        let named = |file: &FileForUpload| {
            (file.name_in_space("shop"), self.runs[&(file.table.clone(), file.modified)])
        };
        self.combinations.push(self.disk.values().map(named).collect());
        let files = self.disk.values().cloned().collect();
        RunExport { connector: "shop".into(), run, checkpoint_at: self.now, files, changed_by: None }
    }

    fn perform(&mut self, step: &DeliveryStep) -> StepResult {
        let fault = if self.calm { 99 } else { self.below(14) };
        match fault {
            0 => StepResult::Failed(StepFailure::new(FailureKind::Transient, "busy")),
            1 => StepResult::Failed(StepFailure::new(FailureKind::Unclear, "cut")),
            2 => {
                self.answer(step);
                StepResult::Failed(StepFailure::new(FailureKind::Unclear, "cut after the effect"))
            }
            3 if self.below(3) == 0 => {
                self.uploads.clear();
                self.answer(step)
            }
            _ => self.answer(step),
        }
    }

    fn answer(&mut self, step: &DeliveryStep) -> StepResult {
        let failed = |kind| StepResult::Failed(StepFailure::new(kind, "refused"));
        match step {
            DeliveryStep::Wait(_) => unreachable!("waits are not sent"),
            DeliveryStep::Prepare => StepResult::Prepared(SpaceLimits {
                connection: "connection".into(),
                extensions: Vec::new(),
                direct: 8,
                largest: 1_000,
            }),
            DeliveryStep::StoreFile { file, .. } | DeliveryStep::CreateUpload { file, .. } => {
                if self.disk[&file.table] != *file {
                    return failed(FailureKind::FileReplaced);
                }
                let id = format!("upload-{}", self.below(u64::MAX));
                let run = self.runs[&(file.table.clone(), file.modified)];
                let whole = matches!(step, DeliveryStep::StoreFile { .. });
                let arrived = if whole { file.bytes } else { 0 };
                self.uploads.insert(id.clone(), ModelUpload { run, arrived });
                if whole { StepResult::Stored { upload: id } } else { StepResult::Created { upload: id } }
            }
            DeliveryStep::LocateUpload { upload, .. } => match self.uploads.get(upload) {
                Some(found) => StepResult::Arrived { offset: found.arrived },
                None => failed(FailureKind::UploadGone),
            },
            DeliveryStep::SendPart { file, upload, offset, length, .. } => {
                if self.disk[&file.table] != *file {
                    return failed(FailureKind::FileReplaced);
                }
                let run = self.runs[&(file.table.clone(), file.modified)];
                match self.uploads.get_mut(upload) {
                    None => failed(FailureKind::UploadGone),
                    Some(found) if found.arrived != *offset => failed(FailureKind::WrongOffset),
                    Some(found) => {
                        assert_eq!(found.run, run, "one upload has parts of two runs");
                        found.arrived += length;
                        StepResult::Arrived { offset: found.arrived }
                    }
                }
            }
            DeliveryStep::FindFile { name, .. } => {
                StepResult::FileFound(self.space.get(name).map(|(_, file)| file.clone()))
            }
            DeliveryStep::CommitFile { name, upload, existing, .. } => {
                if self.space.get(name).map(|(_, file)| &file.id) != existing.as_ref() {
                    return failed(FailureKind::FileConflict);
                }
                let Some(found) = self.uploads.remove(upload) else {
                    return failed(FailureKind::UploadGone);
                };
                self.commits.push((name.clone(), found.run));
                let id = format!("file-{name}");
                let stored = StoredFile { id, size: found.arrived, updated_at: Some(self.now) };
                self.space.insert(name.clone(), (found.run, stored.clone()));
                StepResult::Committed(stored)
            }
            DeliveryStep::FindReloads { app } => {
                let of_app = self.reloads.iter().rev().filter(|reload| reload.app == *app);
                StepResult::ReloadsFound { reloads: of_app.map(view).collect(), time: Some(self.now) }
            }
            DeliveryStep::AskReload { app } => {
                let pending = |reload: &&ModelReload| reload.app == *app && reload.outcome.is_none();
                if self.reloads.iter().any(|reload| pending(&reload)) {
                    return failed(FailureKind::ReloadPending);
                }
                if !self.calm && self.below(6) == 0 {
                    return failed(FailureKind::ReloadTooFrequent);
                }
                StepResult::ReloadAccepted { id: self.queue(app, true) }
            }
            DeliveryStep::FollowReload { id, .. } => {
                StepResult::ReloadIs(view(self.reloads.iter().find(|reload| reload.id == *id).unwrap()))
            }
        }
    }

    fn queue(&mut self, app: &str, ours: bool) -> String {
        let id = format!("reload-{}", self.reloads.len());
        self.reloads.push(ModelReload {
            id: id.clone(),
            app: app.into(),
            created_at: self.now,
            started_at: None,
            outcome: None,
            ours,
            read: Vec::new(),
        });
        id
    }
}

fn view(reload: &ModelReload) -> ReloadView {
    ReloadView {
        id: reload.id.clone(),
        outcome: reload.outcome,
        created_at: Some(reload.created_at),
        started_at: reload.started_at,
        message: None,
    }
}

pub(super) fn rule(space: bool) -> DataRule {
    DataRule {
        connector: "shop".into(),
        space: space.then(|| "space".into()),
        tables: Vec::new(),
        reload: APPS.map(str::to_owned).into(),
        format: FileFormat::Parquet,
    }
}

/// Delivers some runs to a tenant with faults, then without.
fn deliver(seed: u64, space: bool) -> Result<(), TestCaseError> {
    let (rule, pace) = (rule(space), DeliveryPace::default());
    let mut world = World {
        draw: seed,
        calm: false,
        now: Timestamp::from_second(1_800_000_000).unwrap(),
        disk: BTreeMap::new(),
        runs: BTreeMap::new(),
        combinations: Vec::new(),
        uploads: BTreeMap::new(),
        space: BTreeMap::new(),
        commits: Vec::new(),
        reloads: Vec::new(),
    };
    let mut state = DeliveryState::default();
    let mut saved = serde_json::to_string(&state).unwrap();
    // An export that is written and not offered yet.
    let mut written: Option<RunExport> = None;
    for turn in 0..1_500 {
        world.calm = turn >= 300;
        world.tick(1);
        if turn == 0 || !world.calm && world.below(25) == 0 {
            written = Some(world.run());
        } else if (world.calm || world.below(3) == 0)
            && let Some(export) = written.take()
        {
            state.offer(&rule, &export, world.now);
            saved = serde_json::to_string(&state).unwrap();
        }
        if !world.calm && world.below(20) == 0 {
            let app = APPS[usize::try_from(world.below(2)).unwrap()];
            if !world.reloads.iter().any(|reload| reload.app == app && reload.outcome.is_none()) {
                world.queue(app, false);
            }
        }
        let step = state.next_step(&rule, world.now);
        if let DeliveryStep::Wait(until) = step {
            if world.calm && until.is_none() && written.is_none() {
                break;
            }
            let wait = until.map_or(1, |until| until.duration_since(world.now).as_secs());
            world.tick(wait.clamp(1, 400));
            continue;
        }
        if state.intend(&step) {
            saved = serde_json::to_string(&state).unwrap();
        }
        // Killed before the request, or before its answer is saved.
        let killed = !world.calm && world.below(12) == 0;
        if killed && world.below(2) == 0 {
            state = serde_json::from_str(&saved).unwrap();
            continue;
        }
        let result = world.perform(&step);
        if killed {
            state = serde_json::from_str(&saved).unwrap();
            continue;
        }
        let seed = world.below(u64::MAX);
        state.apply(&rule, &step, result, world.now, &pace, seed);
        saved = serde_json::to_string(&state).unwrap();
    }
    prop_assert_eq!(state.next_step(&rule, world.now), DeliveryStep::Wait(None), "{:#?}", state);
    judge(&world, &state.report(&rule), space)
}

fn judge(world: &World, report: &DeliveryReport, space: bool) -> Result<(), TestCaseError> {
    let mut once = world.commits.clone();
    once.sort();
    once.dedup();
    prop_assert_eq!(once.len(), world.commits.len(), "a file was committed twice: {:?}", &world.commits);
    let newest = world.combinations.last().unwrap();
    if space {
        prop_assert_eq!(&world.snapshot(), newest, "the space does not have the newest files");
        for reload in world.reloads.iter().filter(|reload| reload.ours) {
            for read in &reload.read {
                prop_assert!(world.combinations.contains(read), "{} read two runs: {:?}", reload.id, read);
                prop_assert_eq!(read, &reload.read[0], "{} saw a commit", reload.id);
            }
        }
    } else {
        prop_assert!(world.commits.is_empty());
    }
    for (app, shown) in &report.apps {
        let id = shown.reload.as_ref().unwrap();
        let last = world.reloads.iter().find(|reload| reload.id == *id).unwrap();
        prop_assert_eq!(&last.app, app);
        prop_assert_eq!(shown.outcome, last.outcome);
        if space {
            prop_assert_eq!(&last.read[0], newest, "{} was not reloaded after the last commit", app);
        }
        prop_assert!(shown.outcome != Some(ReloadOutcome::Succeeded) || shown.as_of.is_some());
    }
    prop_assert_eq!(report.pending_since, None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_are_committed_once_and_no_reload_reads_two_runs(seed in any::<u64>()) {
        deliver(seed, true)?;
    }

    #[test]
    fn apps_without_a_space_are_reloaded_after_the_last_run(seed in any::<u64>()) {
        deliver(seed, false)?;
    }
}
