//! The input document: the action, the configuration, and the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::syncing::state_text::{TextPart, place};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StdinAction {
    Schema,
    Test,
    Sync,
}

/// The parts of the document that do not depend on the connector.
#[derive(Debug)]
pub(super) struct StdinRequest {
    pub(super) action: StdinAction,
    /// `secrets`, which override `customPayload`.
    pub(super) given: BTreeMap<String, SecretString>,
    pub(super) state: TextPart,
    /// Correlates the logs of both sides.
    pub(super) sync_id: Option<String>,
}

/// The members of the document. The state may be large, so it is not copied.
#[derive(Deserialize)]
struct RequestMembers<'d> {
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

/// Some editors add it to a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// An example for messages.
const EXAMPLE: &str = r#"{"secrets":{"api_key":"…"},"state":{}}"#;

impl StdinRequest {
    /// Reads the document. Ignores a byte order mark and unknown members.
    pub(super) fn read(mut bytes: Vec<u8>) -> Result<StdinRequest, String> {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        if bytes.trim_ascii().is_empty() {
            return Err(format!("stdin is empty; expected one JSON document such as {EXAMPLE}"));
        }
        let syntax_error = |e: &serde_json::Error| {
            let what = without_content(e);
            format!("stdin is not one JSON document: {what}; expected something like {EXAMPLE}")
        };
        serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|e| syntax_error(&e))?;
        if !bytes.trim_ascii().starts_with(b"{") {
            return Err(format!("the document on stdin must be a JSON object such as {EXAMPLE}"));
        }
        let text = String::from_utf8(bytes);
        let text = Arc::new(text.map_err(|_| "the document on stdin is not UTF-8".to_owned())?);
        let members: RequestMembers<'_> = serde_json::from_str(&text).map_err(|e| syntax_error(&e))?;
        let action = action(&members)?;
        let state = members.state.map_or(0..0, |state| place(&text, state.get()));
        let mut given = texts(members.custom_payload, "customPayload")?;
        given.extend(texts(members.secrets, "secrets")?);
        let sync_id = members.sync_id.as_str().map(str::to_owned);
        Ok(StdinRequest { action, given, state: TextPart::new(Arc::clone(&text), state), sync_id })
    }
}

/// The position of a syntax error without the text, which may be a secret.
fn without_content(e: &serde_json::Error) -> String {
    let what = if e.is_eof() { "it ends too early" } else { "invalid JSON" };
    format!("{what} at line {} column {}", e.line(), e.column())
}

fn action(members: &RequestMembers<'_>) -> Result<StdinAction, String> {
    let requested = match &members.selection {
        Value::Null => None,
        Value::Object(selection) => selection.get("action").filter(|action| !action.is_null()),
        _ => return Err(r#"`selection` must be an object such as {"action":"test"}"#.into()),
    };
    match requested.map(|action| (action, action.as_str())) {
        None if members.setup_test == true => Ok(StdinAction::Test),
        None => Ok(StdinAction::Sync),
        Some((_, Some("schema"))) => Ok(StdinAction::Schema),
        Some((_, Some("test"))) => Ok(StdinAction::Test),
        Some((_, Some("sync" | "update"))) => Ok(StdinAction::Sync),
        Some((other, _)) => Err(format!("the action {other} is not known; known are schema, test and sync")),
    }
}

/// Reads an object of texts. Numbers and booleans become texts, and arrays of them become lists.
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

    /// The documents of the original program, those of Functions, and variations of both.
    #[test]
    fn documents_are_read() {
        let cases: [(&[u8], StdinAction); 12] = [
            (br#"{"selection":{"action":"schema"}}"#, StdinAction::Schema),
            (
                br#"{"secrets":{"api_key":"k","base_url":"https://x.test"},"selection":{"action":"test"}}"#,
                StdinAction::Test,
            ),
            (br#"{"secrets":{"api_key":"k","base_url":"https://x.test"},"state":{}}"#, StdinAction::Sync),
            (b"\xef\xbb\xbf{\"state\":null}\n", StdinAction::Sync),
            (b" {} \r\n", StdinAction::Sync),
            (br#"{"selection":null,"secrets":null,"setup_test":false}"#, StdinAction::Sync),
            (br#"{"selection":{"action":"sync"}}"#, StdinAction::Sync),
            (br#"{"selection":{"action":null}}"#, StdinAction::Sync),
            (br#"{"setup_test":true,"agent":"x","sync_id":"3f0c"}"#, StdinAction::Test),
            (br#"{"setup_test":true,"selection":{"action":"schema"}}"#, StdinAction::Schema),
            (br#"{"selection":{"action":"update","more":1}}"#, StdinAction::Sync),
            (br#"{"unknown":[{}]}"#, StdinAction::Sync),
        ];
        for (document, want) in cases {
            let request = StdinRequest::read(document.to_vec()).unwrap();
            assert_eq!(request.action, want, "{}", String::from_utf8_lossy(document));
        }
    }

    /// `secrets` override the custom payload. Errors contain the name of a key, never its value.
    #[test]
    fn configuration_values_become_texts() {
        let document = br#"{"secrets":{"a":"x","n":5,"b":true,"l":["p","q",1],"gone":null},"customPayload":{"a":"y","c":"z"}}"#;
        let given = StdinRequest::read(document.to_vec()).unwrap().given;
        let given: Vec<_> = given.iter().map(|(key, value)| (key.as_str(), value.expose_secret())).collect();
        assert_eq!(given, [("a", "x"), ("b", "true"), ("c", "z"), ("l", "p,q,1"), ("n", "5")]);
        let cases: [(&[u8], &str); 8] = [
            (b"", "stdin is empty"),
            (b"\xef\xbb\xbf \n", "stdin is empty"),
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
            let message = StdinRequest::read(document.to_vec()).unwrap_err();
            assert!(message.contains(want) && !message.contains("hush"), "{want} not in {message}");
        }
    }

    proptest! {
        #[test]
        fn no_input_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = StdinRequest::read(bytes);
        }
    }
}
