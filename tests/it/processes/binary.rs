//! The real program: exit codes, messages, the log, signals.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Tenant};

/// Long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The program in a folder of its own, without the test's environment.
pub(crate) fn program(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-sources-monitor"));
    command.args(args).current_dir(folder).env_clear().envs(vars.iter().copied());
    // The TLS library may need this one variable of the system.
    if let Ok(bundle) = std::env::var("SSL_CERT_FILE") {
        command.env("SSL_CERT_FILE", bundle);
    }
    command
}

pub(crate) fn output(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program(folder, args, vars).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

pub(crate) fn watching(pages: &[(&str, &StatusPage)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("monitors")).unwrap();
    for (name, page) in pages {
        let text = format!("name = \"{name}\"\nurl = \"{}\"\n", page.url());
        fs::write(folder.path().join("monitors").join(format!("{name}.toml")), text).unwrap();
    }
    folder
}

/// A running daemon; killed if a test ends before it.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: String,
}

impl Running {
    pub(crate) fn start(folder: &Path, vars: &[(&str, &str)]) -> Running {
        // With a line in every cycle a test can wait for the next one.
        let mut all = vec![("POLL_INTERVAL", "1s"), ("LISTEN", "127.0.0.1:0"), ("LOG_EVERY_CYCLE", "true")];
        all.extend(vars);
        let mut child = program(folder, &[], &all).stderr(Stdio::piped()).spawn().unwrap();
        let console = BufReader::new(child.stderr.take().unwrap());
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            console.lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        Running { child, lines, said: String::new() }
    }

    /// Reads the console until a line contains the text.
    pub(crate) fn until(&mut self, words: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(words) {
                return line;
            }
        }
        panic!("never said `{words}`:\n{}", self.said);
    }

    /// The address of its dashboard, from the next line that names it.
    pub(crate) fn address(&mut self) -> String {
        let line = self.until("Listening on ");
        line.split("Listening on ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    /// How many of the lines read so far contain the text.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.said.lines().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ended(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// On the console and in monitor.log; the preview is announced once.
#[test]
fn without_a_tenant_it_runs_in_preview_and_logs_in_the_known_format() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Service Under Maintenance");
    let folder = watching(&[("Epic Games", &page)]);
    let mut daemon = Running::start(folder.path(), &[]);
    daemon.until("Preview: would set banner");
    daemon.until("Checking services status...");
    daemon.until("Issues detected");
    daemon.signal("-TERM");
    daemon.until("Stopped.");
    assert_eq!(daemon.ended(), 0);
    let file = fs::read_to_string(folder.path().join("monitor.log")).unwrap();
    let shape = |line: &str| {
        let (at, rest) = line.split_at(19);
        let digits: String = at.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(digits, "0000-00-00 00:00:00", "{line}");
        rest.to_owned()
    };
    let lines: Vec<String> = file.lines().map(shape).collect();
    assert_eq!(lines[0], " - MainOrchestrator - INFO - Starting Qlik Cloud Data Sources Monitor...");
    assert!(lines.contains(&" - MainOrchestrator - INFO - Checking services status...".to_owned()));
    let issue = " - MainOrchestrator - WARNING - Issues detected: Epic Games: Service Under Maintenance (Severity: minor)";
    assert!(lines.contains(&issue.to_owned()), "{file}");
    assert_eq!(lines.iter().filter(|line| line.contains("Preview: no QLIK_")).count(), 1);
}

#[tokio::test]
async fn a_banner_is_written_and_the_response_logged_without_the_key() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let folder = watching(&[("Alpha", &page)]);
    fs::write(folder.path().join("key"), format!("{API_KEY}\n")).unwrap();
    let vars = [
        ("QLIK_TENANT_URL", tenant.url()),
        ("QLIK_API_KEY_FILE", "key".into()),
        ("LOG_LEVEL", "trace".into()),
    ];
    let vars = vars.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut daemon = Running::start(folder.path(), &vars);
    daemon.until("QlikClient - INFO - Banner updated successfully.");
    tenant.wait_until(|tenant| tenant.visible().is_some()).await;
    page.recover();
    daemon.until("Banner cleared.");
    daemon.until("All services operational.");
    daemon.signal("-TERM");
    daemon.until("Stopped.");
    assert!(!daemon.said.contains(API_KEY), "{}", daemon.said);
    tenant.assert_well_behaved();
}

/// A part of the tenant's variables, a broken definition, an unusable path: each error with its place.
#[test]
fn configuration_errors_exit_with_78() {
    let folder = watching(&[]);
    let (code, _, said) = output(folder.path(), &[], &[("QLIK_API_KEY", "hush-hush-key")]);
    assert!(code == 78 && said.contains("QLIK_TENANT_URL: is missing") && !said.contains("hush"), "{said}");
    fs::write(folder.path().join("monitors/a.toml"), "name = \"A\"\nurl = 5\nintervall = \"1s\"\n").unwrap();
    let (code, _, said) = output(folder.path(), &["run"], &[]);
    assert!(code == 78 && said.contains("a.toml:2:7:") && said.contains("a.toml:3:1:"), "{said}");
    fs::write(folder.path().join("monitors/a.toml"), "name = \"A\"\nurl = \"https://a.test\"\n").unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let (code, _, said) = output(folder.path(), &[], &[("DATA_DIR", "file/data"), ("LISTEN", "off")]);
    assert!(code == 78 && said.contains("DATA_DIR file: not a directory"), "{said}");
    let (code, _, said) = output(folder.path(), &[], &[("LOG_FILE", "none/monitor.log"), ("LISTEN", "off")]);
    assert!(code == 78 && said.contains("none"), "{said}");
    let (code, _, _) = output(folder.path(), &["no-such-command"], &[]);
    assert_eq!(code, 2);
}

/// Of `.env`, the environment and the definitions.
#[test]
fn validate_reports_all_errors_together() {
    let folder = watching(&[]);
    fs::write(folder.path().join("monitors/a.toml"), "name = \"A\"\nurl = 5\n").unwrap();
    fs::write(folder.path().join(".env"), "POLL_INTERVAL=soon\nQLIK_TENANT_URL=https://acme.test/hub\n")
        .unwrap();
    let (code, _, said) = output(folder.path(), &["validate"], &[]);
    assert_eq!(code, 78);
    for words in
        ["POLL_INTERVAL: `soon`", "QLIK_TENANT_URL: must be", "QLIK_API_KEY: is missing", "a.toml:2:7"]
    {
        assert!(said.contains(words), "{words} not in {said}");
    }
    fs::remove_file(folder.path().join(".env")).unwrap();
    for (connector, code, words) in [
        (
            "statuscake",
            0,
            "warning: monitor A: connector statuscake is off, so the state of its data is unknown",
        ),
        ("statuscak", 78, "monitor A: unknown connector \"statuscak\"; known connectors: people_ai"),
    ] {
        let text = format!(
            "name = \"A\"\nkind = \"sync\"\nconnector = \"{connector}\"\nstale_after = \"2h\"\nseverity = \"minor\"\n"
        );
        fs::write(folder.path().join("monitors/a.toml"), text).unwrap();
        let (got, out, err) = output(folder.path(), &["validate"], &[]);
        assert!(got == code && (out.clone() + &err).contains(words), "{connector}: {out}{err}");
    }
    let (code, said, _) = output(tempfile::tempdir().unwrap().path(), &["validate"], &[]);
    assert!(code == 0 && said.contains("Epic Games, GitHub, MongoDB, Snowflake"), "{said}");
}

/// The table and the JSON agree.
#[test]
fn check_exits_like_a_monitoring_plugin() {
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    let folder = watching(&[("Alpha", &alpha), ("Beta", &beta)]);
    let check = |args: &[&str]| output(folder.path(), args, &[("POLL_TIMEOUT", "2s")]);
    assert_eq!(check(&["check"]).0, 0);
    alpha.set_indicator("maintenance", "Service Under Maintenance");
    assert_eq!(check(&["check"]).0, 1);
    beta.always_on("", Reply::html());
    let (code, table, _) = check(&["check"]);
    assert_eq!(code, 1);
    assert!(table.contains("Alpha") && table.contains("maintenance") && table.contains("unknown"), "{table}");
    assert!(!table.contains('\x1b'), "no colours in a pipe: {table}");
    alpha.recover();
    assert_eq!(check(&["check"]).0, 3);
    alpha.set_indicator("critical", "Major Service Outage");
    let (code, json, _) = check(&["check", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json["monitors"][0]["severity"].as_str()), (2, Some("critical")));
    assert_eq!(json["monitors"][1]["reason"], "not_json");
}

/// It names the first, which `healthcheck` asks.
#[test]
fn a_second_daemon_on_the_same_folder_is_refused() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let mut daemon = Running::start(folder.path(), &[]);
    let line = daemon.until("Listening on http://");
    let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    daemon.until("All services operational.");
    let (code, _, said) = output(folder.path(), &[], &[("LISTEN", "off"), ("LOG_FILE", "off")]);
    assert!(code == 1 && said.contains(&format!("process {}", daemon.child.id())), "{said}");
    let (code, said, _) = output(folder.path(), &["healthcheck"], &[("LISTEN", &address)]);
    assert_eq!((code, said.as_str()), (0, "ready\n"));
    daemon.signal("-INT");
    assert_eq!(daemon.ended(), 0);
    let (code, _, said) = output(folder.path(), &["healthcheck"], &[("LISTEN", &address)]);
    assert!(code == 1 && said.contains("is the daemon running?"), "{said}");
}

#[test]
fn sighup_reopens_the_log_and_reloads_definitions() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let mut daemon = Running::start(folder.path(), &[("POLL_INTERVAL", "1h")]);
    daemon.until("All services operational.");
    let log = folder.path().join("monitor.log");
    fs::rename(&log, folder.path().join("monitor.log.old")).unwrap();
    let text = format!("name = \"Beta\"\nurl = \"{}\"\n", page.url());
    fs::write(folder.path().join("monitors/beta.toml"), text).unwrap();
    daemon.signal("-HUP");
    daemon.until("Monitor definitions reloaded: added Beta.");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    assert!(fs::read_to_string(&log).unwrap().contains("added Beta"));
}

/// Once.
#[test]
fn a_failure_of_every_page_is_reported_as_a_local_network_problem() {
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    for page in [&alpha, &beta] {
        page.always_on("", Reply::dropped());
    }
    let folder = watching(&[("Alpha", &alpha), ("Beta", &beta)]);
    let mut daemon = Running::start(folder.path(), &[]);
    daemon.until("the local network is the likely cause");
    daemon.until("No issues detected; not readable: Alpha, Beta");
    daemon.until("No issues detected; not readable: Alpha, Beta");
    assert_eq!(daemon.said.matches("the local network").count(), 1);
    alpha.as_usual();
    beta.as_usual();
    daemon.until("Status pages can be reached again.");
}

#[test]
fn help_shows_how_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let (code, help, _) = output(folder.path(), &["--help"], &[]);
    assert_eq!(code, 0);
    for words in ["Examples:", "Exit codes:", "preview", ".env.example", "healthcheck"] {
        assert!(help.contains(words), "{words} not in {help}");
    }
    let (code, script, _) = output(folder.path(), &["completions", "bash"], &[]);
    assert!(code == 0 && script.contains("data-sources-monitor"));
}

/// The proxy comes from `.env`. A name that does not resolve is reported as such.
#[test]
fn proxies_and_no_proxy_are_used() {
    let (proxy, direct) = (StatusPage::start(), StatusPage::start());
    let folder = watching(&[("Direct", &direct)]);
    let gone = "name = \"Gone\"\nurl = \"http://no-such-host.test\"\n";
    fs::write(folder.path().join("monitors/gone.toml"), gone).unwrap();
    let (code, said, _) = output(folder.path(), &["check"], &[]);
    assert!(code == 3 && said.contains("the host name does not resolve"), "{said}");
    fs::remove_file(folder.path().join("monitors/gone.toml")).unwrap();
    let far = "name = \"Far\"\nurl = \"http://status.example.com\"\n";
    fs::write(folder.path().join("monitors/far.toml"), far).unwrap();
    let env = format!("HTTP_PROXY={}\nNO_PROXY=127.0.0.1\n", proxy.url());
    fs::write(folder.path().join(".env"), env).unwrap();
    let (code, said, _) = output(folder.path(), &["check"], &[]);
    assert_eq!((code, proxy.requests().len(), direct.requests().len()), (0, 1, 2), "{said}");
    assert_eq!(proxy.requests()[0].header("host"), Some("status.example.com"));
}

/// Missing, or without a certificate.
#[test]
fn an_unusable_extra_ca_file_is_named() {
    let folder = watching(&[]);
    fs::remove_dir(folder.path().join("monitors")).unwrap();
    fs::write(folder.path().join("ca.pem"), "nothing\n").unwrap();
    for file in ["ca.pem", "none.pem"] {
        let (code, _, said) = output(folder.path(), &["check"], &[("EXTRA_CA_FILE", file)]);
        assert!(code == 78 && said.contains(&format!("EXTRA_CA_FILE {file}")), "{said}");
    }
}
