//! PgBouncer in transaction mode before a cluster: each transaction may be served by another session of the server.
//! Start at [`Pooler::before`].

use std::process::Stdio;

use crate::postgres::cluster::skipped;
use crate::postgres::cluster::{self, Cluster};

/// A pooler in transaction mode.
pub(crate) struct Pooler {
    port: u16,
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pooler {
    /// `None`, with a message, where the machine has no PgBouncer.
    pub(crate) fn before(cluster: &Cluster) -> Option<Pooler> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        let Some(program) = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
        else {
            skipped("REQUIRE_POSTGRES", "pgbouncer is missing (Debian: pgbouncer)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n\
             unix_socket_dir=\nauth_type=any\npool_mode=transaction\ndefault_pool_size=3\nserver_round_robin=1\n\
             ignore_startup_parameters=extra_float_digits\n",
            cluster.port
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        std::os::unix::fs::chown(&file, Some(65534), Some(65534)).ok();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = cluster::unprivileged(&program);
        let child = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed().as_secs() < 20, "pgbouncer does not start");
            std::thread::yield_now();
        }
        Some(Pooler { port, child, _folder: folder })
    }

    /// The address of a database through it, for the superuser. It doesn't say that there is a pooler.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}
