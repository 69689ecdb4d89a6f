//! axe-core finds what would keep someone from using a page. `.ci/run` puts it into `target/axe`.

use std::path::Path;

use super::chromium::Tab;
use super::skipped;

/// The rules that count: WCAG 2.2 up to AA, and what the makers of axe call good practice.
const TAGS: &str = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";

/// The script; `None` where it is not on this machine.
pub(super) fn script() -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/axe/axe.min.js");
    let script = std::fs::read_to_string(&file).ok();
    if script.is_none() {
        skipped(
            "REQUIRE_BROWSER",
            "the accessibility checker target/axe/axe.min.js is missing (.ci/run fetches it)",
        );
    }
    script
}

/// Every violation on the page, with its element.
pub(super) async fn check(tab: &mut Tab, axe: &str) -> Vec<String> {
    tab.value(&format!("{axe}; true")).await;
    let run = format!(
        "axe.run(document, {{ runOnly: {TAGS}, resultTypes: ['violations'] }}).then(result =>
            result.violations.flatMap(rule => rule.nodes.map(node =>
                `${{rule.id}} (${{rule.impact}}): ${{rule.help}}: ${{node.html}} ${{node.failureSummary}}`)))"
    );
    let found = tab.value(&run).await;
    found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}
