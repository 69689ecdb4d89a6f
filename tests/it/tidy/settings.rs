//! `.env.example` and the settings say the same.

use data_sources_monitor::testing::settings::VARIABLES;

use super::root;

/// `.env.example` lists every variable with its default and its meaning, and nothing else.
#[test]
fn env_example_follows_the_settings() {
    let text = std::fs::read_to_string(root().join(".env.example")).unwrap();
    let want: Vec<String> = VARIABLES
        .iter()
        .flat_map(|v| {
            // A comment, so that a copy overrides nothing of an image or a unit.
            [format!("# {}", v.meaning), format!("#{}={}", v.name, v.default)]
        })
        .collect();
    let head = text.lines().position(str::is_empty).unwrap() + 1;
    let have: Vec<&str> = text.lines().skip(head).take_while(|line| !line.is_empty()).collect();
    assert_eq!(have, want);
}
