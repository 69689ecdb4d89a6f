//! The one document that comes in: what is asked, with what configuration, from which state.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::state_text::{TextPart, place};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Schema,
    Test,
    Sync,
}

/// The document, understood as far as it goes without knowing the connector.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) action: Action,
    /// `secrets`, and under them `customPayload`.
    pub(super) given: BTreeMap<String, SecretString>,
    pub(super) state: TextPart,
    /// For logs of both sides to be laid beside each other.
    pub(super) sync_id: Option<String>,
}

/// The document's members. The state may be large, so it stays where it is.
#[derive(Deserialize)]
struct Members<'d> {
    #[serde(default)]
    selection: Value,
    #[serde(default)]
    setup_test: Value,
    #[serde(default)]
    secrets: Value,
    #[serde(default, rename = "customPayload")]
    custom_payload: Value,
    #[serde(default)]
    sync_id: Value,
    #[serde(borrow, default)]
    state: Option<&'d RawValue>,
}

/// Some editors put it before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// What to type, for messages.
const EXAMPLE: &str = r#"{"secrets":{"api_key":"…"},"state":{}}"#;

impl Request {
    /// Reads the document. A byte order mark and unknown members do not disturb.
    pub(super) fn read(mut bytes: Vec<u8>) -> Result<Request, String> {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        if bytes.trim_ascii().is_empty() {
            return Err(format!("nothing came on stdin; expected one JSON document such as {EXAMPLE}"));
        }
        let unsound = |e: &serde_json::Error| {
            let what = without_content(e);
            format!("stdin is not one JSON document: {what}; expected something like {EXAMPLE}")
        };
        serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|e| unsound(&e))?;
        if !bytes.trim_ascii().starts_with(b"{") {
            return Err(format!("the document on stdin must be a JSON object such as {EXAMPLE}"));
        }
        let text = String::from_utf8(bytes);
        let text = Arc::new(text.map_err(|_| "the document on stdin is not UTF-8".to_owned())?);
        let members: Members<'_> = serde_json::from_str(&text).map_err(|e| unsound(&e))?;
        let action = action(&members)?;
        let state = members.state.map_or(0..0, |state| place(&text, state.get()));
        let mut given = texts(members.custom_payload, "customPayload")?;
        given.extend(texts(members.secrets, "secrets")?);
        let sync_id = members.sync_id.as_str().map(str::to_owned);
        Ok(Request { action, given, state: TextPart::new(Arc::clone(&text), state), sync_id })
    }
}

/// Where the mistake is, not what stands there: it may be a secret.
fn without_content(e: &serde_json::Error) -> String {
    let what = if e.is_eof() { "it ends too early" } else { "it breaks off being JSON" };
    format!("{what} at line {} column {}", e.line(), e.column())
}

fn action(members: &Members<'_>) -> Result<Action, String> {
    let asked = match &members.selection {
        Value::Null => None,
        Value::Object(selection) => selection.get("action").filter(|action| !action.is_null()),
        _ => return Err(r#"`selection` must be an object such as {"action":"test"}"#.into()),
    };
    match asked.map(|action| (action, action.as_str())) {
        None if members.setup_test == true => Ok(Action::Test),
        None => Ok(Action::Sync),
        Some((_, Some("schema"))) => Ok(Action::Schema),
        Some((_, Some("test"))) => Ok(Action::Test),
        Some((_, Some("sync" | "update"))) => Ok(Action::Sync),
        Some((other, _)) => Err(format!("the action {other} is not known; known are schema, test and sync")),
    }
}

/// An object of texts; numbers and booleans count as such, and arrays of them as lists.
fn texts(given: Value, name: &str) -> Result<BTreeMap<String, SecretString>, String> {
    let object = match given {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(object) => object,
        _ => return Err(format!(r#"`{name}` must be an object of texts such as {{"api_key":"…"}}"#)),
    };
    let mut texts = BTreeMap::new();
    for (key, value) in object {
        let text = match &value {
            Value::Null => continue,
            Value::Array(members) => {
                members.iter().map(scalar).collect::<Option<Vec<_>>>().map(|all| all.join(","))
            }
            other => scalar(other),
        };
        let text = text.ok_or_else(|| {
            format!("`{name}.{key}` must be a text, a number, true or false, or an array of those")
        })?;
        texts.insert(key, SecretString::from(text));
    }
    Ok(texts)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    /// The seed's three documents, Functions' own, and what careless senders make of them.
    #[test]
    fn documents_are_understood() {
        let cases: [(&[u8], Action); 12] = [
            (br#"{"selection":{"action":"schema"}}"#, Action::Schema),
            (
                br#"{"secrets":{"api_key":"k","base_url":"https://x.test"},"selection":{"action":"test"}}"#,
                Action::Test,
            ),
            (br#"{"secrets":{"api_key":"k","base_url":"https://x.test"},"state":{}}"#, Action::Sync),
            (b"\xef\xbb\xbf{\"state\":null}\n", Action::Sync),
            (b" {} \r\n", Action::Sync),
            (br#"{"selection":null,"secrets":null,"setup_test":false}"#, Action::Sync),
            (br#"{"selection":{"action":"sync"}}"#, Action::Sync),
            (br#"{"selection":{"action":null}}"#, Action::Sync),
            (br#"{"setup_test":true,"agent":"x","sync_id":"3f0c"}"#, Action::Test),
            (br#"{"setup_test":true,"selection":{"action":"schema"}}"#, Action::Schema),
            (br#"{"selection":{"action":"update","more":1}}"#, Action::Sync),
            (br#"{"unknown":[{}]}"#, Action::Sync),
        ];
        for (document, want) in cases {
            let request = Request::read(document.to_vec()).unwrap();
            assert_eq!(request.action, want, "{}", String::from_utf8_lossy(document));
        }
    }

    /// Configuration values become texts, secrets before the custom payload; anything else is refused by its name
    /// and never by its value.
    #[test]
    fn secrets_become_texts() {
        let document = br#"{"secrets":{"a":"x","n":5,"b":true,"l":["p","q",1],"gone":null},"customPayload":{"a":"y","c":"z"}}"#;
        let given = Request::read(document.to_vec()).unwrap().given;
        let given: Vec<_> = given.iter().map(|(key, value)| (key.as_str(), value.expose_secret())).collect();
        assert_eq!(given, [("a", "x"), ("b", "true"), ("c", "z"), ("l", "p,q,1"), ("n", "5")]);
        let cases: [(&[u8], &str); 8] = [
            (b"", "nothing came on stdin"),
            (b"\xef\xbb\xbf \n", "nothing came on stdin"),
            (b"[]", "must be a JSON object"),
            (br#"{"secrets":"hush"}"#, "`secrets` must be an object"),
            (br#"{"secrets":{"api_key":{"v":"hush"}}}"#, "`secrets.api_key` must be a text"),
            (
                br#"{"selection":{"action":"drop"}}"#,
                r#"the action "drop" is not known; known are schema, test and sync"#,
            ),
            (br#"{"selection":"test"}"#, "`selection` must be an object"),
            (br#"{"secrets":{"api_key":"hush"},}"#, "not one JSON document"),
        ];
        for (document, want) in cases {
            let said = Request::read(document.to_vec()).unwrap_err();
            assert!(said.contains(want) && !said.contains("hush"), "{want} not in {said}");
        }
    }

    proptest! {
        /// Whatever comes, there is an answer.
        #[test]
        fn anything_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::read(bytes);
        }
    }
}
