//! `monitor add SLUG` as a user types it: the catalogue's own hosts, behind a proxy that leads to stand-in servers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::binary::output;
use crate::processes::tls::{head_of_request, server_for};
use stand_ins::Clock;
use stand_ins::engines::{EnginePage, Level};
use stand_ins::status_page::StatusPage;

/// An HTTPS proxy: CONNECT, then TLS as the host itself, and each request on to the stand-in server of the host.
/// Returns its address and the certificate of its authority.
fn proxy(hosts: BTreeMap<&'static str, String>) -> (String, String) {
    let (config, authority) = server_for(&hosts.keys().copied().collect::<Vec<_>>());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let connect = String::from_utf8(head_of_request(&mut socket)).unwrap_or_default();
            let host = connect.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next());
            let Some(page) = host.and_then(|host| hosts.get(host)) else {
                let _ = socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
                continue;
            };
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let mut wire = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
            let request = String::from_utf8(head_of_request(&mut wire)).unwrap();
            let mut answer = Vec::new();
            let mut upstream = TcpStream::connect(page.trim_start_matches("http://")).unwrap();
            upstream.write_all(request.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).unwrap();
            upstream.read_to_end(&mut answer).unwrap();
            let _ = wire.write_all(&answer);
            wire.conn.send_close_notify();
            let _ = wire.flush();
        }
    });
    (url, authority)
}

/// A user's folder behind the proxy.
struct Desk {
    folder: TempDir,
    proxy: String,
}

impl Desk {
    fn behind(hosts: BTreeMap<&'static str, String>) -> Desk {
        let (proxy, authority) = proxy(hosts);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), authority).unwrap();
        Desk { folder, proxy }
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let vars = [("HTTPS_PROXY", self.proxy.as_str()), ("EXTRA_CA_FILE", "ca.pem")];
        let (code, out, err) = output(self.folder.path(), args, &vars);
        (code, out + &err)
    }

    /// Severity and description of each monitor.
    fn check(&self) -> BTreeMap<String, (String, String)> {
        let (_, out) = self.run(&["check", "--json"]);
        let json: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let monitors = json["monitors"].as_array().unwrap().iter();
        monitors
            .map(|one| (text(&one["name"]), (text(&one["severity"]), text(&one["description"]))))
            .collect()
    }
}

/// The id of the component that breaks.
const SICK: u32 = 11;

#[test]
fn a_service_of_every_kind_is_added_by_its_slug_and_read_rightly() {
    let engine = |name: &str, component: &str| {
        let page = EnginePage::open(name, &Clock::system()).unwrap();
        page.change(|server| server.model().components[0].name = component.to_owned());
        page
    };
    let (snowflake, qlik) = (StatusPage::start(), StatusPage::start());
    let warehouse = snowflake.add_component("Snowflake Data Warehouse", "operational");
    let tenant = qlik.add_component("Qlik Cloud - AWS - Ireland (eu)", "operational");
    qlik.add_component("Support portal", "major_outage");
    let pages = [
        ("bigquery", "status.cloud.google.com", engine("google", "Google BigQuery")),
        ("redshift", "health.aws.amazon.com", engine("aws", "Redshift")),
        ("databricks-azure", "api.status.io", engine("statusio", "Databricks SQL")),
        ("salesforce", "api.status.salesforce.com", engine("salesforce", "Core service")),
        ("slack", "slack-status.com", engine("slack", "Messaging")),
        ("openai", "status.openai.com", engine("incidentio", "Chat completions")),
    ];
    let mut hosts: BTreeMap<&str, String> = pages.iter().map(|(_, host, page)| (*host, page.url())).collect();
    hosts.insert("status.snowflake.com", snowflake.url());
    hosts.insert("statusp-pb8g4h.qlikcloud.com", qlik.url());
    let desk = Desk::behind(hosts);

    for slug in pages.iter().map(|(slug, ..)| *slug).chain(["snowflake", "qlik-cloud"]) {
        let instance: &[&str] = if slug == "salesforce" { &["--option", "instance=EU45"] } else { &[] };
        let (code, said) = desk.run(&[&["monitor", "add", slug], instance].concat());
        assert!(code == 0 && said.contains(": none: "), "{slug}: {said}");
        let file = fs::read_to_string(desk.folder.path().join(format!("monitors/{slug}.toml"))).unwrap();
        assert!(file.contains(&format!("service = \"{slug}\"")), "{file}");
    }
    assert_eq!(desk.run(&["validate"]).0, 0);
    let calm = desk.check();
    assert_eq!(calm.len(), 8, "{calm:?}");
    assert!(calm.values().all(|(severity, _)| severity == "none"), "{calm:?}");

    for (_, _, page) in &pages {
        page.change(|server| server.model().break_component(SICK, Level::Outage));
    }
    for (page, component) in [(&snowflake, &warehouse), (&qlik, &tenant)] {
        page.set_component(component, "major_outage");
        page.set_indicator("critical", "Major Service Outage");
        page.open_incident("Trouble 11", "critical", &[component]);
    }
    let broken = desk.check();
    for (name, severity, text) in [
        ("Google BigQuery", "critical", "Trouble 11"),
        ("Amazon Redshift", "critical", "Trouble 11"),
        ("Databricks on Azure", "critical", "Trouble 11"),
        // Its incidents state no impact, so their titles explain nothing.
        ("Salesforce", "critical", "Major Service Outage"),
        // Slack has no word above an outage.
        ("Slack", "major", "Trouble 11"),
        ("OpenAI", "critical", "Trouble 11"),
        ("Snowflake", "critical", "Trouble 11"),
        ("Qlik Cloud", "critical", "Trouble 11"),
    ] {
        let (got, description) = &broken[name];
        assert_eq!(got, severity, "{name}: {broken:?}");
        assert!(description.contains(text), "{name}: {description}");
    }
}
