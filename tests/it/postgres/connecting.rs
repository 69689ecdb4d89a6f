//! Connecting to the server, and the errors when that fails.

use std::path::Path;
use std::time::{Duration, Instant};

use data_sources_monitor::testing::database::{Connected, Database, DatabaseError, DatabaseErrorKind};
use secrecy::SecretString;

use crate::postgres::cluster::{self, Cluster};

fn database(url: &str) -> Database {
    Database::new(&SecretString::from(url), None, None).unwrap()
}

async fn refusal(url: &str) -> DatabaseError {
    match database(url).connect().await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

/// The text without what differs from run to run.
fn stable_part(error: &DatabaseError, cluster: &Cluster) -> String {
    error.to_string().replace(&cluster.port.to_string(), "PORT")
}

async fn number(connected: &Connected, sql: &str) -> String {
    connected.client.query_typed(sql, &[]).await.unwrap()[0].get(0)
}

/// Without the password; the right address connects.
#[tokio::test]
async fn each_connection_failure_has_its_message() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let user = cluster.user("right-pa55").await;
    let signed = |password: &str, database: &str| cluster.url(&format!("{user}:{password}"), database);
    let connected = database(&signed("right-pa55", &name)).connect().await.unwrap();
    assert_eq!(number(&connected, "SELECT current_setting('timezone')").await, "UTC");

    let wrong = refusal(&signed("wrong-pa55", &name)).await;
    let missing = refusal(&cluster.url(&user, &name)).await;
    let absent = refusal(&cluster.url("postgres", "nowhere")).await;
    let stranger = refusal(&cluster.url("stranger", &name)).await;
    let nobody = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = refusal(&format!("postgres://postgres@127.0.0.1:{free}/x")).await;
        error.to_string().replace(&free.to_string(), "PORT")
    };
    let unknown = refusal("postgres://dsm@nowhere.invalid/x").await;
    let plain =
        refusal(&format!("postgres://postgres@127.0.0.1:{}/{name}?sslmode=require", cluster.port)).await;
    let stable_part = [wrong, missing, absent, stranger, unknown, plain]
        .map(|error| stable_part(&error, &cluster))
        .join("\n");
    let stable_part = format!("{stable_part}\n{nobody}").replace(&name, "DATABASE").replace(&user, "USER");
    assert!(!stable_part.contains("pa55"), "{stable_part}");
    insta::assert_snapshot!(stable_part, @r#"
    PostgreSQL at 127.0.0.1:PORT/DATABASE rejected user USER: wrong password, or no such user: correct DATABASE_URL or DATABASE_PASSWORD
    PostgreSQL at 127.0.0.1:PORT/DATABASE rejected user USER: a password is required: set DATABASE_PASSWORD
    PostgreSQL at 127.0.0.1:PORT/nowhere has no database "nowhere": create it, or correct DATABASE_URL
    PostgreSQL at 127.0.0.1:PORT/DATABASE rejected user stranger: role "stranger" does not exist
    cannot reach PostgreSQL at nowhere.invalid:5432/x: the host name does not resolve
    TLS to PostgreSQL at 127.0.0.1:PORT/DATABASE failed: server does not support TLS; trust its authority with EXTRA_CA_FILE, or add sslmode=disable to DATABASE_URL where the network is trusted
    cannot reach PostgreSQL at 127.0.0.1:PORT/x: connection refused
    "#);
}

/// Before anything else is tried.
#[tokio::test]
async fn a_read_only_server_is_refused() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    cluster.session("postgres").await.batch_execute(&sql).await.unwrap();
    let error = refusal(&cluster.url("postgres", &name)).await;
    assert_eq!(error.kind(), DatabaseErrorKind::ReadOnly, "{error}");
}

/// Wherever it stands in the address.
#[tokio::test]
async fn the_writable_server_of_several_is_used() {
    let (Some(primary), Some(replica)) = (cluster::shared(), cluster::own()) else { return };
    let name = primary.database().await;
    let make =
        format!("CREATE DATABASE {name}; ALTER DATABASE {name} SET default_transaction_read_only = on");
    for statement in make.split("; ") {
        replica.session("postgres").await.batch_execute(statement).await.unwrap();
    }
    let both = replica.url("postgres", &name).replacen(
        &format!("/{name}"),
        &format!(",127.0.0.1:{}/{name}", primary.port),
        1,
    );
    let connected = database(&both).connect().await.unwrap();
    assert_eq!(number(&connected, "SELECT current_setting('port')").await, primary.port.to_string());
}

/// With the reason; a held lock is waited for no longer than configured.
#[tokio::test]
async fn lost_sessions_and_held_locks_are_reported() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let connected = database(&cluster.url("postgres", &name)).connect().await.unwrap();
    let session = cluster.session(&name).await;
    session.batch_execute("CREATE TABLE held (x int)").await.unwrap();
    session.batch_execute("BEGIN; LOCK TABLE held").await.unwrap();
    connected.client.batch_execute("SET lock_timeout = '50ms'").await.unwrap();
    let error = connected.client.batch_execute("SELECT * FROM held").await.unwrap_err();
    let error = connected.judge("reading", &error);
    assert_eq!(error.kind(), DatabaseErrorKind::Timeout, "{error}");

    let pid = connected.client.query_typed("SELECT pg_backend_pid()", &[]).await.unwrap()[0].get::<_, i32>(0);
    session.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let begun = Instant::now();
    while !connected.client.is_closed() && begun.elapsed() < Duration::from_secs(10) {
        tokio::task::yield_now().await;
    }
    let error = connected.client.batch_execute("SELECT 1").await.unwrap_err();
    let error = connected.judge("reading", &error);
    assert!(error.to_string().contains("administrator"), "{error}");
    assert!(error.is_transient() && !error.is_retriable());
}

/// Rejected without its authority, accepted with it, rejected for another name.
#[tokio::test]
async fn sslmode_require_verifies_the_certificate() {
    let Some(cluster) = cluster::own() else { return };
    let folder = tempfile::tempdir().unwrap();
    certify(&cluster, folder.path());
    let authority = folder.path().join("ca.pem");
    let port = cluster.port;
    let reach = async |host: &str, ca: Option<&Path>| {
        let url = format!("postgres://postgres@{host}:{port}/postgres?sslmode=verify-full");
        match Database::new(&url.as_str().into(), None, ca).unwrap().connect().await {
            Ok(connected) => {
                number(&connected, "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await
            }
            Err(error) => stable_part(&error, &cluster),
        }
    };
    let all = [
        reach("localhost", None).await,
        reach("localhost", Some(&authority)).await,
        reach("127.0.0.1", Some(&authority)).await,
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    TLS to PostgreSQL at localhost:PORT/postgres failed: invalid peer certificate: UnknownIssuer; trust its authority with EXTRA_CA_FILE, or add sslmode=disable to DATABASE_URL where the network is trusted
    true
    TLS to PostgreSQL at 127.0.0.1:PORT/postgres failed: invalid peer certificate: certificate not valid for name "127.0.0.1"; certificate is only valid for DnsName("localhost"); trust its authority with EXTRA_CA_FILE, or add sslmode=disable to DATABASE_URL where the network is trusted
    "#);
    let error =
        Database::new(&"postgres://a@b/c".into(), None, Some(&folder.path().join("absent"))).unwrap_err();
    assert!(error.to_string().contains("EXTRA_CA_FILE"), "{error}");
}

/// Gives the server a certificate for `localhost`, of an unknown authority.
fn certify(cluster: &Cluster, folder: &Path) {
    let script = "set -e; cd \"$1\"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=Test authority' -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out server.crt
        cp server.key server.crt \"$2\"; cd \"$2\"; chown --reference=PG_VERSION server.key server.crt; chmod 600 server.key
        printf \"ssl=on\\nssl_cert_file='server.crt'\\nssl_key_file='server.key'\\n\" >> postgresql.conf
        kill -HUP \"$(head -1 postmaster.pid)\"";
    let done =
        std::process::Command::new("sh").args(["-c", script, "sh"]).arg(folder).arg(cluster.data()).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // The server handles the signal asynchronously.
    let begun = Instant::now();
    while !cluster.log().contains("reloading") && begun.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
}
