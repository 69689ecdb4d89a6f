//! Reads the answers of the tenant. Unknown fields are ignored.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::syncing::delivery::{ReloadOutcome, ReloadView, SpaceLimits, StoredFile};

/// The documented maximum of a direct upload, where the answer has none.
const DIRECT: u64 = 524_288_000;

/// The documented maximum of a file, where the answer has none.
const LARGEST: u64 = 6_442_450_944;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Quotas {
    #[serde(default)]
    allowed_extensions: Value,
    max_file_size: Option<u64>,
    max_large_file_size: Option<u64>,
}

/// What may be uploaded. The extensions are a list, or a text as in the documentation's example.
pub(super) fn limits(body: &[u8], connection: String) -> Option<SpaceLimits> {
    let quotas: Quotas = serde_json::from_slice(body).ok()?;
    let texts: Vec<&str> = match &quotas.allowed_extensions {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => text.split([',', ' ', ';']).collect(),
        _ => Vec::new(),
    };
    let plain = |text: &str| text.trim().trim_start_matches('.').to_ascii_lowercase();
    let extensions = texts.into_iter().map(plain).filter(|text| !text.is_empty()).collect();
    let size = |given: Option<u64>, usual| given.filter(|bytes| *bytes > 0).unwrap_or(usual);
    let direct = size(quotas.max_file_size, DIRECT);
    let largest = size(quotas.max_large_file_size, LARGEST).max(direct);
    Some(SpaceLimits { connection, extensions, direct, largest })
}

#[derive(Deserialize)]
struct Listed<T> {
    data: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedItem {
    id: String,
    name: Option<String>,
    space_id: Option<String>,
}

/// The connection for the files of a space. Without one, files would land in the personal space.
pub(super) fn connection(body: &[u8], space: &str) -> Option<String> {
    let listed: Listed<NamedItem> = serde_json::from_slice(body).ok()?;
    let fits = |one: &&NamedItem| one.space_id.as_deref() == Some(space);
    listed.data.iter().find(fits).map(|one| one.id.clone())
}

/// The ids of the spaces with exactly this name; the tenant may list others too.
pub(super) fn spaces_named(body: &[u8], name: &str) -> Vec<String> {
    let listed: Listed<NamedItem> = serde_json::from_slice(body).unwrap_or(Listed { data: Vec::new() });
    let fits = |one: &NamedItem| one.name.as_deref() == Some(name);
    listed.data.into_iter().filter(fits).map(|one| one.id).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileAnswer {
    id: String,
    name: Option<String>,
    size: u64,
    content_updated_date: Option<String>,
    modified_date: Option<String>,
}

impl From<FileAnswer> for StoredFile {
    fn from(file: FileAnswer) -> StoredFile {
        let time = file.content_updated_date.or(file.modified_date);
        StoredFile { id: file.id, size: file.size, updated_at: time.and_then(|text| text.parse().ok()) }
    }
}

pub(super) fn file(body: &[u8]) -> Option<StoredFile> {
    serde_json::from_slice::<FileAnswer>(body).ok().map(StoredFile::from)
}

/// The file with this name; the outer `None` if the answer is not a list.
pub(super) fn file_named(body: &[u8], name: &str) -> Option<Option<StoredFile>> {
    let listed: Listed<FileAnswer> = serde_json::from_slice(body).ok()?;
    let mut files = listed.data.into_iter();
    Some(files.find(|file| file.name.as_deref() == Some(name)).map(StoredFile::from))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReloadAnswer {
    id: String,
    status: String,
    creation_time: Option<String>,
    start_time: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
}

impl ReloadAnswer {
    fn view(self, clean: &impl Fn(&str) -> String) -> ReloadView {
        let outcome = match self.status.as_str() {
            "SUCCEEDED" => Some(ReloadOutcome::Succeeded),
            "FAILED" => Some(ReloadOutcome::Failed),
            "CANCELED" => Some(ReloadOutcome::Canceled),
            "EXCEEDED_LIMIT" => Some(ReloadOutcome::ExceededLimit),
            // QUEUED, RELOADING, CANCELING, and what may come.
            _ => None,
        };
        let time = |text: Option<String>| text.and_then(|text| text.parse::<Timestamp>().ok());
        let message = self.error_message.or(self.error_code).filter(|text| !text.is_empty());
        ReloadView {
            id: self.id,
            outcome,
            created_at: time(self.creation_time),
            started_at: time(self.start_time),
            message: message.map(|text| clean(&text)),
        }
    }
}

/// `clean` redacts and shortens a text.
pub(super) fn reload(body: &[u8], clean: impl Fn(&str) -> String) -> Option<ReloadView> {
    serde_json::from_slice::<ReloadAnswer>(body).ok().map(|reload| reload.view(&clean))
}

/// Newest first, whatever the order of the answer.
pub(super) fn reloads(body: &[u8], clean: impl Fn(&str) -> String) -> Option<Vec<ReloadView>> {
    let listed: Listed<ReloadAnswer> = serde_json::from_slice(body).ok()?;
    let mut reloads: Vec<ReloadView> = listed.data.into_iter().map(|reload| reload.view(&clean)).collect();
    reloads.sort_by_key(|reload| std::cmp::Reverse(reload.created_at));
    Some(reloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_a_list_or_a_text() {
        for (extensions, want) in [
            (r#"["csv", "Parquet"]"#, &["csv", "parquet"][..]),
            (r#""csv, xlsx, .qvd""#, &["csv", "xlsx", "qvd"]),
            ("null", &[]),
        ] {
            let body = format!(r#"{{"allowedExtensions": {extensions}, "maxFileSize": 10, "maxSize": 0}}"#);
            let limits = limits(body.as_bytes(), "c".into()).unwrap();
            assert_eq!(limits.extensions, want);
            assert_eq!((limits.direct, limits.largest), (10, LARGEST));
        }
        assert_eq!(limits(b"<html>", "c".into()), None);
    }

    #[test]
    fn times_with_seven_digits_are_read() {
        let body = br#"{"id": "1", "name": "a.csv", "size": 3, "contentUpdatedDate": "2026-05-02T09:10:40.8534780Z"}"#;
        let at = file(body).unwrap().updated_at.unwrap();
        assert_eq!(at.to_string(), "2026-05-02T09:10:40.853478Z");
    }
}
