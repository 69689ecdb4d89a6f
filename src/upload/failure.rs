//! What a failed request means for the step, and what to do about it.

use std::time::Duration;

use serde_json::Value;

use crate::domain::syncing::delivery::{FailureKind, StepFailure};
use crate::qlik::{TargetError, TenantAnswer, Words};

/// What a request is about.
pub(super) enum Subject<'a> {
    Quotas,
    /// By the name or id of the definition.
    Space(&'a str),
    /// An upload to the temporary contents.
    Upload(&'a str),
    /// A file that becomes visible in the space.
    Commit {
        space: &'a str,
        /// Whether a file is replaced.
        replaces: bool,
    },
    /// The reloads of an app, which are only read.
    Reloads(&'a str),
    /// A new reload of an app.
    Reload(&'a str),
}

impl Subject<'_> {
    /// The kind of a failure that may have come after the effect.
    fn lost(&self) -> FailureKind {
        match self {
            Subject::Commit { .. } | Subject::Reload(_) => FailureKind::Unclear,
            _ => FailureKind::Transient,
        }
    }

    fn doing(&self) -> String {
        match self {
            Subject::Quotas => "reading the quotas of data files".to_owned(),
            Subject::Space(space) => format!("reading the space {space}"),
            Subject::Upload(name) => format!("uploading {name}"),
            Subject::Commit { space, .. } => format!("writing to the space {space}"),
            Subject::Reloads(app) => format!("reading the reloads of app {app}"),
            Subject::Reload(app) => format!("reloading app {app}"),
        }
    }
}

/// A request without an answer, or without an access token.
pub(super) fn of_request(error: &TargetError, subject: &Subject<'_>) -> StepFailure {
    let kind = match error {
        TargetError::Trouble { .. } => subject.lost(),
        TargetError::RateLimited { .. } => FailureKind::Transient,
        _ => FailureKind::Rejected,
    };
    StepFailure { kind, wait: error.retry_after(), detail: format!("{}: {error}", subject.doing()) }
}

/// An answer other than 2xx.
pub(super) fn of_answer(answer: &TenantAnswer, words: &Words<'_>, subject: &Subject<'_>) -> StepFailure {
    let code = code(answer);
    let kind = kind(answer.status.as_u16(), &code, subject);
    let wait: Option<Duration> = answer.error(words).retry_after();
    let remedy = match kind {
        FailureKind::Rejected => remedy(answer.status.as_u16(), &code, subject),
        FailureKind::NotFound => Some(not_found(subject)),
        _ => None,
    };
    let code = if code.is_empty() { code } else { format!(" {}", words.clean(&code)) };
    let remedy = remedy.map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    let detail = format!("{}: {}{code}{remedy}", subject.doing(), words.of(answer));
    StepFailure { kind, wait, detail }
}

fn kind(status: u16, code: &str, subject: &Subject<'_>) -> FailureKind {
    match (status, code, subject) {
        (429, "RELOADS-007", _) => FailureKind::ReloadPending,
        (403, "RELOADS-013", _) => FailureKind::ReloadTooFrequent,
        (404, _, Subject::Reload(_) | Subject::Reloads(_)) => FailureKind::NotFound,
        (_, "DF-012", _) | (404 | 410, _, Subject::Upload(_)) => FailureKind::UploadGone,
        (409, _, Subject::Upload(_)) => FailureKind::WrongOffset,
        (409, _, Subject::Commit { .. }) => FailureKind::FileConflict,
        (_, "DF-007" | "DF-009", _) => FailureKind::Rejected,
        (404, _, Subject::Commit { replaces: true, .. }) => FailureKind::FileConflict,
        // A file that a reload reads, or an earlier part that is still being stored.
        (423 | 425 | 429, _, _) => FailureKind::Transient,
        (408 | 500.., _, _) => subject.lost(),
        (300..400, _, _) => FailureKind::Transient,
        _ => FailureKind::Rejected,
    }
}

fn remedy(status: u16, code: &str, subject: &Subject<'_>) -> Option<String> {
    let remedy = match (status, code, subject) {
        (401, ..) => "check that the key or client is valid and not expired".to_owned(),
        (403, _, Subject::Space(space) | Subject::Commit { space, .. }) => format!(
            "our user needs the role Can edit in the space {space}: open the space, choose Manage members, and add the user \
             of the API key or the bot user of the OAuth client"
        ),
        (403, _, Subject::Reload(_) | Subject::Reloads(_)) => {
            "our user may not reload the app: add it to the app's space with the role Can edit".to_owned()
        }
        (_, "DF-007" | "DF-009", _) | (404, _, Subject::Space(_)) => {
            "the space is gone, or our user is no member of it; check the name or id of the space".to_owned()
        }
        (413, ..) => "the file is larger than the tenant accepts".to_owned(),
        _ => return None,
    };
    Some(remedy)
}

fn not_found(subject: &Subject<'_>) -> String {
    match subject {
        Subject::Reload(app) | Subject::Reloads(app) => {
            format!("the tenant has no app {app}, or our user cannot see it; check the id of the app")
        }
        _ => "it is gone".to_owned(),
    }
}

/// The first code of the tenant's errors.
fn code(answer: &TenantAnswer) -> String {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    body["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
}
