//! The program between a tenant and two status pages, what can happen to them, and what an outsider knows of it all.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::Dice;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Banner, READ, Tenant, WRITE, Write};
use stand_ins::{Clock, Reply};

pub(super) const NAMES: [&str; 2] = ["Alpha", "Beta"];
/// The tenant is left alone for so long before a person acts: a change between the program's last reading and its write
/// cannot be seen by anyone.
const NO_EXCHANGE: Duration = Duration::from_millis(150);
/// How often things are looked at while time passes.
const TICK: Duration = Duration::from_millis(20);

type Disturbance = (u64, &'static str, fn(&mut World));

/// How often each thing happens, the word by which `CHAOS_WITHOUT` leaves it out, and what it does.
const DISTURBANCES: [Disturbance; 8] = [
    (6, "pages", World::page_changes),
    (3, "people", World::person_acts),
    (2, "kills", World::kill),
    (2, "pauses", World::pause),
    (2, "losses", World::answers_are_lost),
    (2, "refusals", World::tenant_refuses),
    (2, "failures", World::page_fails),
    (1, "clocks", World::clock_jumps),
];

/// An open problem as a page tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub(super) kind: &'static str,
    pub(super) words: String,
}

/// What both pages tell.
pub(super) type Truth = [Option<Problem>; 2];

pub(super) struct World {
    pub(super) tenant: Tenant,
    pages: [StatusPage; 2],
    clock: Clock,
    skew: SignedDuration,
    /// When the tenant's answers were last given its time.
    dated: Instant,
    folder: TempDir,
    daemon: Option<Child>,
    paused: bool,
    dice: Dice,
    number: u32,
    began: Instant,
    told: String,
    /// What the pages told, and since when.
    pub(super) truths: Vec<(Instant, Truth)>,
    /// When each change of the banner was first seen.
    pub(super) seen: Vec<Instant>,
    /// Changes of the banner that have been judged.
    pub(super) judged: usize,
    /// The banner that people want while all is well.
    pub(super) manual: Option<Banner>,
    /// Whether it may also be gone: a person switched off the banner that had displaced it.
    pub(super) manual_in_doubt: bool,
    /// Whether the state was lost while it was up or displaced.
    pub(super) forgotten: bool,
    /// What a person left in the slot since the pages changed last.
    pub(super) choice: Option<Banner>,
    /// Texts that people ever set.
    pub(super) manual_texts: Vec<String>,
}

/// A folder with a monitor for each page.
fn watching(pages: &[StatusPage; 2]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("monitors")).unwrap();
    for (name, page) in NAMES.into_iter().zip(pages) {
        let text = format!("name = \"{name}\"\nurl = \"{}\"\n", page.url());
        fs::write(folder.path().join("monitors").join(format!("{name}.toml")), text).unwrap();
    }
    folder
}

impl World {
    pub(super) fn start(dice: Dice) -> World {
        let clock = Clock::system();
        let pages = [StatusPage::start(), StatusPage::start()];
        let folder = watching(&pages);
        let mut world = World {
            tenant: Tenant::start_at(&clock),
            pages,
            clock,
            skew: SignedDuration::ZERO,
            dated: Instant::now(),
            folder,
            daemon: None,
            paused: false,
            dice,
            number: 0,
            began: Instant::now(),
            told: String::new(),
            truths: vec![(Instant::now(), [None, None])],
            seen: Vec::new(),
            judged: 0,
            manual: None,
            manual_in_doubt: false,
            forgotten: false,
            choice: None,
            manual_texts: Vec::new(),
        };
        world.tick();
        world.run();
        world
    }

    pub(super) fn truth(&self) -> &Truth {
        &self.truths.last().unwrap().1
    }

    pub(super) fn history(&self) -> Vec<Write> {
        self.tenant.history()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("monitor.log")).unwrap_or_default()
    }

    /// The moment by the tenant's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The tenant's clock goes on, also in what its answers say; changes of the banner are noted.
    pub(super) fn tick(&mut self) {
        let now = Timestamp::now() + self.skew;
        self.clock.set(now);
        let count = self.history().len();
        self.seen.resize(count, Instant::now());
        if self.dated.elapsed() > Duration::from_secs(1) {
            self.date();
        }
    }

    pub(super) fn wait(&mut self, length: Duration) {
        let until = Instant::now() + length;
        while Instant::now() < until {
            std::thread::sleep(TICK);
            self.tick();
        }
    }

    /// Several things happen.
    pub(super) fn disturb(&mut self) {
        let without = std::env::var("CHAOS_WITHOUT").unwrap_or_default();
        for _ in 0..2 + self.dice.below(4) {
            let weights: u64 = DISTURBANCES.iter().map(|(weight, ..)| weight).sum();
            let mut left = self.dice.below(weights);
            let chosen = DISTURBANCES.iter().find(|(weight, ..)| {
                let found = left < *weight;
                left = left.saturating_sub(*weight);
                found
            });
            if let Some((_, name, happen)) = chosen
                && !without.split(',').any(|word| word == *name)
            {
                happen(self);
            }
            let pause = self.dice.ms(50, 1_200);
            self.wait(pause);
        }
    }

    /// Everything works again; what the pages and people said stays.
    pub(super) fn repair(&mut self) {
        self.resume();
        self.tenant.as_usual();
        self.pages.iter().for_each(StatusPage::as_usual);
        self.date();
        if self.daemon.is_none() {
            self.run();
        }
    }

    /// Whether the program runs; it has no reason to end by itself.
    pub(super) fn runs(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// The pages tell no problem, and this is what the tenant shows: what was in doubt no longer is.
    pub(super) fn all_is_well(&mut self, visible: bool) {
        self.manual = self.manual.take().filter(|_| visible);
        (self.manual_in_doubt, self.forgotten) = (false, false);
    }

    fn tell(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        writeln!(self.told, "{at:7.2} {what}").unwrap();
    }

    fn run(&mut self) {
        let vars = [
            ("QLIK_TENANT_URL", self.tenant.url()),
            ("QLIK_API_KEY", API_KEY.into()),
            ("POLL_INTERVAL", "1s".into()),
            ("BANNER_SPACING", "0s".into()),
            ("BANNER_RECHECK", "1s".into()),
            ("LISTEN", "off".into()),
        ];
        let vars = vars.each_ref().map(|(name, value)| (*name, value.as_str()));
        let said =
            File::options().create(true).append(true).open(self.folder.path().join("said.txt")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_data-sources-monitor"));
        command.current_dir(self.folder.path()).env_clear().envs(vars);
        let child = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
        self.daemon = Some(child);
        self.tell("start");
    }

    fn kill(&mut self) {
        self.resume();
        let Some(mut child) = self.daemon.take() else { return };
        let signal = self.dice.one(&["-KILL", "-KILL", "-TERM"]);
        send(&child, signal);
        child.wait().unwrap();
        self.tell(signal);
        if self.dice.below(3) == 0 {
            let _ = fs::remove_dir_all(self.folder.path().join("data"));
            self.forgotten = self.manual.is_some();
            self.tell("the state is lost");
        }
        let pause = self.dice.ms(1, 1_500);
        self.wait(pause);
        self.run();
    }

    fn pause(&mut self) {
        if let Some(child) = self.daemon.as_ref().filter(|_| !self.paused) {
            send(child, "-STOP");
            self.paused = true;
            self.tell("-STOP");
        }
    }

    fn resume(&mut self) {
        if let Some(child) = self.daemon.as_ref().filter(|_| self.paused) {
            send(child, "-CONT");
            self.paused = false;
            self.tell("-CONT");
        }
    }

    fn page_changes(&mut self) {
        let which = self.dice.below(2) as usize;
        self.number += 1;
        let (indicator, kind) = [
            ("none", ""),
            ("none", ""),
            ("minor", "warning"),
            ("major", "error"),
            ("critical", "error"),
            ("maintenance", "info"),
        ][self.dice.below(6) as usize];
        let mut truth = self.truth().clone();
        if indicator == "none" {
            self.pages[which].recover();
            truth[which] = None;
        } else {
            let words = format!("Trouble {}", self.number);
            self.pages[which].set_indicator(indicator, &words);
            truth[which] = Some(Problem { kind, words });
        }
        self.tell(&format!("{} {indicator} {}", NAMES[which], self.number));
        if truth != *self.truth() {
            self.truths.push((Instant::now(), truth));
            self.choice = None;
        }
    }

    fn page_fails(&mut self) {
        let which = self.dice.below(2) as usize;
        let (what, reply) = match self.dice.below(5) {
            0 => ("503, again in an hour", Reply::status(503).header("retry-after", "3600")),
            1 => ("500", Reply::status(500)),
            2 => ("no answer", Reply::hang()),
            3 => ("reset", Reply::dropped()),
            _ => ("HTML", Reply::html()),
        };
        if self.dice.below(2) == 0 {
            self.pages[which].next(reply);
        } else {
            self.pages[which].always_on("", reply);
        }
        self.tell(&format!("{}: {what}", NAMES[which]));
    }

    fn answers_are_lost(&mut self) {
        let late = self.dice.ms(500, 3_000);
        let (what, on, reply) = match self.dice.below(5) {
            0 | 1 => ("the answer to a write is lost", WRITE, Reply::usual().reset()),
            2 => ("the answer to a write is cut off", WRITE, Reply::usual().cut_off()),
            3 => ("the answer to a write is late", WRITE, Reply::usual().late(late)),
            _ => ("a reading is lost", READ, Reply::dropped()),
        };
        self.tenant.next_on(on, reply);
        self.tell(what);
    }

    fn tenant_refuses(&mut self) {
        let on = self.dice.one(&[READ, WRITE]);
        // To a reading 404 is an answer: there is no banner.
        let statuses: &[u16] = if on == READ { &[401, 403, 429, 503] } else { &[401, 403, 404, 429, 500] };
        let status = statuses[self.dice.below(statuses.len() as u64) as usize];
        let wait = self.dice.one(&["", "0", "1", "1.5", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]);
        for _ in 0..1 + self.dice.below(2) {
            let reply = Reply::status(status).header("date", &self.http_date());
            self.tenant.next_on(on, if wait.is_empty() { reply } else { reply.header("retry-after", wait) });
        }
        self.tell(&format!("{on}: {status}, retry-after {wait:?}"));
    }

    fn clock_jumps(&mut self) {
        let minutes = [-20, 0, 0, 20][self.dice.below(4) as usize];
        self.skew = SignedDuration::from_mins(minutes);
        self.tick();
        self.date();
        self.tell(&format!("the tenant's clock is {minutes} min ahead"));
    }

    /// Its answers carry its time.
    fn date(&mut self) {
        self.dated = Instant::now();
        if !self.skew.is_zero() {
            self.tenant.always_on("", Reply::usual().header("date", &self.http_date()));
        }
    }

    fn http_date(&self) -> String {
        let now = self.now().to_zoned(jiff::tz::TimeZone::UTC);
        now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    fn person_acts(&mut self) {
        // Paused, the program may be between its last reading and its write.
        if self.paused || !self.nothing_under_way() {
            return;
        }
        let now = self.now();
        let slot = self.tenant.banner().filter(|banner| banner.shows_at(now));
        let own = slot.as_ref().is_some_and(|banner| self.manual_texts.contains(&banner.message));
        match (self.dice.below(4), slot) {
            (2, Some(banner)) => {
                let off = Banner { enabled: false, ..banner };
                if own {
                    self.manual = None;
                }
                self.manual_in_doubt = self.manual.is_some();
                self.tenant.person_sets(off.clone());
                self.choice = Some(off);
                self.tell("a person switches the banner off");
            }
            (3, Some(banner)) => {
                let end = now + SignedDuration::from_hours(24 * 7);
                let link = (true, Some("https://help.example.com/".to_owned()), Some("Help".to_owned()));
                let edited = if self.dice.below(2) == 0 {
                    Banner { end, ..banner }
                } else {
                    Banner { link, ..banner }
                };
                if own {
                    self.manual = Some(edited.clone());
                }
                self.tenant.person_sets(edited.clone());
                self.choice = Some(edited);
                self.tell("a person edits the banner");
            }
            _ => {
                self.number += 1;
                let text = format!("Message {} of a person", self.number);
                let minute = SignedDuration::from_mins(1);
                let end = now + SignedDuration::from_hours(24);
                // Visible whatever the clock says by then.
                let banner = Banner::of("info", &text, now - minute * 90, end);
                self.tenant.person_sets(banner.clone());
                (self.manual, self.choice) = (Some(banner.clone()), Some(banner));
                (self.manual_in_doubt, self.forgotten) = (false, false);
                self.tell(&format!("a person sets {text:?}"));
                self.manual_texts.push(text);
            }
        }
        self.tick();
    }

    /// Waits for a moment without requests to the tenant; `false` if none comes.
    fn nothing_under_way(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let last = self.tenant.requests().last().map(|request| request.at);
            if self.tenant.in_flight() == 0 && last.is_none_or(|at| at.elapsed() >= NO_EXCHANGE) {
                return true;
            }
            self.wait(TICK);
        }
        false
    }

    /// What happened, for whoever reads a failure.
    pub(super) fn report(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        let at = |index: usize| self.seen.get(index).map_or(0.0, |at| (*at - self.began).as_secs_f64());
        let mut writes = String::new();
        for (index, write) in self.history().iter().enumerate() {
            writeln!(writes, "{:7.2} {:?} {}", at(index), write.author, write.banner).unwrap();
        }
        format!("what happened:\n{}\nthe banner:\n{writes}\nthe log:\n{last}", self.told)
    }
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
