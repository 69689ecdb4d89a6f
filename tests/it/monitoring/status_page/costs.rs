//! Processor time of the program for one poll.

use std::fs;

use flate2::Compression;
use flate2::read::GzEncoder;
use std::io::Read as _;

use stand_ins::Reply;
use stand_ins::status_page::StatusPage;

use crate::processes::binary::{output, watching};

/// How often each page is read; the figure is the mean.
const READINGS: u32 = 40;

/// Groups of the hostile page, children of each, and components: 1.0 MB of JSON, 24 kB as sent.
const GROUPS: usize = 38;
const CHILDREN: usize = 4096;
const COMPONENTS: usize = 4000;

/// A page whose groups list 155,000 children is rejected. Prints its cost beside that of a small page: `cargo test
/// --release --test it pages_made_to_be_slow -- --nocapture`.
#[test]
fn pages_made_to_be_slow_are_refused() {
    let page = StatusPage::start();
    page.add_component("Storage", "operational");
    let folder = watching(&[("Alpha", &page)]);
    let file = folder.path().join("monitors/Alpha.toml");
    let text = fs::read_to_string(&file).unwrap() + "components = [\"Storage\"]\n";
    fs::write(&file, text).unwrap();
    let (small, said) = mean_ms(|| output(folder.path(), &["check"], &[]));
    assert!(said.contains("operational") || said.contains("none"), "{said}");
    page.always_on("/api/v2/components.json", hostile());
    let (large, said) = mean_ms(|| output(folder.path(), &["check"], &[]));
    assert!(said.contains("more than 20000 entries"), "{said}");
    println!("check: {small:.1} ms with a small page, {large:.1} ms with a hostile one");
}

fn hostile() -> Reply {
    let children = vec!["c"; CHILDREN].join("\",\"");
    let group = |n| format!(r#"{{"id":"g{n}","name":"G{n}","group":true,"components":["{children}"]}}"#);
    let plain = |n| format!(r#"{{"id":"p{n}","name":"P{n}","status":"operational","group_id":"none"}}"#);
    let all: Vec<String> = (0..GROUPS).map(group).chain((0..COMPONENTS).map(plain)).collect();
    let json = format!(r#"{{"page":{{"id":"x","name":"Slow"}},"components":[{}]}}"#, all.join(","));
    let mut sent = Vec::new();
    GzEncoder::new(json.as_bytes(), Compression::best()).read_to_end(&mut sent).unwrap();
    Reply::bytes("application/json", sent).header("content-encoding", "gzip")
}

/// Mean processor time of the children that `run` starts and waits for, in milliseconds, and what the last one said.
fn mean_ms(run: impl Fn() -> (i32, String, String)) -> (f64, String) {
    let before = children_ms();
    let mut said = String::new();
    for _ in 0..READINGS {
        let (_, out, err) = run();
        said = out + &err;
    }
    ((children_ms() - before) / f64::from(READINGS), said)
}

/// Processor time of all children that ended, from `/proc/self/stat` (clock ticks of 10 ms).
fn children_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[13..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks * 10.0
}
