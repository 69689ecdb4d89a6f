//! No secret survives in any encoding, and other text stays unchanged.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

fn redactor(secret: &str) -> Redactor {
    let redactor = Redactor::default();
    redactor.register("key", &secret.into());
    redactor
}

fn percent(text: &str, all: bool, upper: bool) -> String {
    let byte = |byte: u8| match byte {
        _ if !all && byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ if upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(byte).collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// The encodings in which a server may repeat a text.
fn spellings(text: &str) -> Vec<String> {
    let json = serde_json::Value::from(text).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let utf16: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![
        text.to_owned(),
        text.escape_debug().to_string(),
        text.escape_unicode().to_string(),
        json.replace('/', "\\/"),
        json.escape_debug().to_string(),
        percent(&json, false, true),
        json,
        utf16,
        html(text),
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
        percent(text, false, true),
        percent(text, false, false),
        percent(text, true, false),
        percent(&percent(text, false, true), false, false),
        hex.to_ascii_uppercase(),
        hex,
        BASE64_STANDARD.encode(text),
        BASE64_STANDARD_NO_PAD.encode(text),
        BASE64_URL_SAFE.encode(text),
        BASE64_URL_SAFE_NO_PAD.encode(text),
        percent(&BASE64_STANDARD.encode(text), false, true),
    ]
}

/// Alone and as the password of any user.
#[test]
fn every_encoding_is_redacted() {
    for secret in
        ["basic pass/word", "p\u{e4} ss/\"w{rd", "sixsix", "a+b c%41\\n'x", "\u{1f511}key-\u{e9}<&>"]
    {
        let redactor = redactor(secret);
        for spelt in spellings(secret) {
            assert_eq!(redactor.clean(&format!("sent {spelt} to it")), "sent [redacted] to it", "{spelt}");
        }
        for user in ["", "j", "jo", "joe", "some one"] {
            for spelt in [BASE64_STANDARD, BASE64_URL_SAFE, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD]
                .map(|engine| engine.encode(format!("{user}:{secret}")))
            {
                let text = format!("you sent Basic {spelt} here");
                assert_eq!(redactor.clean(&text), "you sent Basic [redacted] here", "{user} {spelt}");
            }
        }
    }
}

/// Overlapping and adjacent secrets leave no remainder.
#[test]
fn the_longer_secret_wins() {
    let redactor = redactor("abcdefgh");
    redactor.register("shorter", &"abcdef".into());
    assert_eq!(redactor.clean("key abcdefgh, abcdef!"), "key [redacted], [redacted]!");
    assert_eq!(redactor.clean("abcdefghabcdef"), "[redacted]");
    assert_eq!(redactor.clean("nothing here"), "nothing here");
}

#[test]
fn short_secrets_are_redacted_only_as_whole_words() {
    let redactor = redactor("1");
    redactor.register("other", &"x".into());
    for (text, want) in [
        (
            "https://api.acme.example.com/v1/uptime?limit=100",
            "https://api.acme.example.com/v1/uptime?limit=100",
        ),
        ("at 127.0.0.1:8080", "at 127.0.0.1:8080"),
        ("key=1&b=2", "key=[redacted]&b=2"),
        (r#"{"key":"x"}"#, r#"{"key":"[redacted]"}"#),
        ("the key is 1.", "the key is [redacted]."),
        ("x-ray", "x-ray"),
    ] {
        assert_eq!(redactor.clean(text), want);
    }
}

/// A renewed token replaces the former one; secrets that an included redactor learns later count.
#[test]
fn a_name_has_one_secret() {
    let (all, one) = (Redactor::default(), redactor("first-token"));
    all.include("account", &one);
    one.register("key", &"second-token".into());
    assert_eq!(all.clean("first-token second-token"), "first-token [redacted]");
    assert!(!format!("{all:?} {one:?}").contains("token"));
}

/// Invisible characters inside a secret do not hide it.
#[test]
fn a_line_for_people_shows_no_secret_either() {
    assert_eq!(redactor("hush-hush").line("say hu\u{200b}sh-hush\n now"), "say [redacted] now");
    assert_eq!(redactor("two  blanks").line("say two  blanks, two blanks"), "say [redacted], [redacted]");
}

#[test]
fn header_values_are_never_shown() {
    for value in [header("hush-hush"), bearer(&"hush-hush".into()), basic("me", "hush-hush")] {
        assert_eq!(format!("{:?}", value.unwrap()), "Sensitive");
    }
    assert!(header("hush\nhush").is_err());
}

/// Twice the text takes about twice the time, even with many partial matches.
#[test]
fn long_texts_take_linear_time() {
    let redactor = redactor(&format!("{}b", "a".repeat(2000)));
    let text = format!("{}%41\\u0041&amp;", "a".repeat(1 << 20));
    let began = tokio::time::Instant::now();
    assert!(matches!(redactor.clean(&text), Cow::Borrowed(_)));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

proptest! {
    #[test]
    fn no_encoding_survives(
        secret in "[!-~\u{e4}\u{1f511}][ -~\u{e4}\u{1f511}]{4,40}[!-~]",
        before in "[ -~\u{e4}]{0,12}",
        after in "[ -~\u{e4}]{0,12}",
        user in "[a-z]{0,4}",
    ) {
        let redactor = redactor(&secret);
        let basic = BASE64_STANDARD.encode(format!("{user}:{secret}"));
        for spelt in spellings(&secret).into_iter().chain([basic]) {
            let text = format!("{before} {spelt} {after}");
            let clean = redactor.clean(&text);
            prop_assert!(!clean.contains(&spelt), "{text} -> {clean}");
            prop_assert!(clean.contains(MARK));
        }
    }

    /// Arbitrary text causes no panic, and text without a secret stays unchanged.
    #[test]
    fn other_texts_stay_unchanged(text in "(%[0-9a-f]{0,3}|\\\\[a-zu{}0-9]{0,7}|&[#a-z0-9]{0,9};?|\\PC){0,60}") {
        let redactor = redactor("not-in-any-of-these-texts");
        prop_assert_eq!(redactor.clean(&text), text.as_str());
    }
}
