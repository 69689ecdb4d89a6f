//! The one document that comes in: what is asked, with what configuration, from which state.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::{Map, Value};

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
    pub(super) state: Option<Value>,
    /// For logs of both sides to be laid beside each other.
    pub(super) sync_id: Option<String>,
}

/// What to type, for messages.
const EXAMPLE: &str = r#"{"secrets":{"api_key":"…"},"state":{}}"#;

impl Request {
    /// Reads the document. A byte order mark and unknown members do not disturb.
    pub(super) fn read(bytes: &[u8]) -> Result<Request, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.trim_ascii().is_empty() {
            return Err(format!("nothing came on stdin; expected one JSON document such as {EXAMPLE}"));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|e| {
            format!(
                "stdin is not one JSON document: {}; expected something like {EXAMPLE}",
                without_content(&e)
            )
        })?;
        let Value::Object(mut members) = value else {
            return Err(format!("the document on stdin must be a JSON object such as {EXAMPLE}"));
        };
        let action = action(&members)?;
        let mut given = texts(&mut members, "customPayload")?;
        given.extend(texts(&mut members, "secrets")?);
        let sync_id = members.get("sync_id").and_then(Value::as_str).map(str::to_owned);
        Ok(Request { action, given, state: members.remove("state"), sync_id })
    }
}

/// Where the mistake is, not what stands there: it may be a secret.
fn without_content(e: &serde_json::Error) -> String {
    let what = if e.is_eof() { "it ends too early" } else { "it breaks off being JSON" };
    format!("{what} at line {} column {}", e.line(), e.column())
}

fn action(members: &Map<String, Value>) -> Result<Action, String> {
    let asked = match members.get("selection") {
        None | Some(Value::Null) => None,
        Some(Value::Object(selection)) => selection.get("action").filter(|action| !action.is_null()),
        Some(_) => return Err(r#"`selection` must be an object such as {"action":"test"}"#.into()),
    };
    match asked.map(|action| (action, action.as_str())) {
        None if members.get("setup_test").and_then(Value::as_bool) == Some(true) => Ok(Action::Test),
        None => Ok(Action::Sync),
        Some((_, Some("schema"))) => Ok(Action::Schema),
        Some((_, Some("test"))) => Ok(Action::Test),
        Some((_, Some("sync" | "update"))) => Ok(Action::Sync),
        Some((other, _)) => Err(format!("the action {other} is not known; known are schema, test and sync")),
    }
}

/// An object of texts; numbers and booleans count as such, and arrays of them as lists.
fn texts(members: &mut Map<String, Value>, name: &str) -> Result<BTreeMap<String, SecretString>, String> {
    let object = match members.remove(name) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(format!(r#"`{name}` must be an object of texts such as {{"api_key":"…"}}"#)),
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
            let request = Request::read(document).unwrap();
            assert_eq!(request.action, want, "{}", String::from_utf8_lossy(document));
        }
    }

    /// Configuration values become texts, secrets before the custom payload; anything else is refused by its name
    /// and never by its value.
    #[test]
    fn secrets_become_texts() {
        let document = br#"{"secrets":{"a":"x","n":5,"b":true,"l":["p","q",1],"gone":null},"customPayload":{"a":"y","c":"z"}}"#;
        let given = Request::read(document).unwrap().given;
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
            let said = Request::read(document).unwrap_err();
            assert!(said.contains(want) && !said.contains("hush"), "{want} not in {said}");
        }
    }

    proptest! {
        /// Whatever comes, there is an answer.
        #[test]
        fn anything_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::read(&bytes);
        }
    }
}
