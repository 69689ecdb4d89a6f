//! A throwaway PostgreSQL cluster, started from the machine's own binaries and shared by all test processes that run
//! at the same time; each test has its own database.
//!
//! A user of the cluster holds a shared lock on a file in its folder. A supervisor, a process of its own session,
//! waits until the lock is free, then ends the server by its process id and removes the folder: also after a panic or
//! a kill. Nothing is synced to disk (`fsync=off`). Start at [`shared`]; [`own`] gives a server that may be stopped
//! and killed.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// PostgreSQL refuses to run as root; this is `nobody`.
const UNPRIVILEGED: &str = "65534";

/// A server that did not start within this time does not start at all.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Seconds that a server runs after its last user: test processes follow each other closely.
const LINGER: u32 = 3;

/// Settings of every cluster: fast, small, and with room for concurrent tests.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=64MB",
    "max_wal_size=1GB",
    "listen_addresses=127.0.0.1",
    "logging_collector=off",
    "log_min_messages=warning",
    "autovacuum=off",
];

/// A running server; it stops some seconds after the last of its users.
pub(crate) struct Cluster {
    folder: PathBuf,
    /// Its port at 127.0.0.1.
    pub(crate) port: u16,
    _used: File,
}

/// The folder of the server's programs, if the machine has them. Where it has none the reason is printed, and with
/// `REQUIRE_POSTGRES` set that is a failure.
pub(crate) fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    found.sort_by_key(|path| path.parent().and_then(|p| p.file_name()?.to_str()?.parse::<u32>().ok()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    let folder = found
        .into_iter()
        .rev()
        .find(|folder| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file()));
    if folder.is_none() {
        skipped("REQUIRE_POSTGRES", "PostgreSQL's server programs are missing (Debian: postgresql)");
    }
    folder
}

/// Says what was not tested and why, or fails where `require` (an environment variable) forbids to skip.
pub(crate) fn skipped(require: &str, why: &str) {
    assert!(std::env::var_os(require).is_none(), "{require} is set, but {why}");
    // Not by `eprintln`, whose output is hidden in a test that passes.
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {why}").unwrap();
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("skipped-tests");
    let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
    writeln!(list, "{why}").unwrap();
}

/// The cluster all tests share, or `None` where the machine has no server.
pub(crate) fn shared() -> Option<Cluster> {
    let programs = programs()?;
    let root = root();
    let lock =
        File::options().create(true).truncate(false).write(true).open(root.join("start.lock")).unwrap();
    lock.lock().unwrap();
    let current = root.join("current");
    if let Ok(folder) = fs::read_to_string(&current)
        && let Some(cluster) = join(Path::new(&folder))
    {
        return Some(cluster);
    }
    let cluster = start(&programs, &root);
    fs::write(&current, cluster.folder.to_str().unwrap()).unwrap();
    Some(cluster)
}

/// A separate cluster, or `None` where the machine has no server.
pub(crate) fn own() -> Option<Cluster> {
    let programs = programs()?;
    let root = root();
    let lock =
        File::options().create(true).truncate(false).write(true).open(root.join("start.lock")).unwrap();
    lock.lock().unwrap();
    Some(start(&programs, &root))
}

/// One folder for each checkout and user, so that they share no files.
fn root() -> PathBuf {
    let hash = env!("CARGO_MANIFEST_DIR").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let root = std::env::temp_dir().join(format!("dsm-postgres-{hash:016x}-{uid}"));
    fs::create_dir_all(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    root
}

/// Joins a running cluster.
fn join(folder: &Path) -> Option<Cluster> {
    let used = File::open(folder.join("users")).ok()?;
    used.try_lock_shared().ok()?;
    let port = fs::read_to_string(folder.join("port")).ok()?.parse().ok()?;
    std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    Some(Cluster { folder: folder.to_owned(), port, _used: used })
}

fn start(programs: &Path, root: &Path) -> Cluster {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let template = template(programs, root);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = root.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let copied = Command::new("cp").arg("-a").arg(template).arg(folder.join("data")).status().unwrap();
    assert!(copied.success());
    fs::write(folder.join("users"), "").unwrap();
    let used = File::open(folder.join("users")).unwrap();
    used.lock_shared().unwrap();
    let mut cluster = Cluster { folder, port: 0, _used: used };
    // Another process may take the port between choosing and using it.
    for _ in 0..5 {
        cluster.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if cluster.launch(programs) {
            fs::write(cluster.folder.join("port"), cluster.port.to_string()).unwrap();
            cluster.supervise();
            return cluster;
        }
    }
    panic!("PostgreSQL does not start:\n{}", cluster.log());
}

/// An empty cluster, made once and copied.
fn template(programs: &Path, root: &Path) -> PathBuf {
    let version = Command::new(programs.join("postgres")).arg("--version").output().unwrap().stdout;
    let version: String =
        String::from_utf8_lossy(&version).chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let done = root.join(format!("template-{version}"));
    if done.is_dir() {
        return done;
    }
    let (home, made) = (root.join("making"), root.join("making/data"));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    let output = unprivileged(&programs.join("initdb"))
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ])
        .arg(&made)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    // Roles of this prefix authenticate with a password, as on a real server.
    let rules = made.join("pg_hba.conf");
    let text = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("host all +guarded 127.0.0.1/32 scram-sha-256\n{text}")).unwrap();
    fs::rename(&made, &done).unwrap();
    done
}

/// A command that runs as a user whom the server accepts, and is not killed with its parent.
pub(crate) fn unprivileged(program: &Path) -> Command {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = [format!("--reuid={UNPRIVILEGED}"), format!("--regid={UNPRIVILEGED}"), "--clear-groups".into()];
    command.args(id).arg(program);
    command
}

impl Cluster {
    /// Starts the server on its data and port. `false` if it does not start.
    fn launch(&self, programs: &Path) -> bool {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new("setsid");
        let server = unprivileged(&programs.join("postgres"));
        command.arg(server.get_program()).args(server.get_args());
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-k", ""]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let mut child = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while begun.elapsed() < START_TIMEOUT {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let status = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            if status.contains("ready") && status.contains(&format!("\n{}\n", self.port)) {
                // Our child only if `setsid` did not need to fork; in both cases it is reaped when it ends.
                std::thread::spawn(move || child.wait());
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Starts the supervisor that stops the server once no one uses it.
    fn supervise(&self) {
        let script = format!(
            "while :; do
                 flock -x \"$1/users\" true; sleep {LINGER}
                 flock -xn \"$1/users\" sh -c 'read -r pid < \"$1/data/postmaster.pid\" && kill -QUIT \"$pid\"; rm -rf \"$1\"' sh \"$1\"
                 [ -e \"$1/users\" ] || exit 0
             done"
        );
        Command::new("setsid")
            .args(["sh", "-c", &script, "sh"])
            .arg(&self.folder)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(|mut child| std::thread::spawn(move || child.wait()))
            .unwrap();
    }

    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The server's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The address of a database for a user, perhaps `name:password`.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// The process id of the server.
    pub(crate) fn pid(&self) -> Option<String> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next().map(str::to_owned)
    }

    /// Ends the server as a crash would, without closing connections.
    pub(crate) fn crash(&self) {
        let pid = self.pid().expect("a server that runs");
        assert!(Command::new("kill").args(["-QUIT", &pid]).status().unwrap().success());
        let begun = Instant::now();
        while Path::new("/proc").join(&pid).exists() {
            assert!(begun.elapsed() < START_TIMEOUT, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// Starts it again after [`crash`](Self::crash), at the same port.
    pub(crate) fn restart(&self) {
        assert!(self.launch(&programs().expect("a server")), "{}", self.log());
    }
}

impl Cluster {
    /// A session of the superuser in a database.
    pub(crate) async fn session(&self, database: &str) -> tokio_postgres::Client {
        let url = self.url("postgres", database);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Makes a new, empty database and returns its name.
    pub(crate) async fn database(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        let name = format!("t{}_{}_{now}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.session("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        name
    }

    /// Makes a new user who authenticates with a password, and returns its name.
    pub(crate) async fn user(&self, password: &str) -> String {
        let session = self.session("postgres").await;
        let guarded = "DO $$ BEGIN CREATE ROLE guarded; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$";
        session.batch_execute(guarded).await.unwrap();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("u{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let make = format!(
            "DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE guarded"
        );
        session.batch_execute(&make).await.unwrap();
        name
    }
}
