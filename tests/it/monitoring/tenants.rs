//! Several tenants: the real program between two stand-in tenants and two status pages.

use std::fs;
use std::path::Path;

use jiff::{Timestamp, ToSpan};
use tempfile::TempDir;

use super::daemon::{seen_now, wait_for_banner};
use super::reload_errors;
use crate::processes::binary::{Running, output};
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Banner, CLIENT_ID, CLIENT_SECRET, TOKEN, Tenant, WRITE, refusal};

const KEYS: [(&str, &str); 2] = [("TENANT_PROD_API_KEY", API_KEY), ("TENANT_DEV_API_KEY", API_KEY)];

/// Two pages, Alpha with the tag `warehouse`, and a folder for tenants.
struct Office {
    prod: Tenant,
    dev: Tenant,
    alpha: StatusPage,
    beta: StatusPage,
    folder: TempDir,
}

impl Office {
    fn open() -> Office {
        let (alpha, beta) = (StatusPage::start(), StatusPage::start());
        let folder = tempfile::tempdir().unwrap();
        for name in ["monitors", "tenants"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let monitor = |name: &str, page: &StatusPage, more: &str| {
            let text = format!("name = \"{name}\"\nurl = \"{}\"\n{more}\n", page.url());
            fs::write(folder.path().join(format!("monitors/{name}.toml")), text).unwrap();
        };
        monitor("Alpha", &alpha, "tags = [\"warehouse\"]");
        monitor("Beta", &beta, "");
        Office { prod: Tenant::start(), dev: Tenant::start(), alpha, beta, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the definitions of both tenants.
    fn define(&self, prod: &str, dev: &str) {
        self.define_one("prod", &self.prod, prod);
        self.define_one("dev", &self.dev, dev);
    }

    fn define_one(&self, name: &str, tenant: &Tenant, more: &str) {
        let text = format!("name = \"{name}\"\nurl = \"{}\"\n{more}\n", tenant.url());
        fs::write(self.path().join(format!("tenants/{name}.toml")), text).unwrap();
    }

    fn start(&self, vars: &[(&str, &str)]) -> Running {
        Running::start(self.path(), vars)
    }
}

fn outage(page: &StatusPage, words: &str) {
    page.set_indicator("minor", words);
}

#[tokio::test]
async fn each_tenant_shows_its_own_part_in_its_own_style() {
    let office = Office::open();
    let prod =
        "monitors = [\"tag:warehouse\"]\nprefix = \"[External]\"\nlink = \"https://help.example.com/\"";
    office.define(prod, "ignore_monitors = [\"alp*\"]\nseverity = { minor = \"critical\" }\nlink = \"off\"");
    outage(&office.alpha, "Slow");
    outage(&office.beta, "Degraded");
    let mut daemon = office.start(&KEYS);
    wait_for_banner(&office.prod, "[External] Alpha: Slow").await;
    wait_for_banner(&office.dev, "Beta: Degraded").await;
    let (prod, dev) = (office.prod.visible().unwrap(), office.dev.visible().unwrap());
    assert_eq!((prod.kind.as_str(), dev.kind.as_str()), ("warning", "error"));
    assert_eq!((prod.link.0, prod.link.1.as_deref()), (true, Some("https://help.example.com/")));
    assert!(!dev.link.0, "{:?}", dev.link);
    office.alpha.recover();
    wait_for_banner(&office.prod, "").await;
    assert_eq!((office.prod.writes().len(), office.dev.writes().len()), (2, 1));
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
}

/// The log and the API name the tenant; the daemon is ready, because the other tenant is right.
#[tokio::test]
async fn a_tenant_that_refuses_us_delays_no_other() {
    let office = Office::open();
    office.define("", "");
    let keys = [("TENANT_PROD_API_KEY", API_KEY), ("TENANT_DEV_API_KEY", "a-key-of-another-tenant")];
    let mut daemon = office.start(&keys);
    let line = daemon.until("the tenant rejected our credentials");
    assert!(line.contains("dev"), "{line}");
    for words in ["Slow", "Slower"] {
        outage(&office.alpha, words);
        wait_for_banner(&office.prod, &format!("Alpha: {words}")).await;
    }
    assert!(office.dev.requests_on(WRITE).is_empty());
}

#[tokio::test]
async fn a_removed_tenant_loses_our_banner_and_keeps_a_manual_one() {
    let office = Office::open();
    office.define("monitors = [\"Alpha\"]", "monitors = [\"Beta\"]");
    outage(&office.alpha, "Slow");
    let (now, later) = (Timestamp::now(), Timestamp::now() + 1.hour());
    office.dev.person_sets(Banner::of("info", "Party at 5", now, later));
    let mut daemon = office.start(&KEYS);
    wait_for_banner(&office.prod, "Alpha: Slow").await;
    let third = Tenant::start();
    office.define_one("third", &third, "");
    for gone in ["prod", "dev"] {
        fs::remove_file(office.path().join(format!("tenants/{gone}.toml"))).unwrap();
    }
    let keys = format!("TENANT_THIRD_API_KEY={API_KEY}\n");
    fs::write(office.path().join(".env"), keys).unwrap();
    daemon.signal("-HUP");
    wait_for_banner(&office.prod, "").await;
    wait_for_banner(&third, "Alpha: Slow").await;
    daemon.until("Tenant definitions reloaded: added third, removed dev, removed prod.");
    daemon.until("was removed; its manual banner stays.");
    assert_eq!((seen_now(&office.dev).as_str(), office.dev.writes().len()), ("Party at 5", 0));
}

/// A banner cannot be deleted, so an answer without one does not come from the tenant.
#[tokio::test]
async fn a_removed_tenant_is_cleared_after_a_gateway_rejected_a_request() {
    for status in [403, 404] {
        let office = Office::open();
        office.define("", "");
        outage(&office.alpha, "Slow");
        let _daemon = office.start(&KEYS);
        wait_for_banner(&office.prod, "Alpha: Slow").await;
        // One of two may be the answer to the read after the write.
        let enough = office.prod.answered(status) + 2;
        office.prod.always_on("", refusal(status, "No", "a gateway"));
        fs::remove_file(office.path().join("tenants/prod.toml")).unwrap();
        office.prod.wait_until(|prod| prod.answered(status) >= enough).await;
        office.prod.as_usual();
        wait_for_banner(&office.prod, "").await;
    }
}

/// The credentials expire, the tenant is removed, and comes back with other ones.
#[tokio::test]
async fn a_removed_tenant_that_comes_back_gets_its_manual_banner_again() {
    let office = Office::open();
    office.define("", "");
    let (now, later) = (Timestamp::now(), Timestamp::now() + 1.hour());
    office.prod.person_sets(Banner::of("info", "Party at 5", now, later));
    outage(&office.alpha, "Slow");
    let mut daemon = office.start(&KEYS);
    wait_for_banner(&office.prod, "Alpha: Slow").await;
    office.prod.always_on("", refusal(401, "Unauthorized", "expired"));
    fs::remove_file(office.path().join("tenants/prod.toml")).unwrap();
    daemon.signal("-HUP");
    daemon.until("was removed, but its banner could not be cleared");
    office.alpha.recover();
    wait_for_banner(&office.dev, "").await;
    office.prod.as_usual();
    office.define_one("prod", &office.prod, "");
    daemon.signal("-HUP");
    wait_for_banner(&office.prod, "Party at 5").await;
}

#[tokio::test]
async fn a_removed_tenant_loses_a_resolved_banner() {
    let office = Office::open();
    office.define("resolved_for = \"1h\"", "");
    outage(&office.alpha, "Slow");
    let mut daemon = office.start(&KEYS);
    wait_for_banner(&office.prod, "Alpha: Slow").await;
    office.alpha.recover();
    wait_for_banner(&office.prod, "Resolved: Alpha: Slow").await;
    fs::remove_file(office.path().join("tenants/prod.toml")).unwrap();
    daemon.signal("-HUP");
    daemon.until("was removed; it has no banner of this daemon.");
    assert_eq!(seen_now(&office.prod), "");
}

#[tokio::test]
async fn a_changed_definition_updates_the_banner_in_place() {
    let office = Office::open();
    office.define("", "");
    outage(&office.alpha, "Slow");
    let daemon = office.start(&KEYS);
    wait_for_banner(&office.prod, "Alpha: Slow").await;
    wait_for_banner(&office.dev, "Alpha: Slow").await;
    office.define("prefix = \"[External]\"", "");
    daemon.signal("-HUP");
    wait_for_banner(&office.prod, "[External] Alpha: Slow").await;
    let messages: Vec<String> = office.prod.writes().into_iter().map(|write| write.banner.message).collect();
    assert_eq!(messages, ["Alpha: Slow", "[External] Alpha: Slow"]);
    assert_eq!(office.dev.writes().len(), 1);
}

/// A banner that goes at a stop of the daemon stays when only a definition changes.
#[tokio::test]
async fn a_changed_definition_does_not_clear_the_banner() {
    let office = Office::open();
    office.define("", "");
    outage(&office.alpha, "Slow");
    let mut daemon = office.start(&[KEYS[0], KEYS[1], ("BANNER_ON_STOP", "clear")]);
    wait_for_banner(&office.prod, "Alpha: Slow").await;
    wait_for_banner(&office.dev, "Alpha: Slow").await;
    office.define("resolved_for = \"1m\"", "prefix = \"[Dev]\"");
    daemon.signal("-HUP");
    wait_for_banner(&office.dev, "[Dev] Alpha: Slow").await;
    daemon.until("Tenant definitions reloaded: changed dev, changed prod.");
    assert!(office.dev.writes().iter().all(|write| write.banner.enabled), "{:?}", office.dev.writes());
    assert_eq!(office.prod.writes().len(), 1);
    daemon.signal("-TERM");
    daemon.ended();
    assert_eq!((seen_now(&office.prod), seen_now(&office.dev)), (String::new(), String::new()));
}

/// The address was mistyped: nothing can be cleared there, and the right one does not wait for it.
#[tokio::test]
async fn a_tenant_that_moves_does_not_wait_for_its_old_address() {
    let office = Office::open();
    office.define("", "");
    let nowhere = "name = \"prod\"\nurl = \"http://127.0.0.1:9\"\n";
    fs::write(office.path().join("tenants/prod.toml"), nowhere).unwrap();
    outage(&office.alpha, "Slow");
    let mut daemon = office.start(&KEYS);
    daemon.until("The banner is not up to date");
    office.define("", "");
    daemon.signal("-HUP");
    wait_for_banner(&office.prod, "Alpha: Slow").await;
    daemon.until("Tenant definitions reloaded: moved prod.");
}

/// Two files exchange their addresses: each tenant keeps its own state and gets the other one's style.
#[tokio::test]
async fn tenants_that_exchange_their_addresses_keep_their_banners() {
    let office = Office::open();
    office.define("prefix = \"[P]\"", "prefix = \"[D]\"");
    outage(&office.alpha, "Slow");
    let daemon = office.start(&KEYS);
    wait_for_banner(&office.prod, "[P] Alpha: Slow").await;
    wait_for_banner(&office.dev, "[D] Alpha: Slow").await;
    office.define_one("prod", &office.dev, "prefix = \"[P]\"");
    office.define_one("dev", &office.prod, "prefix = \"[D]\"");
    daemon.signal("-HUP");
    wait_for_banner(&office.prod, "[D] Alpha: Slow").await;
    wait_for_banner(&office.dev, "[P] Alpha: Slow").await;
    for tenant in [&office.prod, &office.dev] {
        assert!(tenant.writes().iter().all(|write| write.banner.enabled), "{:?}", tenant.writes());
    }
}

/// The last valid set stays in use while the folder is broken or empty.
#[tokio::test]
async fn an_invalid_definition_changes_nothing() {
    let office = Office::open();
    office.define("", "");
    let mut daemon = office.start(&KEYS);
    let address = daemon.address();
    daemon.until("All services operational.");
    fs::write(office.path().join("tenants/prod.toml"), "name = \"prod\"\n").unwrap();
    daemon.until("prod.toml: `url` is missing");
    daemon.until("The tenant definitions were not reloaded");
    assert_eq!(reload_errors(&address).await, ["tenant"]);
    for name in ["prod", "dev"] {
        fs::remove_file(office.path().join(format!("tenants/{name}.toml"))).unwrap();
    }
    daemon.until("has no definition");
    outage(&office.alpha, "Slow");
    wait_for_banner(&office.prod, "Alpha: Slow").await;
    wait_for_banner(&office.dev, "Alpha: Slow").await;
}

/// The token comes from each tenant's own address.
#[tokio::test]
async fn one_oauth_client_of_a_region_serves_all_tenants() {
    let office = Office::open();
    office.define("", "");
    outage(&office.alpha, "Slow");
    let vars = [("QLIK_CLIENT_ID", CLIENT_ID), ("QLIK_CLIENT_SECRET", CLIENT_SECRET)];
    let _daemon = office.start(&vars);
    for tenant in [&office.prod, &office.dev] {
        wait_for_banner(tenant, "Alpha: Slow").await;
        assert_eq!(tenant.requests_on(TOKEN).len(), 1);
    }
}

/// What one tenant has of an earlier run is found again by its address.
#[tokio::test]
async fn the_only_tenant_becomes_one_of_several_without_a_write() {
    let office = Office::open();
    outage(&office.alpha, "Slow");
    let url = office.prod.url();
    let mut daemon = office.start(&[("QLIK_TENANT_URL", &url), ("QLIK_API_KEY", API_KEY)]);
    daemon.until("Banner updated successfully.");
    daemon.signal("-TERM");
    daemon.until("Stopped.");
    daemon.ended();
    office.define("", "");
    let mut daemon = office.start(&KEYS);
    wait_for_banner(&office.dev, "Alpha: Slow").await;
    for _ in 0..2 {
        daemon.until("Issues detected");
    }
    assert_eq!((office.prod.writes().len(), seen_now(&office.prod).as_str()), (1, "Alpha: Slow"));
}

#[test]
fn banner_commands_act_on_one_tenant_or_on_all() {
    let office = Office::open();
    office.define("monitors = [\"Alpha\"]", "monitors = [\"Beta\"]");
    outage(&office.alpha, "Slow");
    let (now, later) = (Timestamp::now(), Timestamp::now() + 1.hour());
    office.dev.person_sets(Banner::of("info", "Party at 5", now, later));
    let banner = |args: &[&str]| output(office.path(), &[&["banner"], args].concat(), &KEYS);
    let (code, out, _) = banner(&["preview"]);
    let want = "dev:\nNo banner: no status page reports an issue.\nprod:\nwarning: Alpha: Slow\n";
    assert!(code == 0 && out.starts_with(want), "{out}");
    let (code, out, _) = banner(&["show"]);
    assert!(code == 0 && out.contains("dev:\ninfo: Party at 5\na manual banner"), "{out}");
    assert!(out.contains("prod:\nThe tenant has no banner."), "{out}");
    let (code, out, _) = banner(&["show", "prod"]);
    assert!(code == 0 && out == "The tenant has no banner.\n", "{out}");
    let (code, _, said) = banner(&["show", "test"]);
    assert!(code == 1 && said.contains("no tenant is named test; known tenants: dev, prod"), "{said}");
    let (code, _, said) = banner(&["clear"]);
    assert!(code == 1 && said.contains("name a tenant (dev, prod), or use --all"), "{said}");
    let (code, _, said) = banner(&["clear", "--all"]);
    assert!(code == 1 && said.contains("dev: not cleared: this is a manual banner"), "{said}");
}

#[test]
fn validate_reports_what_is_wrong_with_tenants() {
    let office = Office::open();
    office.define("monitors = [\"alpha\", \"snowflak*\"]", "monitors = [\"tag:none\"]");
    let validate = |vars: &[(&str, &str)]| {
        let (code, out, said) = output(office.path(), &["validate"], vars);
        (code, out + &said)
    };
    let (code, said) = validate(&KEYS);
    assert_eq!(code, 0, "{said}");
    for words in [
        "warning: tenants dev, prod have the same API key",
        "warning: tenant prod: `snowflak*` matches no monitor",
        "warning: tenant dev: no monitor is selected",
        "warning: no tenant shows these monitors: Beta",
    ] {
        assert!(said.contains(words), "{words} not in {said}");
    }
    let (code, said) = validate(&KEYS[..1]);
    assert!(code == 78 && said.contains("TENANT_DEV_API_KEY: is missing; tenant dev needs it"), "{said}");
    let misspelled = [KEYS[0], KEYS[1], ("TENANT_PRD_API_KEY", "x")];
    let (code, said) = validate(&misspelled);
    assert!(code == 78 && said.contains("TENANT_PRD_API_KEY: is not a setting"), "{said}");
    office.define("", "enabled = false");
    assert_eq!(validate(&KEYS).0, 0, "the variables of a disabled tenant stay settings");
    office.define("enabled = false", "enabled = false");
    let (code, said) = validate(&KEYS);
    assert!(code == 78 && said.contains("TENANTS_DIR tenants: every tenant is disabled"), "{said}");
    let (code, _, said) = output(office.path(), &[], &KEYS);
    assert!(code == 78 && said.contains("TENANTS_DIR tenants: every tenant is disabled"), "{said}");
    office.define("", "");
    let both = [KEYS[0], KEYS[1], ("QLIK_TENANT_URL", "https://acme.test")];
    let (code, said) = validate(&both);
    assert!(code == 78 && said.contains("QLIK_TENANT_URL: has no effect"), "{said}");
    office.define_one("twin", &office.dev, "");
    let (code, said) = validate(&KEYS);
    assert!(code == 78 && said.contains("is already used by tenants/dev.toml"), "{said}");
}
