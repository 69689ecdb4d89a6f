//! `banner show` beside a daemon whose folder is another one, and `banner preview` without answers.

use jiff::{Timestamp, ToSpan};

use crate::processes::binary::{Running, output, watching};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Banner, Tenant};

/// What was not read is not healthy.
#[test]
fn a_preview_says_which_status_pages_it_could_not_read() {
    let (good, bad) = (StatusPage::start(), StatusPage::start());
    let folder = watching(&[("Good", &good), ("Bad", &bad)]);
    bad.always_on("", Reply::status(500));
    let preview = || output(folder.path(), &["banner", "preview"], &[]);
    let (code, out, said) = preview();
    assert_eq!(
        (code, out.trim_end()),
        (0, "No banner: no status page reports an issue, but 1 status page could not be read.")
    );
    assert!(said.contains("Bad: unknown: HTTP 500"), "{said}");
    good.always_on("", Reply::status(500));
    assert_eq!(preview().1.trim_end(), "No banner: no status page could be read.");
}

#[test]
fn a_banner_cleared_by_hand_is_still_ours() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let (folder, url) = (watching(&[("Alpha", &page)]), tenant.url());
    let vars = [("QLIK_TENANT_URL", url.as_str()), ("QLIK_API_KEY", API_KEY)];
    let mut daemon = Running::start(folder.path(), &vars);
    daemon.until("Banner updated successfully.");
    daemon.signal("-TERM");
    daemon.until("Stopped.");
    daemon.ended();
    let banner = |what| output(folder.path(), &["banner", what], &vars);
    assert!(banner("show").1.contains("ours, visible"), "{}", banner("show").1);
    assert_eq!(banner("clear").0, 0);
    let (code, out, said) = banner("show");
    assert!(code == 0 && out.contains("ours, not visible"), "{out}{said}");
}

#[test]
fn banner_show_says_that_it_has_no_state() {
    let (tenant, folder) = (Tenant::start(), watching(&[]));
    let (now, later) = (Timestamp::now(), Timestamp::now() + 1.hour());
    tenant.person_sets(Banner::of("info", "Party at 5", now, later));
    let url = tenant.url();
    let vars = [("QLIK_TENANT_URL", url.as_str()), ("QLIK_API_KEY", API_KEY)];
    let args = ["banner", "show", "--data-dir", "elsewhere"];
    let (code, out, said) = output(folder.path(), &args, &vars);
    assert!(code == 0 && out.contains("info: Party at 5"), "{out}{said}");
    assert!(said.contains("DATA_DIR elsewhere has no state for this tenant"), "{said}");
    assert!(said.contains("set --data-dir"), "{said}");
}
